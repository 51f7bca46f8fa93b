"""The breaker: what it lets through, by itself against random outcomes and in front of a queue."""

import asyncio
import math
import sys
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway import config
from gateway.call import Status, WaitReason
from gateway.relay.breaker import Breaker, BreakerState, Window
from gateway.relay.pace import Sign
from gateway.telemetry import logs
from tests.relay.relay_world import Step, open_world
from tests.relay.simulated import Simulated

CLOSED, OPEN, HALF_OPEN, RECOVERING = BreakerState
DEFAULTS = {"enabled": True}


def breaker(now: float = 1000.0, **said: Any) -> Breaker:
    made = Breaker()
    made.configure(config.Breaker(enabled=True, **said), now)
    return made


def attempts(
    breaker: Breaker, number: int, *, failed: bool | None, at: float, took_s: float = 1.0
) -> None:
    """Let so many start together at *at* and end, after the same time, alike."""
    for _ in range(number):
        breaker.started()
    for _ in range(number):
        breaker.ended(failed, began=at, now=at + took_s)


# -- by itself


def test_it_opens_when_the_share_that_fails_is_reached_and_no_sooner():
    seen = breaker(min_attempts=20, failure_share=0.5)
    attempts(seen, 10, failed=False, at=1000.0)
    attempts(seen, 9, failed=True, at=1001.0)
    assert seen.state is CLOSED

    attempts(seen, 1, failed=True, at=1003.0)
    assert (seen.state, seen.limit(100, 0, 1004.0)) == (OPEN, 0)


def test_a_few_failures_are_too_few_to_judge():
    seen = breaker(min_attempts=20)
    attempts(seen, 19, failed=True, at=1000.0)

    assert seen.state is CLOSED


def test_quick_failures_among_slow_answers_look_no_worse_than_they_are():
    """One in ten fails at once, the others take their time: those count from their start."""
    seen = breaker(min_attempts=20)
    for _ in range(300):
        seen.started()
    for _ in range(30):
        seen.ended(True, began=1000.0, now=1000.1)

    assert seen.state is CLOSED


def test_what_ended_before_the_window_is_forgotten():
    seen = breaker(min_attempts=20, window_s=60)
    attempts(seen, 1000, failed=False, at=1000.0)
    attempts(seen, 20, failed=True, at=1100.0)

    assert seen.state is OPEN


def test_the_window_holds_six_times_what_slow_attempts_take():
    """An upstream that goes silent fails only after its timeout, many of them staggered."""
    seen = breaker(min_attempts=20, window_s=60)
    began = [1000.0 + 3 * n for n in range(1000)]  # a hundred in flight, three hundred seconds each
    for _ in range(100):
        seen.started()
    failed = 0
    while seen.state is CLOSED:
        seen.ended(True, began=began[failed], now=began[failed] + 300)
        seen.started()
        failed += 1

    assert 90 <= failed < 300


def test_half_open_admits_exactly_the_probes_and_one_more_for_each_that_proves_nothing():
    seen = breaker(min_attempts=1, probes=3, pause_s=10)
    attempts(seen, 1, failed=True, at=1000.0)
    seen.advance(1010.9)
    assert seen.state is OPEN

    seen.advance(1011.0)
    assert (seen.state, seen.limit(100, 40, 1011.0)) == (HALF_OPEN, 43)  # 40: of before
    for _ in range(3):
        seen.started()
    assert seen.limit(100, 43, 1011.0) == 43
    seen.ended(False, began=1011.0, now=1012.0)
    assert seen.limit(100, 42, 1012.0) == 42
    seen.ended(None, began=1011.0, now=1012.0)
    assert seen.limit(100, 41, 1012.0) == 42
    assert seen.limit(41, 41, 1012.0) == 41


def test_a_probe_that_fails_doubles_the_pause_up_to_its_maximum():
    seen, now, pauses = breaker(min_attempts=1, pause_s=10, pause_max_s=60), 1000.0, []
    attempts(seen, 1, failed=True, at=now)
    for _ in range(5):
        began_at, now = now + 1, seen.changes_at
        pauses.append(now - began_at)
        seen.advance(now)
        attempts(seen, 1, failed=True, at=now)

    assert pauses == [10, 20, 40, 60, 60]
    assert seen.opens_total == 6


