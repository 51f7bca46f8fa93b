"""What one gateway key may have in flight and waiting, at all upstreams together.

Its places stand in the queues of the upstreams like all others, but never more of them than the
key's limit; the rest wait here, *aside*, in their own fair order. One that is served while its key
is at the limit goes aside too. So a key with a thousand calls costs nobody a turn it cannot use.

Invariant: while the key is below its limit, nobody is aside for an upstream in whose queue none of
the key's places stands. `test_key_slots.py` drives it.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from gateway.relay.fair_queue import Entry, FairQueue

T = TypeVar("T")

UNBOUND = 1 << 60


class KeySlots(Generic[T]):
    """One key's limits and counts, and its places that wait for it rather than for an upstream.

    Upstreams are named by any hashable thing.
    """

    def __init__(self) -> None:
        self.limit = UNBOUND
        self.max_queued = UNBOUND
        self.in_flight = 0
        self.waited_for = 0  #: places whose call has a client that waits, in flight or not
        self.waiting = 0  #: places that count towards `max_queued`
        self._queued: defaultdict[Hashable, int] = defaultdict(int)
        self._aside: dict[Hashable, FairQueue[T]] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further attempt may start."""
        return self.in_flight >= self.limit

    def may_queue(self, upstream: Hashable) -> bool:
        """Whether one more of its places may stand in that upstream's queue."""
        return self.in_flight + self._queued[upstream] < self.limit

    def queue(self, upstream: Hashable, change: int) -> None:
        """One more (1) or fewer (-1) of its places stands in that upstream's queue."""
        self._queued[upstream] += change

    def put_aside(
        self, item: T, upstream: Hashable, *, flow: Hashable, rank: float, gated: bool
    ) -> Entry[T]:
        """Let *item* wait until the key may have more in flight."""
        queue = self._aside.setdefault(upstream, FairQueue())
        return queue.push(item, flow=flow, priority=0, since=rank, gated=gated)

    def remove(self, upstream: Hashable, entry: Entry[T]) -> None:
        """Let *entry* leave unserved."""
        self._aside[upstream].remove(entry)

    def position(self, upstream: Hashable, entry: Entry[T]) -> int:
        """How many of the key's own go before *entry*."""
        return self._queued[upstream] + self._aside[upstream].position(entry)

    def next_to_queue(self) -> Iterator[T]:
        """Take out, one by one, those who may stand in their upstream's queue now."""
        for upstream, queue in list(self._aside.items()):
            while self.may_queue(upstream) and (item := queue.pop()) is not None:
                yield item  # who takes it counts it in the queue before the next
            if not len(queue):
                del self._aside[upstream]
