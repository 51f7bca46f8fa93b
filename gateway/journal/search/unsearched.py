"""Hints of the writer to the indexer: which calls have something new to be found.

They are hints, not a record: losing them costs a look through the file (`search.py`).
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

OPEN_S = 1.0  # a call that ends sooner is looked at once, when it has ended
MOST = 100_000
RETRY_S, TRIES = 0.02, 50  # until a call that ended should be so in the file
IDLE_S = 60.0


class Unsearched:
    """Calls to look at. Adding one costs the writer's posters half a microsecond."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()  #: something was added
        self.overflown = False  #: some were dropped
        self.looked_at = 0  #: calls up to this one have no hint of being new
        self._loop = asyncio.get_running_loop()
        self._accepted: deque[tuple[float, int]] = deque()  #: (when due, seq)
        self._ended: deque[int] = deque()
        self._again: deque[tuple[float, int]] = deque()
        self._tries: dict[int, int] = {}  #: of those that are to be looked at again
        self._taken: list[int] | None = None  #: being looked at, of those accepted

    def __bool__(self) -> bool:
        return bool(self._accepted or self._ended or self._again or self._taken is not None)

    def accepted(self, seq: int) -> None:
        """There is a new call."""
        self._make_room(self._accepted)
        self._accepted.append((self._loop.time() + OPEN_S, seq))
        self.wake.set()

    def ended(self, seq: int) -> None:
        """A call is final, or will be as soon as that is durable."""
        self._make_room(self._ended)
        self._ended.append(seq)
        self.wake.set()

    def take(self, now: float, most: int, *, undue: bool) -> tuple[list[int], list[int]]:
        """The next calls to look at, at most *most*: those that ended, and others.

        *undue*: also those that were accepted just now and may still end soon.
        """
        ended = [self._ended.popleft() for _ in range(min(most, len(self._ended)))]
        ended += _due(self._again, now, most - len(ended))
        accepted = _due(self._accepted, math.inf if undue else now, most - len(ended))
        if ended or accepted:
            self._taken = accepted
        return ended, accepted

    def again(self, seqs: Iterable[int], now: float) -> None:
        """These had ended, but not yet in the file; after some tries a record is not to be had."""
        for seq in seqs:
            tries = self._tries[seq] = self._tries.get(seq, 0) + 1
            if tries > TRIES:
                del self._tries[seq]
            else:
                self._again.append((now + RETRY_S * tries, seq))

    def done(self) -> None:
        """What was taken was looked at."""
        self.looked_at = max([self.looked_at, *(self._taken or ())])
        self._taken = None
        if self._accepted:
            self.looked_at = min(self.looked_at, self._accepted[0][1] - 1)
        if not self._again:
            self._tries.clear()

    def due_in(self, now: float) -> float:
        """Seconds until there is something to take."""
        if self._ended:
            return 0.0
        first = [queue[0][0] for queue in (self._accepted, self._again) if queue]
        return max(0.0, min(first) - now) if first else IDLE_S

    def _make_room(self, queue: deque[T]) -> None:
        if len(queue) >= MOST:
            queue.clear()
            self.overflown = True


def _due(queue: deque[tuple[float, int]], now: float, most: int) -> list[int]:
    found: list[int] = []
    while queue and len(found) < most and queue[0][0] <= now:
        found.append(queue.popleft()[1])
    return found
