"""Admission: bounds that hold, nobody lost, nothing leaked."""

import random
import tracemalloc
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from gateway.call import WaitReason
from gateway.config import Limits, Retry, Upstream
from gateway.errors import QueueFull
from gateway.relay.admission import Admission, Place


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission(now=clock)


def upstream(name: str, max_in_flight: int = 1, budget: float = 0.2) -> Upstream:
    return Upstream(
        name=name, base_url="mock:", max_in_flight=max_in_flight, retry=Retry(budget=budget)
    )


def configure(
    admission: Admission, *, of_all: int = 1000, budget: float = 0.2, limits: Limits | None = None,
    **max_in_flight: int,
) -> None:  # fmt: skip
    admission.configure(
        limits or Limits(max_in_flight=of_all),
        {name: upstream(name, limit, budget) for name, limit in max_in_flight.items()},
    )


def enter(admission: Admission, name: str = "openai", client: str = "a", **how: object) -> Place:
    return admission.enter(name, **{"flow": (client, ""), "priority": 5, "since": 0.0} | how)


def granted(places: list[Place]) -> int:
    return sum(place.granted for place in places)


def test_a_slot_is_given_at_once_up_to_the_limit(admission: Admission):
    configure(admission, openai=2)
    places = [enter(admission) for _ in range(3)]

    assert [place.granted for place in places] == [True, True, False]
    places[0].release()
    assert places[2].granted


def test_no_newcomer_overtakes_those_who_wait(admission: Admission):
    configure(admission, openai=1)
    first, second = enter(admission), enter(admission)
    first.release()
    third = enter(admission)

    assert second.granted
    assert not third.granted


def test_the_limit_of_all_binds_and_upstreams_take_turns(admission: Admission):
    configure(admission, of_all=1, a=5, b=5, c=5)
    running = enter(admission, "a")
    waiting = [enter(admission, name) for name in ("a", "a", "a", "b", "b", "c")]
    served = []
    while any(place.granted for place in [running, *waiting]):
        running.release()
        running = next((place for place in waiting if place.granted), running)
        if running.granted:
            served.append(waiting.index(running))
            assert granted(waiting) == 1

    assert sorted(served) == list(range(6))
    assert {3, 5} & set(served[:3]) == {3, 5}  # one of b and of c among the first three


def test_raising_a_limit_grants_at_once_and_lowering_it_binds_those_who_start_later(
    admission: Admission,
):
    configure(admission, idle=1, openai=1)
    places = [enter(admission) for _ in range(6)]
    admission.set_max_in_flight("openai", 3)
    assert granted(places) == 3

    admission.set_max_in_flight("openai", 2)
    places[0].release()
    assert granted(places) == 2
    places[1].release()
    assert granted(places) == 2

    configure(admission, idle=1, openai=4)
    assert granted(places) == 4


def test_a_paused_upstream_starts_nothing_until_it_goes_on(admission: Admission):
    configure(admission, openai=2)
    admission.pause("openai", True)
    place = enter(admission)
    configure(admission, openai=3)

    assert not place.granted
    assert place.reason is WaitReason.PAUSED
    assert admission.statistics().upstreams["openai"].paused
    admission.pause("openai", False)
    assert place.granted


def test_the_bounds_refuse_new_calls_only(admission: Admission):
    configure(
        admission,
        limits=Limits(max_queued=1, max_queued_detached=2, max_queued_bytes=100),
        openai=1,
    )
    running = enter(admission, body_bytes=10_000)
    waiting = enter(admission, body_bytes=60)
    with pytest.raises(QueueFull):
        enter(admission)
    with pytest.raises(QueueFull):
        enter(admission, detached=True, body_bytes=41)
    enter(admission, detached=True, body_bytes=40)
    enter(admission, detached=True)
    with pytest.raises(QueueFull):
        enter(admission, detached=True)

    enter(admission, retry=True, body_bytes=1000)
    enter(admission, recovered=True)
    enter(admission, recovered=True, detached=True)
    assert admission.statistics().queued == 6
    assert admission.statistics().queued_detached == 3
    assert admission.statistics().queued_bytes == 1100
    for place in (running, waiting):
        place.release()


