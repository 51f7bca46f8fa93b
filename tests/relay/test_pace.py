"""What attempts say about an upstream, and the limit that follows what it takes."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import Attempt, Failure, Outcome
from gateway.relay.pace import AdaptiveLimit, Sign, sign_of
from tests.relay.simulated import Fate, Simulated


def attempt(outcome: Outcome | None, status: int | None = None, code: str = "") -> Attempt:
    made = Attempt(number=1, upstream="openai", started_at=0.0)
    made.outcome, made.status = outcome, status
    made.failure = Failure(code=code, message="") if code else None
    return made


@pytest.mark.parametrize(
    ("ended", "sign"),
    [
        *((attempt(Outcome.ANSWERED, n), Sign.WELL) for n in (200, 302, 400, 404, 408, 422, 501)),
        (attempt(Outcome.ANSWERED, 429), Sign.BUSY),
        *((attempt(Outcome.ANSWERED, n), Sign.SICK) for n in (500, 502, 504, 520)),
        *((attempt(Outcome.ANSWERED, n), Sign.OVERLOADED) for n in (503, 529)),
        (attempt(Outcome.TIMED_OUT, code="first_byte_timeout"), Sign.OVERLOADED),
        (attempt(Outcome.TIMED_OUT, 200, code="idle_timeout"), Sign.OVERLOADED),
        (attempt(Outcome.TIMED_OUT, code="deadline_exceeded"), None),
        (attempt(Outcome.UNREACHABLE, code="upstream_unreachable"), Sign.SICK),
        (attempt(Outcome.BROKEN, 200, code="upstream_broken"), Sign.SICK),
        (attempt(Outcome.CANCELLED), None),
        (attempt(Outcome.CANCELLED, 503), None),
        (attempt(Outcome.INTERRUPTED), None),
        (attempt(None), None),
    ],
)
def test_what_an_attempt_says_about_its_upstream(ended: Attempt, sign: Sign | None):
    assert sign_of(ended) is sign


def adaptive() -> AdaptiveLimit:
    made = AdaptiveLimit()
    made.configure(enabled=True)
    return made


def test_refusals_of_attempts_that_were_under_way_together_cost_a_tenth_at_most():
    limit = adaptive()
    for _ in range(50):
        limit.ended(Sign.BUSY, began=1000.0, now=1001.0, in_flight=100, cap=100)
    assert limit.limit(100) == 90

    for _ in range(50):
        limit.ended(Sign.OVERLOADED, began=1002.0, now=1003.0, in_flight=90, cap=100)
    assert limit.limit(100) == 81


def test_it_grows_by_one_for_as_many_successes_as_it_allows_in_flight():
    limit = adaptive()
    limit.ended(Sign.BUSY, began=1000.0, now=1001.0, in_flight=10, cap=10)
    for _ in range(8):
        limit.ended(Sign.WELL, began=1002.0, now=1003.0, in_flight=9, cap=10)
    assert limit.limit(10) == 9

    limit.ended(Sign.WELL, began=1002.0, now=1003.0, in_flight=9, cap=10)
    assert limit.limit(10) == 10


def test_it_does_not_grow_while_less_than_half_of_it_is_used():
    limit = adaptive()
    limit.ended(Sign.BUSY, began=1000.0, now=1001.0, in_flight=10, cap=10)
    for _ in range(100):
        limit.ended(Sign.WELL, began=1002.0, now=1003.0, in_flight=4, cap=10)

    assert limit.limit(10) == 9


@pytest.mark.parametrize("sign", [Sign.SICK, Sign.WELL])
def test_a_failure_that_is_not_about_pace_does_not_lower_it(sign: Sign):
    limit = adaptive()
    for n in range(100):
        limit.ended(sign, began=1000.0 + n, now=1001.0 + n, in_flight=10, cap=10)

    assert limit.limit(10) == 10


def test_turned_off_it_is_forgotten():
    limit = adaptive()
    limit.ended(Sign.BUSY, began=1000.0, now=1001.0, in_flight=10, cap=10)
    limit.configure(enabled=False)
    limit.ended(Sign.BUSY, began=1002.0, now=1003.0, in_flight=10, cap=10)

    assert limit.limit(10) == 10


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*Sign, Sign.WELL]), st.floats(0, 30), st.integers(1, 40))
    )
)
def test_it_stays_between_one_and_the_cap_and_moves_by_one(
    steps: list[tuple[Sign, float, int]],
):
    limit, now = adaptive(), 1000.0
    for sign, took_s, cap in steps:
        now += 1.0
        before = limit.limit(cap)
        limit.ended(sign, began=now - took_s, now=now, in_flight=cap, cap=cap)
        assert 1 <= limit.limit(cap) <= cap
        assert abs(limit.limit(cap) - before) <= 1
        assert limit.limit(cap) <= before or sign is Sign.WELL
        assert limit.limit(cap) >= before or sign.too_much


# -- in front of a queue


class Bounded:
    """An upstream that takes so many at once, and refuses the rest."""

    def __init__(self, takes: int, **settings: Any) -> None:
        self.takes = takes
        self.inside: list[float] = []  # until when
        self.world = Simulated(self.fate, {"adaptive": True, **settings})

    def fate(self) -> Fate:
        now = self.world.now
        self.inside = [until for until in self.inside if until > now]
        if len(self.inside) >= self.takes:
            return 0.05, Sign.BUSY
        took_s = 10.0 + len(self.world.started) % 7 / 10  # not all in step
        self.inside.append(now + took_s)
        return took_s, Sign.WELL


def test_the_limit_finds_what_the_upstream_takes_and_swings_by_one_around_it():
    bounded = Bounded(40, max_in_flight=200, retry={"budget": 1.0})
    world = bounded.world
    for _ in range(3000):
        world.call()
    world.run(lambda: world.served >= 200)
    settled, refused = len(world.limits), len(world.started)
    world.run(lambda: world.served >= 1000)
    steady = [limit for _, limit in world.limits[settled:]]
    assert 39 <= min(steady) <= max(steady) <= 41
    assert all(abs(a - b) <= 1 for a, b in pairwise(steady))
    assert len(world.started) - refused < 1.1 * 800  # one refusal for forty served, not more

    bounded.takes = 60
    world.run(lambda: world.served >= 2500)
    risen = len(world.limits)
    world.run(lambda: world.served >= 2900)
    higher = [limit for _, limit in world.limits[risen:]]
    assert 59 <= min(higher) <= max(higher) <= 61
    world.run(lambda: world.served == 3000)


def test_the_configured_limit_stays_the_cap():
    bounded = Bounded(1000, max_in_flight=8)
    world = bounded.world
    for _ in range(100):
        world.call()
    world.run(lambda: world.served == 50)
    assert {limit for _, limit in world.limits} == {8}

    world.admission.set_max_in_flight("openai", 12)
    assert (world.upstream.limit, world.upstream.in_flight) == (12, 12)


def test_without_it_a_refusal_lowers_nothing():
    bounded = Bounded(5, max_in_flight=20, adaptive=False)
    world = bounded.world
    for _ in range(50):
        world.call()
    world.run(lambda: world.served == 50)

    assert {limit for _, limit in world.limits} == {20}
