"""What an attempt says about its upstream, and how many at once that upstream seems to take.

Two things may be wrong: it is *sick* (it fails), which concerns the breaker, or it is asked *too
much*, which concerns the adaptive limit; overload looks like both. Whatever its client or the
call's own deadline ended says nothing. Pure.
"""

import math
from enum import Enum

from gateway.call import Attempt, Outcome

KEPT = 0.9  # of the limit, at least, whatever comes of the attempts that were under way together
_ABOUT_THE_REQUEST = frozenset({501, 505})
_OVERLOADED = frozenset({503, 529})


class Sign(Enum):
    """What one attempt says about its upstream."""

    WELL = (False, False)
    BUSY = (False, True)  # 429: too fast, and otherwise well
    SICK = (True, False)
    OVERLOADED = (True, True)

    def __init__(self, failed: bool, too_much: bool) -> None:
        self.failed = failed
        self.too_much = too_much


def sign_of(attempt: Attempt) -> Sign | None:
    """What the finished *attempt* says; None: nothing."""
    match attempt.outcome:
        case Outcome.ANSWERED:
            return _sign_of_status(attempt.status or 0)
        case Outcome.TIMED_OUT:
            late = attempt.failure is not None and attempt.failure.code == "deadline_exceeded"
            return None if late else Sign.OVERLOADED
        case Outcome.UNREACHABLE | Outcome.BROKEN:
            return Sign.SICK
        case Outcome.CANCELLED | Outcome.INTERRUPTED | None:
            return None


def _sign_of_status(status: int) -> Sign:
    if status < 500:
        return Sign.BUSY if status == 429 else Sign.WELL
    if status in _OVERLOADED:
        return Sign.OVERLOADED
    return Sign.WELL if status in _ABOUT_THE_REQUEST else Sign.SICK


class AdaptiveLimit:
    """A limit that gives way where the upstream refuses, and grows back (AIMD).

    Every refusal costs one, and those that were under way together at most a tenth of the limit:
    it closes in on what the upstream takes in a few rounds, and then swings by one. It grows by one
    per as many successes as it allows in flight, while at least half of them are.

    Invariant: 1 ≤ limit ≤ cap, whatever the cap is just then.
    """

    def __init__(self) -> None:
        self.enabled = False
        self._limit = math.inf
        self._well = 0  # successes since it last changed
        self._round = -math.inf  # what began up to then was refused under the limit of then …
        self._floor = 0  # … and lowers it no further

    def configure(self, *, enabled: bool) -> None:
        """Turn it on, or off: then it is forgotten."""
        self.enabled = enabled
        if not enabled:
            self._limit, self._round, self._well = math.inf, -math.inf, 0

    def limit(self, cap: int) -> int:
        """How many may be in flight where *cap* is configured."""
        return cap if self._limit >= cap else int(self._limit)

    def ended(self, sign: Sign, *, began: float, now: float, in_flight: int, cap: int) -> None:
        """An attempt that *began* then has ended, one of *in_flight*."""
        if not self.enabled:
            return
        limit = self.limit(cap)
        if sign.too_much:
            if began > self._round:
                self._round, self._floor = now, min(limit - 1, int(KEPT * limit))
            self._limit, self._well = max(1, self._floor, limit - 1), 0
        elif sign is Sign.WELL and limit < cap and 2 * in_flight >= limit:
            self._well += 1
            if self._well >= limit:
                self._limit, self._well = limit + 1, 0