def test_a_place_moves_between_the_bounds_when_its_client_stops_waiting(admission: Admission):
    configure(admission, limits=Limits(max_queued=1, max_queued_detached=1), openai=1)
    enter(admission)
    place = enter(admission, body_bytes=7)
    place.detach()
    other = enter(admission)

    assert admission.statistics().queued_bytes == 0
    with pytest.raises(QueueFull):
        enter(admission, detached=True)
    place.detach()
    place.release()
    other.detach(body_bytes=5)
    assert admission.statistics().queued_bytes == 5
    other.release()
    assert admission.statistics().queued_bytes == 0


def test_the_refused_are_told_to_come_back_when_there_should_be_room(
    admission: Admission, clock: Clock
):
    configure(admission, limits=Limits(max_queued=40), openai=10)
    for _ in range(10):
        place = enter(admission)
        clock.now += 4.0
        place.release()
    for _ in range(50):
        enter(admission)
    hints = []
    for _ in range(20):
        with pytest.raises(QueueFull) as refused:
            enter(admission)
        hints.append(refused.value.retry_after_s)

    assert all(8.0 <= hint <= 16.0 for hint in hints)  # 40 wait, 10 slots, 4 s each
    assert len({round(hint, 1) for hint in hints}) > 15


@pytest.mark.parametrize(("max_queued", "hold_s"), [(0, 0.0), (1, 0.001), (10_000, 900.0)])
def test_the_hint_to_the_refused_stays_within_a_minute(
    admission: Admission, clock: Clock, max_queued: int, hold_s: float
):
    configure(admission, limits=Limits(max_queued=max_queued), openai=1)
    place = enter(admission)
    clock.now += hold_s
    place.release()
    for _ in range(max_queued + 1):
        enter(admission)

    for _ in range(100):
        with pytest.raises(QueueFull) as refused:
            enter(admission)
        assert 1.0 <= (refused.value.retry_after_s or 0) <= 60.0


def test_a_retry_beyond_the_budget_waits_and_others_pass_it(admission: Admission):
    configure(admission, openai=100)
    retries = [enter(admission, retry=True) for _ in range(5)]

    assert granted(retries) == 3
    assert retries[3].reason is WaitReason.BACKOFF
    assert enter(admission).granted
    assert enter(admission, recovered=True).granted
    retries[0].release()
    assert [place.granted for place in retries[1:]] == [True, True, True, False]


def test_the_budget_grows_with_the_open_calls(admission: Admission):
    configure(admission, openai=100)
    for _ in range(24):
        admission.opened("openai")
    retries = [enter(admission, retry=True) for _ in range(6)]

    assert granted(retries) == 4
    admission.opened("openai")
    assert granted(retries) == 5
    admission.closed("openai")
    retries[0].release()
    assert granted(retries) == 4


def test_when_every_attempt_fails_each_call_still_gets_all_of_its_attempts(admission: Admission):
    """Retries in flight stay within the budget, and no call is lost to it."""
    configure(admission, openai=50)
    rng = random.Random(7)
    attempts = dict.fromkeys(range(300), 0)
    places = {}
    for call in attempts:
        admission.opened("openai")
        places[call] = enter(admission, client=str(call % 7), since=float(call))
    open_calls = len(attempts)
    while places:
        running = [call for call, place in places.items() if place.granted]
        assert running
        retries = sum(places[call].retry for call in running)
        assert retries == admission.statistics().upstreams["openai"].retries_in_flight
        before = max(3, 0.2 * (open_calls + 1))  # the budget when the last of them started
        assert retries <= before
        call = rng.choice(running)
        places.pop(call).release()
        attempts[call] += 1
        if attempts[call] < 4:
            places[call] = enter(admission, client=str(call % 7), since=float(call), retry=True)
        else:
            admission.closed("openai")
            open_calls -= 1

    assert set(attempts.values()) == {4}
    assert admission.statistics().in_flight == 0


def test_a_flood_delays_another_clients_single_call_by_one_slot_turn(admission: Admission):
    configure(admission, openai=4)
    flood = [enter(admission, client="flood") for _ in range(1000)]
    lone = enter(admission, client="lone")
    assert admission.position(lone) == 2  # the flood's turn came first

    for place in [place for place in flood if place.granted][:2]:
        place.release()
    assert lone.granted


def test_fairness_keys_of_one_client_take_turns_too(admission: Admission):
    configure(admission, openai=1)
    running = enter(admission, flow=("a", "tenant 1"))
    waiting = [enter(admission, flow=("a", "tenant 1")) for _ in range(50)]
    other = enter(admission, flow=("a", "tenant 2"))
    running.release()
    waiting[0].release()

    assert other.granted


