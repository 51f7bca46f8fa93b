"""The fair queue against a plain list, and its promises one by one."""

import copy
import tracemalloc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gateway.relay.fair_queue import RISE_S, Entry, FairQueue


def push(queue: FairQueue[str], item: str, flow: str = "a", **how: object) -> Entry[str]:
    return queue.push(item, flow=flow, **{"priority": 5, "since": 0.0} | how)


def drain(queue: FairQueue, *, gate_open: bool = True) -> list:
    served = []
    while (item := queue.pop(gate_open=gate_open)) is not None:
        served.append(item)
    return served


def test_flows_take_turns():
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        push(queue, item, flow=item[0])

    assert drain(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_flood_delays_a_single_entry_by_one_turn():
    queue: FairQueue[str] = FairQueue()
    for n in range(1000):
        push(queue, f"flood {n}", flow="flood")
    queue.pop()
    lone = push(queue, "lone", flow="lone")

    assert queue.position(lone) == 1
    assert [queue.pop() for _ in range(3)] == ["flood 1", "lone", "flood 2"]


def test_a_flow_that_comes_back_goes_to_the_end():
    queue: FairQueue[str] = FairQueue()
    push(queue, "a1", flow="a")
    queue.pop()
    for item in ("b1", "c1", "a2"):
        push(queue, item, flow=item[0])

    assert drain(queue) == ["b1", "c1", "a2"]


def test_within_a_flow_priority_then_age_decide():
    queue: FairQueue[str] = FairQueue()
    push(queue, "late", since=10.0)
    push(queue, "early", since=5.0)
    push(queue, "urgent", since=10.0, priority=4)
    push(queue, "first of two", since=5.0, priority=6)
    push(queue, "second of two", since=5.0, priority=6)

    assert drain(queue) == ["urgent", "early", "late", "first of two", "second of two"]


@pytest.mark.parametrize("priority", range(1, 10))
def test_a_waiter_rises_one_priority_every_thirty_seconds(priority: int):
    """So a stream of urgent newcomers passes a patient one only for so long."""
    queue: FairQueue[str] = FairQueue()
    push(queue, "patient", priority=priority, since=0.0)
    push(queue, "just before", priority=0, since=RISE_S * priority - 1)
    push(queue, "just after", priority=0, since=RISE_S * priority + 1)

    assert drain(queue) == ["just before", "patient", "just after"]


def test_a_removed_entry_is_never_served_and_no_longer_counted():
    queue: FairQueue[str] = FairQueue()
    entries = [push(queue, f"{n}") for n in range(4)]

    assert queue.remove(entries[0])
    assert not queue.remove(entries[0])
    assert len(queue) == 3
    assert queue.position(entries[3]) == 2
    assert drain(queue) == ["1", "2", "3"]
    assert not queue.remove(entries[3])


def test_a_gated_entry_waits_for_the_gate_and_others_pass_it():
    queue: FairQueue[str] = FairQueue()
    push(queue, "retry", flow="a", gated=True)
    push(queue, "b1", flow="b")
    push(queue, "b2", flow="b")

    assert queue.pop(gate_open=False) == "b1"
    assert queue.pop(gate_open=True) == "retry"
    assert queue.pop(gate_open=False) == "b2"
    assert not queue.can_serve(gate_open=False)


def test_a_flow_that_was_passed_over_at_the_gate_keeps_its_turn():
    """Waiting at the gate costs no turn, whether the gate opens or another entry comes."""
    queue: FairQueue[str] = FairQueue()
    push(queue, "a retry", flow="a", gated=True)
    push(queue, "b retry", flow="b", gated=True)
    for n in range(9):
        push(queue, f"c{n}", flow="c")
    assert [queue.pop(gate_open=False) for _ in range(3)] == ["c0", "c1", "c2"]
    push(queue, "b first", flow="b", since=1.0)

    assert queue.pop(gate_open=False) == "b first"
    assert queue.pop(gate_open=True) == "a retry"
    assert queue.pop(gate_open=True) == "c3"
    assert queue.pop(gate_open=True) == "b retry"


class PlainList:
    """The same queue, with nothing but a list of flows in the order of their turns."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self.passed_over: list[str] = []  # flows whose turn came while the gate was closed
        self.waiting: dict[int, tuple[str, float, int, bool]] = {}  # flow, rank, item, gated

    def push(self, item: int, flow: str, rank: float, gated: bool) -> None:
        if flow not in self.turns:
            self.turns.append(flow)
        elif flow in self.passed_over and not gated:
            self.passed_over.remove(flow)
            self.turns.remove(flow)
            self.turns.insert(len(self.passed_over), flow)
        self.waiting[item] = (flow, rank, item, gated)

    def remove(self, item: int) -> None:
        flow = self.waiting.pop(item)[0]
        if not any(flow == other[0] for other in self.waiting.values()):
            self.turns.remove(flow)
            self.passed_over = [other for other in self.passed_over if other != flow]

    def pop(self, gate_open: bool) -> int | None:
        eligible = [entry for entry in self.waiting.values() if gate_open or not entry[3]]
        if not eligible:
            return None
        for flow in self.turns:
            of_flow = [entry for entry in eligible if entry[0] == flow]
            if of_flow:
                self.turns.remove(flow)
                self.turns.append(flow)
                self.passed_over = [other for other in self.passed_over if other != flow]
                item = min(of_flow, key=lambda entry: entry[1:3])[2]
                self.remove(item)
                return item
            if flow not in self.passed_over:
                self.passed_over.append(flow)
        raise AssertionError


class FairQueueAgainstPlainList(RuleBasedStateMachine):
    entries = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.plain = PlainList()
        self.next_item = 0

    @rule(
        target=entries,
        flow=st.sampled_from("abcde"),
        priority=st.integers(0, 9),
        since=st.integers(0, 300),
        gated=st.booleans(),
    )
    def push(self, flow: str, priority: int, since: int, gated: bool) -> Entry[int]:
        item, self.next_item = self.next_item, self.next_item + 1
        self.plain.push(item, flow, since + 30 * priority, gated)
        return self.queue.push(item, flow=flow, priority=priority, since=since, gated=gated)

    @rule(gate_open=st.booleans())
    def pop(self, gate_open: bool) -> None:
        can_serve = self.queue.can_serve(gate_open=gate_open)
        item = self.queue.pop(gate_open=gate_open)

        assert item == self.plain.pop(gate_open)
        assert can_serve == (item is not None)

    @rule(entry=consumes(entries))
    def remove(self, entry: Entry[int]) -> None:
        waited = entry.item in self.plain.waiting
        if waited:
            self.plain.remove(entry.item)

        assert waited == self.queue.remove(entry)

    @rule(gate_open=st.booleans(), entry=entries)
    def positions_are_honest(self, gate_open: bool, entry: Entry[int]) -> None:
        """The order of service is the one foretold, where nothing else comes or goes."""
        positions = self.queue.positions(gate_open=gate_open)
        everybody = drain(copy.deepcopy(self.queue))
        served = drain(copy.deepcopy(self.queue), gate_open=gate_open)

        assert positions.keys() == self.plain.waiting.keys()
        for item, position in positions.items():
            gated = self.plain.waiting[item][3]
            assert position == (everybody if gated else served).index(item)
        if entry.waiting:
            assert self.queue.position(entry, gate_open=gate_open) == positions[entry.item]

    @invariant()
    def counts_are_exact_and_empty_flows_forgotten(self) -> None:
        assert len(self.queue) == len(self.plain.waiting)
        assert {flow for flow, _ in self.queue._turns()} == set(self.plain.turns)


FairQueueAgainstPlainList.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestFairQueueAgainstPlainList = FairQueueAgainstPlainList.TestCase


class Counted(float):
    """A number that counts how often it is compared."""

    comparisons = 0

    def __add__(self, other: float) -> "Counted":
        return Counted(float(self) + other)

    def __lt__(self, other: float) -> bool:
        Counted.comparisons += 1
        return float(self) < float(other)

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return float(self) == other

    __hash__ = float.__hash__


def comparisons_per_step(waiting: int, flows: int) -> float:
    """Of one arrival, one service and one removal of the middle, with so many waiting."""
    queue: FairQueue[int] = FairQueue()

    def arrive(n: int) -> Entry[int]:
        since = Counted(n * 7919 % 100_003)
        return queue.push(n, flow=n % flows, priority=n % 10, since=since, gated=n % 8 == 0)

    entries = [arrive(n) for n in range(waiting)]
    Counted.comparisons = 0
    steps = 300
    for n in range(steps):
        entries.append(arrive(waiting + n))
        queue.pop(gate_open=n % 2 == 0)
        queue.remove(entries[waiting // 3 + n])
    return Counted.comparisons / steps


@pytest.mark.parametrize("flows", [1, 1000])
def test_a_step_among_a_hundred_thousand_costs_little_more_than_among_a_thousand(flows: int):
    few, many = comparisons_per_step(1_000, flows), comparisons_per_step(100_000, flows)

    assert many < 4 * (few + 10)
    assert many < 200


def test_a_position_among_a_hundred_thousand_is_found_without_counting_them():
    """Every 202 tells one."""
    queue: FairQueue[int] = FairQueue()
    entries = [
        queue.push(n, flow=n % 10, priority=5, since=Counted(n * 7919 % 100_003))
        for n in range(100_000)
    ]
    Counted.comparisons = 0
    for entry in entries[:100]:
        queue.position(entry)

    assert Counted.comparisons < 100 * 100


def test_mass_departures_leave_nothing_behind():
    queue: FairQueue[int] = FairQueue()
    entries = [
        queue.push(n, flow="a", priority=5, since=Counted(n * 7919 % 10_007)) for n in range(10_000)
    ]
    Counted.comparisons = 0
    for entry in entries[1:]:
        queue.remove(entry)

    assert Counted.comparisons < 40 * len(entries)
    assert len(queue._ring["a"][0]) == 1
    assert queue.pop() == 0
    assert not queue._ring


@pytest.mark.parametrize("flows", [1, 2_000])
def test_a_waiting_entry_costs_less_than_a_kilobyte(flows: int):
    queue: FairQueue[int] = FairQueue()
    tracemalloc.start()
    try:
        for n in range(2_000):
            queue.push(n, flow=("client", f"{n % flows}"), priority=5, since=float(n))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used / 2_000 < 1_024
