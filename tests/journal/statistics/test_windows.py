"""Which window is answered, in which steps, and what is said to those that ask for another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.journal.statistics.rollups import LEVELS
from gateway.journal.statistics.windows import read_window

NOW = 1_800_000_123.4


def window(**parameters):
    return read_window(parameters.items(), now=NOW)


@pytest.mark.parametrize(
    ("length", "step_s", "steps"),
    [
        ("5m", 10, 30),
        ("15m", 10, 90),
        ("1h", 60, 60),
        ("6h", 300, 72),
        ("24h", 900, 96),
        ("7d", 7200, 84),
        ("30d", 21_600, 120),
    ],
)
def test_a_window_comes_in_at_most_120_steps(length, step_s, steps):
    found = window(window=length)

    assert (found.step_s, found.steps) == (step_s, steps)


def test_an_hour_is_what_nobody_has_to_ask_for():
    assert window() == window(window="1h") == window(window="3600", step="60")


@given(st.integers(300, 30 * 86_400))
def test_every_window_ends_with_the_step_that_is_going_on_and_is_kept_twice(length):
    found = window(window=f"{length}s")

    assert found.until - found.step_s <= NOW < found.until
    assert 0 <= found.until - found.since - length < found.step_s
    assert found.since - found.before == found.until - found.since
    assert found.steps <= 120
    keep_s = LEVELS[found.levels[0]]
    assert keep_s is None or 2 * length <= keep_s


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"window": "4m"}, "from 5m to 30d"),
        ({"window": "31d"}, "from 5m to 30d"),
        ({"window": "1w"}, "a whole number with s, m, h or d"),
        ({"window": "-1h"}, "a whole number with s, m, h or d"),
        ({"window": ""}, "must not be empty"),
        ({"step": "15"}, "a multiple of 10s"),
        ({"step": "0"}, "a multiple of 10s"),
        ({"step": "2h"}, "not be longer than the window"),
        ({"window": "1d", "step": "10"}, "a multiple of 300s"),
        ({"window": "30d", "step": "900"}, "a multiple of 3600s"),
        ({"upstream": ""}, "must not be empty"),
        ({"model": "m"}, "there are window, step, upstream, key"),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(parameters, told):
    with pytest.raises(BadRequest, match=told):
        window(**parameters)


def test_a_parameter_is_given_once():
    with pytest.raises(BadRequest, match="once"):
        read_window([("step", "60"), ("step", "60")], now=NOW)
