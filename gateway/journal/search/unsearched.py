"""Hints of the writer to the indexer: which calls have something new to be found.

They are hints, not a record: losing them costs a look through the file (`indexer.py`).

Invariant: what is held grows with the calls that nobody has looked at yet and with nothing else, up
to `MOST`; whoever waits is taken, also while more calls end than can be looked at.
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Iterable

OPEN_S = 1.0  # a call that ends sooner is looked at once, when it has ended
OPEN_SHARE = 4  # so many times fewer calls are looked at because they are still open
MOST = 20_000
RETRY_S, TRIES = 0.02, 50  # until a call that ended should be so in the file
IDLE_S = 60.0


class Unsearched:
    """Calls to look at. Adding one costs the writer's posters half a microsecond."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()  #: something was added
        self.overflown = False  #: some were dropped
        self.newest = 0  #: that was accepted
        self.looked_at = 0  #: calls up to this one have no hint of being new
        self._loop = asyncio.get_running_loop()
        self._accepted: OrderedDict[int, float] = OrderedDict()  #: seq → when due
        self._ended: deque[int] = deque()
        self._again: deque[tuple[float, int]] = deque()
        self._tries: dict[int, int] = {}  #: of those that are to be looked at again
        self._passed = 0  #: the newest that was ever taken out of `_accepted`
        self._busy = False  #: what was taken is being looked at

    def __bool__(self) -> bool:
        return bool(self._accepted or self._ended or self._again or self._busy)

    def accepted(self, seq: int) -> None:
        """There is a new call."""
        if len(self._accepted) >= MOST:
            self._accepted.clear()
            self.overflown = True
        self.newest = max(self.newest, seq)
        self._accepted[seq] = self._loop.time() + OPEN_S
        self.wake.set()

    def ended(self, seq: int) -> None:
        """A call is final, or will be as soon as that is durable."""
        if len(self._ended) >= MOST:
            self._ended.clear()
            self.overflown = True
        self._ended.append(seq)
        self.wake.set()

    def take(self, now: float, most: int, *, undue: bool) -> tuple[list[int], list[int]]:
        """The next calls to look at, at most *most*: those that ended, and others.

        *undue*: also those that were accepted just now and may still end soon.
        """
        most_ended = most - most // OPEN_SHARE
        ended = [self._ended.popleft() for _ in range(min(most_ended, len(self._ended)))]
        while self._again and len(ended) < most_ended and self._again[0][0] <= now:
            ended.append(self._again.popleft()[1])
        for seq in ended:
            if self._accepted.pop(seq, None) is not None:
                self._passed = max(self._passed, seq)
        due_by = math.inf if undue else now
        accepted: list[int] = []
        while self._accepted and len(ended) + len(accepted) < most and self._first_due() <= due_by:
            seq, _ = self._accepted.popitem(last=False)
            accepted.append(seq)
            self._passed = max(self._passed, seq)
        self._busy = bool(ended or accepted)
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
        self._busy = False
        if self.overflown:  # what was dropped may be older: the file is looked through from there
            return
        self.looked_at = max(self.looked_at, self._passed)
        if self._accepted:
            self.looked_at = min(self.looked_at, next(iter(self._accepted)) - 1)
        if not self._again:
            self._tries.clear()
        elif self._tries:  # taken in vain
            self.looked_at = min(self.looked_at, min(self._tries) - 1)

    def given_up(self) -> None:
        """What was taken was not looked at, or not all of it: the file has to be looked through."""
        self._busy = False
        self.overflown = True

    def due_in(self, now: float) -> float:
        """Seconds until there is something to take."""
        if self._ended:
            return 0.0
        first = min(self._first_due(), self._again[0][0] if self._again else math.inf)
        return IDLE_S if first == math.inf else max(0.0, first - now)

    def _first_due(self) -> float:
        """When the first of the open calls is to be looked at."""
        return next(iter(self._accepted.values()), math.inf)