def test_positions_are_honest(admission: Admission):
    configure(admission, openai=1)
    running = enter(admission)
    rng = random.Random(3)
    waiting = [
        enter(admission, client=rng.choice("abc"), priority=rng.randrange(10), since=float(n))
        for n in range(40)
    ]
    positions = admission.positions("openai")
    assert sorted(positions.values()) == list(range(1, 41))
    assert admission.position(running) == 0

    for turn in range(1, 41):
        (following,) = (place for place in waiting if admission.position(place) == 1)
        assert positions[following] == turn
        running.release()
        assert following.granted
        running = following


def test_an_eta_needs_an_attempt_to_have_ended(admission: Admission, clock: Clock):
    configure(admission, openai=1)
    running, waiting = enter(admission), enter(admission)
    assert (admission.eta_s(running), admission.eta_s(waiting)) == (None, None)

    clock.now += 10.0
    running.release()
    assert admission.eta_s(running) is None
    assert admission.eta_s(waiting) == 10.0

    admission.pause("openai", True)
    assert admission.eta_s(enter(admission)) is None


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
def test_an_eta_comes_true_where_all_attempts_take_equally_long(
    admission: Admission, clock: Clock, slots: int
):
    """Of those in flight and of those who wait, however far the slots are out of step."""
    configure(admission, openai=slots)
    measured = enter(admission)
    clock.now += 10.0
    measured.release()
    places = []
    for _ in range(12):
        places.append(enter(admission))
        clock.now += 0.5
    told = {place: clock.now + (admission.eta_s(place) or 0.0) for place in places}
    began = {place: 1010.0 + 0.5 * n for n, place in enumerate(places) if place.granted}

    while began:
        first = min(began, key=lambda place: began[place])
        clock.now = began.pop(first) + 10.0
        assert told.pop(first) == pytest.approx(clock.now)
        first.release()
        began |= {place: clock.now for place in places if place.granted and place not in began}
    assert told == {}


def test_an_eta_counts_those_in_flight_above_a_lowered_limit(admission: Admission, clock: Clock):
    configure(admission, openai=4)
    places = [enter(admission) for _ in range(4)]
    clock.now += 10.0
    places.pop().release()
    admission.set_max_in_flight("openai", 1)
    clock.now += 4.0
    waiting = enter(admission)

    assert admission.eta_s(places[0]) is None  # it takes longer than most
    assert admission.eta_s(waiting) == 10.0


def test_an_upstream_that_left_the_config_drains(admission: Admission):
    """What was accepted goes on under the old limit, retries included; nothing new comes in."""
    configure(admission, old=1, new=1)
    admission.opened("old")
    running, waiting = enter(admission, "old"), enter(admission, "old")
    configure(admission, new=1)
    with pytest.raises(KeyError):
        enter(admission, "old")
    running.release()
    assert waiting.granted
    retry = enter(admission, "old", retry=True)
    waiting.release()
    assert retry.granted
    retry.release()
    assert "old" in admission.statistics().upstreams

    admission.closed("old")
    assert "old" not in admission.statistics().upstreams
    assert admission.statistics().in_flight == 0


def test_an_upstream_that_comes_back_still_counts_what_is_in_flight(admission: Admission):
    configure(admission, openai=1)
    running = enter(admission)
    configure(admission, other=1)
    configure(admission, openai=1)
    waiting = enter(admission)

    assert not waiting.granted
    running.release()
    assert waiting.granted


def test_releasing_twice_gives_back_one_slot(admission: Admission):
    configure(admission, openai=1)
    with enter(admission) as place:
        place.release()
    place.release()
    waiting = [enter(admission) for _ in range(2)]

    assert [place.granted for place in waiting] == [True, False]
    assert admission.statistics().in_flight == 1


def test_the_owner_of_one_that_waits_is_told_of_its_grant_once(admission: Admission):
    configure(admission, openai=1)
    told: list[object] = []
    admission.on_grant = told.append
    running, place = enter(admission), enter(admission)
    place.owner = "the waiter"

    running.release()
    assert told == ["the waiter"]
    admission.set_max_in_flight("openai", 5)
    assert told == ["the waiter"]