def test_what_began_before_it_opened_is_charged_to_nobody():
    seen = breaker(min_attempts=1, pause_s=10)
    seen.started()
    attempts(seen, 1, failed=True, at=1000.0)
    seen.advance(1011.0)
    seen.ended(True, began=999.0, now=1011.5)

    assert (seen.state, seen.limit(100, 0, 1011.5)) == (HALF_OPEN, 3)


def test_when_all_probes_went_well_the_limit_climbs_and_then_it_closes():
    seen = breaker(min_attempts=1, probes=2, pause_s=10, ramp_s=30)
    attempts(seen, 1, failed=True, at=1000.0)
    seen.advance(1011.0)
    attempts(seen, 2, failed=False, at=1011.0, took_s=1.0)

    assert seen.state is RECOVERING
    assert [seen.limit(300, 0, 1012.0 + t) for t in (0, 1, 15, 29.99)] == [2, 10, 150, 299]
    while seen.state is RECOVERING:
        seen.advance(seen.changes_at)
    assert (seen.state, seen.limit(300, 0, 1042.0)) == (CLOSED, 300)
    attempts(seen, 1, failed=True, at=1050.0)
    assert seen.changes_at == 1061.0  # the first pause again


def test_one_that_fails_again_on_the_ramp_opens_for_longer():
    seen = breaker(min_attempts=1, probes=1, pause_s=10)
    attempts(seen, 1, failed=True, at=1000.0)
    seen.advance(1011.0)
    attempts(seen, 1, failed=False, at=1011.0)
    attempts(seen, 1, failed=True, at=1012.0)

    assert (seen.state, seen.changes_at) == (OPEN, 1013.0 + 20)


def test_a_reload_that_asks_for_no_more_probes_than_went_well_lets_it_recover():
    seen = breaker(min_attempts=1, probes=3, pause_s=10)
    attempts(seen, 1, failed=True, at=1000.0)
    seen.advance(1011.0)
    attempts(seen, 2, failed=False, at=1012.0)
    seen.configure(config.Breaker(enabled=True, min_attempts=1, probes=2, pause_s=10), 1020.0)

    assert seen.state is RECOVERING
    assert seen.changes_at < 1021.0


def test_turned_off_it_closes_and_counts_nothing():
    seen = breaker(min_attempts=1)
    attempts(seen, 1, failed=True, at=1000.0)
    seen.configure(config.Breaker(), 1002.0)
    attempts(seen, 50, failed=True, at=1003.0)

    assert (seen.state, seen.limit(7, 0, 1004.0), seen.statistics(1004.0)) == (CLOSED, 7, None)
    assert seen.changes_at == math.inf


def test_a_window_counts_what_was_within_it():
    window = Window()
    for n in range(600):
        window.add(n / 10, failed=n % 2 == 0, span_s=12.0)
        assert 110 <= window.attempts <= 132 or n < 120
    assert len(window._pieces) <= 13
    window.forget(60.0)

    assert (window.attempts, window.failed) == (0, 0)


