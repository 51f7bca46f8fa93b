"""The fair queue: who among the waiting is served next. A data structure; no clock, no I/O.

Flows take turns, one entry a turn (deficit round robin where every entry costs the same), so a
flow of a thousand delays another's single entry by one turn. Within a flow the lowest
`since + RISE_S * priority` goes first, then the first to arrive: that key never changes, yet a
waiter rises by one priority every `RISE_S` against those that come after it.

A *gated* entry (a retry) can be served only while the gate is open. A flow whose turn comes while
it holds nothing but gated entries behind a closed gate is parked: it gives up no turn, it is first
when the gate opens, and nobody steps over it again until then.

Invariant: an entry is served once or removed, never both; `len()` is exact at every moment; a flow
without entries is forgotten. A step costs O(log n). Checked against a plain list in
`test_fair_queue.py`.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, count
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

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


class _Lane(Generic[T]):
    """The open or the gated entries of one flow: a heap whose removed entries stay as tombstones.

    They never outnumber the living, so a removal costs O(1) on average.
    """

    __slots__ = ("_heap", "living")

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[float, int], Entry[T]]] = []
        self.living = 0

    def push(self, entry: Entry[T]) -> None:
        heappush(self._heap, (entry.key, entry))
        self.living += 1

    def first(self) -> Entry[T] | None:
        while self._heap and not self._heap[0][1].waiting:
            heappop(self._heap)
        return self._heap[0][1] if self._heap else None

    def lost_one(self) -> None:
        """An entry stopped waiting."""
        self.living -= 1
        if len(self._heap) > 2 * self.living:
            self._heap = [pair for pair in self._heap if pair[1].waiting]
            heapify(self._heap)

    def __iter__(self) -> Iterator[Entry[T]]:
        return (entry for _, entry in self._heap if entry.waiting)


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
        heads = [head for lane in _counted(lanes, everybody=gate_open) if (head := lane.first())]
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
        """How many will be served before *entry* if nothing else comes or goes; O(n).

        Behind a closed gate a gated entry is told its position as if the gate opened now.
        """
        everybody = gate_open or entry.gated
        own = chain(*_counted(self._lanes(entry.flow), everybody=everybody))
        rank = sum(1 for other in own if other.key < entry.key)
        before, turns = 0, rank + 1
        for flow, lanes in self._turns():
            if flow == entry.flow:
                turns = rank  # its flow, and those whose turn comes later, get one turn less
            living = sum(lane.living for lane in _counted(lanes, everybody=everybody))
            before += min(living, turns)
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
            iter(sorted(chain(*_counted(lanes, everybody=everybody)), key=lambda entry: entry.key))
            for _, lanes in self._turns()
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
            if gate_open or lanes[0].living:
                self._ring.move_to_end(flow)
                return lanes
            self._parked[flow] = self._ring.pop(flow)

    def _take_out(self, entry: Entry[T], lanes: _Flow[T]) -> None:
        entry.waiting = False
        lanes[entry.gated].lost_one()
        self._living[entry.gated] -= 1
        if not any(lane.living for lane in lanes):
            (self._parked if entry.flow in self._parked else self._ring).pop(entry.flow)


def _counted(lanes: _Flow[T], *, everybody: bool) -> Sequence[_Lane[T]]:
    return lanes if everybody else lanes[:1]