def test_the_owner_of_one_that_was_given_up_is_told_nothing(admission: Admission):
    configure(admission, openai=1)
    told: list[object] = []
    admission.on_grant = told.append
    running, place = enter(admission), enter(admission)
    place.owner = "the waiter"
    place.release()
    running.release()

    assert told == []
    assert admission.statistics().in_flight == 0
    assert admission.statistics().queued == 0


def test_a_waiting_call_costs_less_than_a_kilobyte(admission: Admission):
    configure(admission, openai=1)
    enter(admission)
    tracemalloc.start()
    try:
        places = [enter(admission, client=f"{n}", detached=True) for n in range(2_000)]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used / len(places) < 1_024


@dataclass
class Entered:
    """What the model knows of one place."""

    place: Place
    upstream: str
    retry: bool
    detached: bool
    body_bytes: int
    recovered: bool
    state: str = "waiting"  # granted, gone


LIMITS = st.builds(
    Limits,
    max_in_flight=st.integers(1, 6),
    max_queued=st.integers(0, 5),
    max_queued_detached=st.integers(0, 5),
    max_queued_bytes=st.integers(0, 50),
)
NAMES = ("a", "b", "c")
UPSTREAMS = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.integers(1, 4), st.sampled_from([0.0, 0.2, 1.0])),
    min_size=1,
)