class BreakerUnderRandomOutcomes(RuleBasedStateMachine):
    """Whatever comes, it lets through what its state allows, and closes once all goes well."""

    @initialize(
        probes=st.integers(1, 4),
        min_attempts=st.integers(1, 6),
        share=st.sampled_from([0.1, 0.5, 1.0]),
        cap=st.integers(1, 12),
    )
    def begin(self, probes: int, min_attempts: int, share: float, cap: int) -> None:
        self.now, self.cap = 1000.0, cap
        self.said = config.Breaker(
            enabled=True, probes=probes, min_attempts=min_attempts, failure_share=share,
            window_s=60, pause_s=5, pause_max_s=30, ramp_s=20,
        )  # fmt: skip
        self.breaker = Breaker()
        self.breaker.configure(self.said, self.now)
        self.began: list[float] = []
        self.note()

    def note(self) -> None:
        """Forget the probes of another state."""
        self.state, self.since, self.probing = self.breaker.state, self.now, 0

    def may_start(self) -> bool:
        return len(self.began) < self.breaker.limit(self.cap, len(self.began), self.now)

    @rule()
    def start(self) -> None:
        if self.may_start():
            self.began.append(self.now)
            self.breaker.started()
            self.probing += 1
            if self.breaker.state is HALF_OPEN:
                assert self.probing <= self.said.probes
            assert self.breaker.state is not OPEN

    @rule(failed=st.sampled_from([True, True, False, None]), which=st.integers(0, 11))
    def end(self, failed: bool | None, which: int) -> None:
        if not self.began:
            return
        began = self.began.pop(which % len(self.began))
        if began >= self.since and failed is None:
            self.probing -= 1
        self.breaker.ended(failed, began=began, now=self.now)
        self.follow({
            CLOSED: {OPEN}, HALF_OPEN: {OPEN, RECOVERING}, RECOVERING: {OPEN}, OPEN: set(),
        })  # fmt: skip

    @rule(seconds=st.floats(0.01, 40))
    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.breaker.changes_at <= until:
            assert self.breaker.changes_at > self.now
            self.now = self.breaker.changes_at
            self.breaker.advance(self.now)
            self.follow({OPEN: {HALF_OPEN}, RECOVERING: {CLOSED}})
        self.now = until

    @rule()
    def close(self) -> None:
        self.breaker.close(self.now)
        self.follow({state: {CLOSED} for state in BreakerState})
        self.now += 0.01

    def follow(self, allowed: dict[BreakerState, set[BreakerState]]) -> None:
        if self.breaker.state is not self.state:
            assert self.breaker.state in allowed[self.state]
            self.note()

    @invariant()
    def lets_through_what_its_state_allows(self) -> None:
        if not hasattr(self, "breaker"):
            return
        limit = self.breaker.limit(self.cap, len(self.began), self.now)
        assert 0 <= limit <= self.cap
        match self.breaker.state:
            case BreakerState.CLOSED:
                assert limit == self.cap
            case BreakerState.OPEN:
                assert limit == 0
                assert 4.999 < self.breaker.changes_at - self.since < 30.001
            case BreakerState.HALF_OPEN:
                assert limit <= len(self.began) + self.said.probes
            case BreakerState.RECOVERING:
                ramp = self.cap * (self.now - self.since) / self.said.ramp_s
                assert limit <= max(self.said.probes, ramp)

    def teardown(self) -> None:
        if not hasattr(self, "breaker"):
            return
        for _ in range(200):
            if self.breaker.state is CLOSED:
                return
            self.start()
            self.end(False, 0)
            self.pass_time(1.0)
        raise AssertionError(f"still {self.breaker.state}")


BreakerUnderRandomOutcomes.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
TestBreakerUnderRandomOutcomes = BreakerUnderRandomOutcomes.TestCase


# -- in front of a queue


def test_a_thousand_waiters_come_back_on_a_ramp_and_not_at_once():
    is_well = False
    world = Simulated(
        lambda: (2.0, Sign.WELL) if is_well else (0.01, Sign.SICK),
        {"max_in_flight": 100, "breaker": {"enabled": True, "ramp_s": 30}},
    )
    for _ in range(1000):
        world.call()
    world.run(lambda: len(world.states) >= 3)  # open, tried in vain, open again
    spent = len(world.started)
    is_well = True
    world.run(lambda: world.served == 1000 and world.states[-1][1] is CLOSED)

    assert [state for _, state in world.states] == [
        *(OPEN, HALF_OPEN, OPEN, HALF_OPEN, RECOVERING, CLOSED)
    ]
    assert spent <= 2 * 100 + 3  # half of all that started had to fail first
    probing_at, recovering_at, closed_at = (at for at, _ in world.states[-3:])
    assert closed_at - recovering_at == 30
    later = world.started[spent:]
    assert sum(at < recovering_at for at, _ in later) == 3
    assert all(at >= probing_at for at, _ in later)
    on_ramp = [(at - recovering_at, n) for at, n in later if recovering_at <= at < closed_at]
    assert len(on_ramp) > 100
    assert all(in_flight <= max(3, 100 * t / 30 + 1e-6) for t, in_flight in on_ramp)
    assert max(n for _, n in later) <= 100
    assert (world.upstream.in_flight, world.upstream.queued) == (0, 0)


def test_a_person_who_says_go_closes_it_at_once():
    world = Simulated(
        lambda: (1.0, Sign.SICK),
        {"max_in_flight": 5, "breaker": {"enabled": True, "min_attempts": 5}},
    )
    for _ in range(20):
        world.call()
    world.run(lambda: world.upstream.breaker_open)
    world.fate = lambda: (1.0, Sign.WELL)
    world.admission.pause("openai", False)

    assert (world.upstream.limit, world.upstream.in_flight) == (5, 5)
    assert not world.upstream.breaker_open
    assert [state for _, state in world.states] == [OPEN, CLOSED]


