"""The fair queue: who among the waiting is served next. A data structure; no clock, no I/O.

Flows take turns, one entry a turn (deficit round robin where every entry costs the same), so a
flow of a thousand delays another's single entry by one turn. Within a flow the lowest
`since + RISE_S * priority` goes first, then the first to arrive: that key never changes, yet a
waiter rises by one priority every `RISE_S` against those that come after it.

A *gated* entry (a retry) can be served only while the gate is open. A flow whose turn comes while
it holds nothing but gated entries behind a closed gate is parked: it gives up no turn, it is first
when the gate opens, and nobody steps over it again until then.

Invariant: an entry is served once or removed, never both; `len()` is exact at every moment; a flow
without entries is forgotten. A step costs O(log n) comparisons, the position of an entry besides
O(flows). Checked against a plain list in `test_fair_queue.py`.
"""

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator, Sequence
from heapq import merge
from itertools import chain, count
from operator import attrgetter
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
_KEY = attrgetter("key")

RISE_S = 30.0  # a waiter rises one priority in this time, so the last of ten goes first after 5 min


class Entry(Generic[T]):
    """One item's place in a queue."""

    __slots__ = ("flow", "gated", "item", "key", "waiting")

    def __init__(self, item: T, flow: Hashable, key: tuple[float, int], *, gated: bool) -> None:
        self.item = item
        self.flow = flow
        self.key = key  #: order within the flow: (rank in seconds, arrival)
        self.gated = gated
        self.waiting = True  #: neither served nor removed


class _Lane(list[Entry[T]]):
    """The open or the gated entries of one flow, the next one first.

    A sorted list and no heap, because clients ask for positions more often than entries move: what
    an entry in the middle costs is one move of memory, 50 µs where a hundred thousand wait.
    """

    __slots__ = ()

    def push(self, entry: Entry[T]) -> None:
        insort(self, entry, key=_KEY)

    def take_out(self, entry: Entry[T]) -> None:
        del self[self.before(entry)]

    def before(self, entry: Entry[T]) -> int:
        """How many of these go before *entry*, itself one of them or not."""
        return bisect_left(self, entry.key, key=_KEY)


#: The lanes of a flow: open entries, gated ones.
_Flow: TypeAlias = tuple[_Lane[T], _Lane[T]]


class FairQueue(Generic[T]):
    """Items in flows that take turns."""

    def __init__(self) -> None:
        # Taken together, parked flows before the ring, this is the order of turns.
        self._parked: OrderedDict[Hashable, _Flow[T]] = OrderedDict()
        self._ring: OrderedDict[Hashable, _Flow[T]] = OrderedDict()
        self._living = [0, 0]  # open, gated
        self._arrivals = count()

    def __len__(self) -> int:
        return sum(self._living)

    def can_serve(self, *, gate_open: bool = True) -> bool:
        """Whether `pop` would serve somebody."""
        return self._living[0] > 0 or (gate_open and self._living[1] > 0)

    def push(
        self, item: T, *, flow: Hashable, priority: int, since: float, gated: bool = False
    ) -> Entry[T]:
        """Let *item* wait; *since* is when its waiting began, in seconds of any one clock."""
        rank = since + RISE_S * priority
        entry = Entry(item, flow, (rank, next(self._arrivals)), gated=gated)
        lanes = self._parked.get(flow) or self._ring.get(flow)
        if lanes is None:
            lanes = self._ring[flow] = (_Lane(), _Lane())
        elif not gated and flow in self._parked:  # its turn had come before it was parked
            self._ring[flow] = self._parked.pop(flow)
            self._ring.move_to_end(flow, last=False)
        lanes[gated].push(entry)
        self._living[gated] += 1
        return entry

    def pop(self, *, gate_open: bool = True) -> T | None:
        """Serve the next item; None where nobody can be served."""
        if not self.can_serve(gate_open=gate_open):
            return None
        lanes = self._next_flow(gate_open=gate_open)
        heads = [lane[0] for lane in _counted(lanes, everybody=gate_open) if lane]
        entry = min(heads, key=lambda head: head.key)
        self._take_out(entry, lanes)
        return entry.item

    def remove(self, entry: Entry[T]) -> bool:
        """Let *entry* leave unserved; False where it does not wait any more."""
        if not entry.waiting:
            return False
        self._take_out(entry, self._lanes(entry.flow))
        return True

    def position(self, entry: Entry[T], *, gate_open: bool = True) -> int:
        """How many will be served before *entry* if nothing else comes or goes.

        Behind a closed gate a gated entry is told its position as if the gate opened now.
        """
        everybody = gate_open or entry.gated
        own = self._lanes(entry.flow)
        rank = sum(lane.before(entry) for lane in _counted(own, everybody=everybody))
        before, turns = 0, rank + 1
        for lanes in chain(self._parked.values(), self._ring.values()):
            if lanes is own:
                turns = rank  # its flow, and those whose turn comes later, get one turn less
            before += min(len(lanes[0]) + (len(lanes[1]) if everybody else 0), turns)
        return before

    def positions(self, *, gate_open: bool = True) -> dict[T, int]:
        """What `position` says, of every waiting item, in one pass."""
        positions = {entry.item: n for n, entry in enumerate(self._in_order(everybody=True))}
        if not gate_open:
            for n, entry in enumerate(self._in_order(everybody=False)):
                positions[entry.item] = n
        return positions

    def _in_order(self, *, everybody: bool) -> Iterator[Entry[T]]:
        lines = deque(
            merge(*_counted(lanes, everybody=everybody), key=_KEY) for _, lanes in self._turns()
        )
        while lines:
            line = lines.popleft()
            if (entry := next(line, None)) is not None:
                yield entry
                lines.append(line)

    def _turns(self) -> Iterator[tuple[Hashable, _Flow[T]]]:
        return chain(self._parked.items(), self._ring.items())

    def _lanes(self, flow: Hashable) -> _Flow[T]:
        return self._parked.get(flow) or self._ring[flow]

    def _next_flow(self, *, gate_open: bool) -> _Flow[T]:
        """Give the turn to the first flow that can be served; it goes to the ring's end."""
        if gate_open and self._parked:
            flow, lanes = self._parked.popitem(last=False)
            self._ring[flow] = lanes
            return lanes
        while True:
            flow, lanes = next(iter(self._ring.items()))
            if gate_open or lanes[0]:
                self._ring.move_to_end(flow)
                return lanes
            self._parked[flow] = self._ring.pop(flow)

    def _take_out(self, entry: Entry[T], lanes: _Flow[T]) -> None:
        entry.waiting = False
        lanes[entry.gated].take_out(entry)
        self._living[entry.gated] -= 1
        if not any(lanes):
            (self._parked if entry.flow in self._parked else self._ring).pop(entry.flow)


def _counted(lanes: _Flow[T], *, everybody: bool) -> Sequence[_Lane[T]]:
    return lanes if everybody else lanes[:1]