class AdmissionAgainstModel(RuleBasedStateMachine):
    """Random arrivals, departures, limits, pauses and reloads."""

    places = Bundle("places")

    @initialize(limits=LIMITS, upstreams=UPSTREAMS)
    def start(self, limits: Limits, upstreams: dict[str, tuple[int, float]]) -> None:
        self.clock = Clock()
        self.admission = Admission(now=self.clock)
        self.entered: list[Entered] = []
        self.limit: dict[str, int] = {}
        self.budget: dict[str, float] = {}
        self.paused: set[str] = set()
        self.open_calls: dict[str, int] = {}
        self.configured: set[str] = set()
        self.reload(limits, upstreams)

    def of(self, name: str | None = None, state: str = "waiting") -> list[Entered]:
        return [e for e in self.entered if e.state == state and name in (None, e.upstream)]

    def retries(self, name: str) -> int:
        return sum(e.retry for e in self.of(name, "granted"))

    def allowed_retries(self, name: str) -> float:
        return max(3, self.budget[name] * self.open_calls[name])

    def could_start(self, name: str, *, retry: bool) -> bool:
        return (
            name not in self.paused
            and len(self.of(name, "granted")) < self.limit[name]
            and len(self.of(None, "granted")) < self.limits.max_in_flight
            and (not retry or self.retries(name) + 1 <= self.allowed_retries(name))
        )

    def note_grants(self) -> None:
        """Who was granted in this step started within every limit, and could take it."""
        started = [e for e in self.of() if e.place.granted]
        for e in started:
            e.state = "granted"
        for name in {e.upstream for e in started}:
            assert name not in self.paused
            assert len(self.of(name, "granted")) <= self.limit[name]
            if any(e.retry for e in started if e.upstream == name):
                assert self.retries(name) <= self.allowed_retries(name)
        if started:
            assert len(self.of(None, "granted")) <= self.limits.max_in_flight
        for name in self.limit:
            for retry in {e.retry for e in self.of(name)}:
                assert not self.could_start(name, retry=retry), "a lost waiter"

    def forget_drained(self) -> None:
        for name in set(self.limit) - self.configured:
            if not (self.of(name) or self.of(name, "granted") or self.open_calls[name]):
                del self.limit[name], self.budget[name], self.open_calls[name]
                self.paused.discard(name)

    @rule(limits=LIMITS, upstreams=UPSTREAMS)
    def reload(self, limits: Limits, upstreams: dict[str, tuple[int, float]]) -> None:
        self.limits = limits
        self.configured = set(upstreams)
        for name, (limit, budget) in upstreams.items():
            self.limit[name], self.budget[name] = limit, budget
            self.open_calls.setdefault(name, 0)
        self.forget_drained()
        self.admission.configure(
            limits, {name: upstream(name, *how) for name, how in upstreams.items()}
        )
        self.note_grants()

    @rule(
        target=places,
        name=st.sampled_from(NAMES),
        client=st.sampled_from("xyz"),
        priority=st.integers(0, 9),
        body_bytes=st.integers(0, 30),
        detached=st.booleans(),
        kind=st.sampled_from(["first", "first", "retry", "recovered"]),
    )
    def enter(
        self, name: str, client: str, priority: int, body_bytes: int, detached: bool, kind: str
    ) -> Entered | None:
        how = {"detached": detached, "body_bytes": body_bytes}
        how |= {"retry": kind == "retry", "recovered": kind == "recovered"}

        def act() -> Place:
            return enter(
                self.admission, name, client, priority=priority, since=self.clock.now, **how
            )

        if name not in (self.limit if kind == "retry" else self.configured):
            with pytest.raises(KeyError):
                act()
            return None
        queued = [e for e in self.of() if not e.recovered]
        bound = self.limits.max_queued_detached if detached else self.limits.max_queued
        is_full = sum(e.detached == detached for e in queued) >= bound or (
            sum(e.body_bytes for e in queued) + body_bytes > self.limits.max_queued_bytes
        )
        if kind == "first" and is_full and not self.could_start(name, retry=False):
            with pytest.raises(QueueFull) as refused:
                act()
            assert 1 <= refused.value.retry_after_s <= 60
            return None
        entered = Entered(place=act(), upstream=name, **how)
        self.entered.append(entered)
        self.note_grants()
        return entered

    @rule(entered=places)
    def leave(self, entered: Entered | None) -> None:
        """Finish, give up, or do either twice."""
        if entered is None:
            return
        entered.state = "gone"
        entered.place.release()
        self.note_grants()
        self.forget_drained()

    @rule(entered=places, body_bytes=st.integers(0, 30))
    def detach(self, entered: Entered | None, body_bytes: int) -> None:
        if entered is None:
            return
        entered.detached, entered.body_bytes = True, body_bytes
        entered.place.detach(body_bytes=body_bytes)
        self.note_grants()

    @rule(name=st.sampled_from(NAMES), n=st.integers(1, 6))
    def change_limit(self, name: str, n: int) -> None:
        if name in self.limit:
            self.limit[name] = n
            self.admission.set_max_in_flight(name, n)
            self.note_grants()

    @rule(name=st.sampled_from(NAMES), paused=st.booleans())
    def pause(self, name: str, paused: bool) -> None:
        if name in self.limit:
            (self.paused.add if paused else self.paused.discard)(name)
            self.admission.pause(name, paused)
            self.note_grants()

    @rule(name=st.sampled_from(NAMES), calls=st.integers(1, 12))
    def open_some(self, name: str, calls: int) -> None:
        if name in self.limit:
            for _ in range(calls):
                self.open_calls[name] += 1
                self.admission.opened(name)
            self.note_grants()

    @rule(name=st.sampled_from(NAMES))
    def close_one(self, name: str) -> None:
        if self.open_calls.get(name):
            self.open_calls[name] -= 1
            self.admission.closed(name)
            self.forget_drained()
            self.note_grants()

    @rule(seconds=st.floats(0, 100))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def counts_equal_the_models(self) -> None:
        if not hasattr(self, "admission"):
            return
        seen = self.admission.statistics()
        assert seen.in_flight == len(self.of(None, "granted"))
        assert seen.queued == len(self.of())
        assert seen.queued_detached == sum(e.detached for e in self.of())
        assert seen.queued_bytes == sum(e.body_bytes for e in self.of() if not e.recovered)
        assert seen.open_calls == sum(self.open_calls.values())
        assert seen.upstreams.keys() == self.limit.keys()
        for name, slots in seen.upstreams.items():
            assert slots.in_flight == len(self.of(name, "granted"))
            assert slots.retries_in_flight == self.retries(name)
            assert slots.max_in_flight == self.limit[name]
            assert slots.queued == len(self.of(name))
            assert slots.queued_detached == sum(e.detached for e in self.of(name))
            assert slots.paused == (name in self.paused)
            positions = self.admission.positions(name)
            assert positions.keys() == {e.place for e in self.of(name)}
            assert all(
                positions[e.place] == self.admission.position(e.place) for e in self.of(name)
            )

    def teardown(self) -> None:
        """Once nothing is paused and attempts end, everybody is served and nothing is left."""
        if not hasattr(self, "admission"):
            return
        for name in list(self.paused):
            self.pause(name, False)
        while running := self.of(None, "granted"):
            self.leave(running[0])

        assert not self.of()
        seen = self.admission.statistics()
        assert (seen.in_flight, seen.queued, seen.queued_bytes) == (0, 0, 0)


AdmissionAgainstModel.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None
)
TestAdmissionAgainstModel = AdmissionAgainstModel.TestCase