def test_a_reload_that_turns_it_off_closes_it_at_once():
    world = Simulated(
        lambda: (1.0, Sign.SICK),
        {"max_in_flight": 5, "breaker": {"enabled": True, "min_attempts": 5}},
    )
    for _ in range(20):
        world.call()
    world.run(lambda: world.upstream.breaker_open)
    assert world.upstream.limit == 0
    world.configure(max_in_flight=6)

    assert (world.upstream.limit, world.upstream.in_flight) == (6, 6)
    assert world.upstream.breaker is None


def test_while_it_is_open_calls_are_paused_and_nobody_can_tell_how_long():
    world = Simulated(
        lambda: (1.0, Sign.SICK),
        {"max_in_flight": 5, "breaker": {"enabled": True, "min_attempts": 5, "probes": 1}},
    )
    for _ in range(5):
        world.call()
    world.run(lambda: world.upstream.breaker_open)
    place = world.admission.enter("openai", flow=("", ""), priority=0, since=0.0)
    assert (place.granted, place.reason) == (False, WaitReason.PAUSED)
    assert world.admission.eta_s(place) is None
    assert 0 < world.upstream.breaker.retry_in_s <= 10

    other = world.admission.enter("openai", flow=("", ""), priority=9, since=0.0)
    world.run(lambda: place.granted)
    assert (other.granted, other.reason) == (False, WaitReason.SLOT)
    assert world.admission.eta_s(other) is None


def test_attempts_under_way_while_the_process_stood_still_are_charged_to_nobody():
    """Stopped for a minute, it finds all of them timed out: that says nothing about the upstream."""
    world = Simulated(
        lambda: (60.0, Sign.OVERLOADED),
        {"max_in_flight": 50, "adaptive": True, "breaker": {"enabled": True}},
    )
    for _ in range(50):
        world.call()
    world.admission.give_sign_of_life()  # the last for a minute
    world.run(lambda: len(world.limits) == 50)

    seen = world.upstream
    assert (seen.limit, seen.breaker_open, seen.recent_failed) == (50, False, 0)


def test_with_a_sign_of_life_every_second_each_failure_is_charged():
    world = Simulated(
        lambda: (60.0, Sign.OVERLOADED), {"max_in_flight": 50, "breaker": {"enabled": True}}
    )

    def live() -> None:
        world.admission.give_sign_of_life()
        world.at(world.now + 1.0, live)

    live()
    for _ in range(50):
        world.call()
    world.run(lambda: world.upstream.breaker_open)

    assert world.now == 1060.0


def test_what_is_shown_of_the_last_minute_is_counted_without_a_breaker_too():
    outcomes = [Sign.WELL, Sign.SICK, None, Sign.BUSY, Sign.WELL, Sign.WELL]
    world = Simulated(lambda: (1.0, outcomes.pop() if outcomes else Sign.WELL), {})
    for _ in range(3):
        world.call()
    world.run(lambda: world.served == 3)
    assert (world.upstream.recent_attempts, world.upstream.recent_failed) == (5, 1)
    assert world.upstream.breaker is None

    world.now += 120
    assert (world.upstream.recent_attempts, world.upstream.recent_failed) == (0, 0)


@pytest.mark.looptime(start=0)
async def test_an_upstream_that_is_down_for_minutes_costs_no_call():
    """Through the relay, on the loop's own timers: all wait, none fails, all are answered."""
    logs.configure(pretty=False, stream=sys.stderr)
    loop = asyncio.get_running_loop()
    async with open_world(
        lambda _: Step(503 if loop.time() < 200 else 200, after_s=1.0), max_in_flight=10,
        limits={"queue_timeout_s": 3600}, retry={"max_attempts": 20, "backoff_max_s": 1},
        breaker={"enabled": True},
    ) as world:  # fmt: skip
        calls = [world.call() for _ in range(100)]
        told = await asyncio.gather(*(world.ask(call) for call in calls))
        assert set(told) == {"200"}
        assert all(world.status(call) is Status.SUCCEEDED for call in calls)
        down = sum(at < 200 for at in world.upstream.began)
        assert down < 60  # without a breaker: 2,000
        world.check_at_rest()
