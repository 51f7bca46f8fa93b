"""When a webhook is told again."""

import random

import pytest

from gateway.relay.webhooks.post import Reply
from gateway.relay.webhooks.schedule import DELAYS_S, JITTER, next_try, pause_s

NOW = 1_800_000_000.0


def decide(reply, step=1, seed=0):
    return next_try(reply, step=step, delays_s=DELAYS_S, now=NOW, rng=random.Random(seed))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_ends_it(status):
    assert decide(Reply(status)) == ("delivered", 0.0)


@pytest.mark.parametrize(
    "reply",
    [Reply(error="no answer"), *map(Reply, (301, 302, 307, 308, 400, 401, 404, 429, 500, 503))],
)
def test_anything_else_is_told_again_by_the_schedule(reply):
    for step, delay_s in enumerate(DELAYS_S[1:], start=1):
        for seed in range(20):
            status, after_s = decide(reply, step, seed)

            assert status == "pending"
            assert delay_s <= after_s <= delay_s * (1 + JITTER)
    assert decide(reply, len(DELAYS_S)) == ("failed", 0.0)


def test_two_that_failed_together_do_not_return_together():
    assert decide(Reply(500), seed=1) != decide(Reply(500), seed=2)


def test_gone_ends_it():
    assert decide(Reply(410)) == ("failed", 0.0)


@pytest.mark.parametrize(("asked", "least_s"), [("60", 60.0), ("1", 5.0), ("x", 5.0)])
def test_a_retry_after_beyond_the_schedule_is_waited(asked, least_s):
    _, after_s = decide(Reply(503, ((b"Retry-After", asked.encode()),)))

    assert least_s <= after_s <= least_s * (1 + JITTER)


def test_a_retry_after_of_years_is_a_day():
    _, after_s = decide(Reply(503, ((b"Retry-After", b"99999999"),)))

    assert after_s <= 86_400 * (1 + JITTER)


def test_a_receiver_that_asks_for_less_is_left_alone_longer_and_longer():
    pauses = [pause_s(Reply(429), times=times, now=NOW) for times in range(10)]

    assert pauses == [0, 5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert pause_s(Reply(429, ((b"Retry-After", b"60"),)), times=1, now=NOW) == 60
