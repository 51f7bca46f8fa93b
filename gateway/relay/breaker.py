"""One upstream's circuit breaker: attempts go there, or none, or a few to try it, or ever more.

    closed ──too many fail──▶ open ──pause──▶ half open ──all probes well──▶ recovering ──▶ closed
                               ▲                  │                              │
                               └──────────────────┴──fails again: longer pause───┘

Pure: the time (monotonic, in seconds) and what came of each attempt are arguments; whoever owns the
breaker asks it for its limit after each step, and calls `advance` at `changes_at`. A step is O(1).

An attempt counts from its start, as one that has not failed: quick failures among slow answers look
no worse than they are. What started before the breaker last changed says nothing about now.

Invariants: nothing starts while it is open; while it is half open, as many attempts as there are
probes; while it recovers, no more are in flight than the ramp has reached (the probes at least).
`test_breaker.py` drives it with random outcomes.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from gateway import config

PIECES = 12  # of a window: it forgets in steps of a twelfth
WINDOW_OF_SLOWEST = 6.0  # a window so long that what is still in flight hides no failure
SLOWER = 1.1  # with FASTER: 99 attempts that are not slower undo one that is, so p99 is tracked
FASTER = SLOWER ** (-1 / 99)
RAMP_STEPS = 100
SHORTEST_STEP_S = 0.05


class BreakerState(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatistics:
    """A breaker at one moment."""

    state: BreakerState
    opens_total: int  #: since the start
    retry_in_s: float | None  #: until it tries the upstream again; None: it is not open


@dataclass(slots=True)
class _Piece:
    began: float
    attempts: int = 0
    failed: int = 0


class Window:
    """How many attempts ended lately, and how many of them failed."""

    def __init__(self) -> None:
        self.attempts = 0
        self.failed = 0
        self._pieces: deque[_Piece] = deque()

    def add(self, now: float, *, failed: bool, span_s: float) -> None:
        """Count one, and forget those of more than *span_s* ago."""
        piece = self._pieces[-1] if self._pieces else None
        if piece is None or now >= piece.began + span_s / PIECES:
            self.forget(now - span_s)
            piece = _Piece(now)
            self._pieces.append(piece)
        piece.attempts += 1
        piece.failed += failed
        self.attempts += 1
        self.failed += failed

    def forget(self, until: float) -> None:
        """Forget what was counted up to then."""
        while self._pieces and self._pieces[0].began <= until:
            piece = self._pieces.popleft()
            self.attempts -= piece.attempts
            self.failed -= piece.failed


class Breaker:
    """One upstream's breaker; one that is not enabled is closed and counts nothing."""

    def __init__(self) -> None:
        self.settings = config.Breaker()
        self.state = BreakerState.CLOSED
        self.changes_at = math.inf  #: when it has to be told that the time has come
        self.opens_total = 0
        self._since = -math.inf  # what started before that is not judged
        self._window = Window()  # of attempts that started since then …
        self._running = 0  # … and those of them that have not ended
        self._answered = 0  # probes that went well
        self._slow_s = 0.0  # all but one attempt in a hundred take less, roughly
        self._pause_s = 0.0  # the last one; 0: it has been closed since

    def configure(self, settings: config.Breaker, now: float) -> None:
        """Take over *settings*; turned off, it closes."""
        if settings.enabled != self.settings.enabled:
            self._pause_s = 0.0
            self._become(BreakerState.CLOSED, now)
        self.settings = settings
        if self.state is BreakerState.HALF_OPEN and self._answered >= settings.probes:
            self._recover(now)  # fewer are wanted now, and no further one would start to say so

    def close(self, now: float) -> None:
        """Let everything through, whatever it has seen."""
        if self.state is not BreakerState.CLOSED:
            self._pause_s = 0.0
            self._become(BreakerState.CLOSED, now)

    def limit(self, cap: int, in_flight: int, now: float) -> int:
        """How many attempts may be in flight where *cap* could be without it, and *in_flight* are."""
        match self.state:
            case BreakerState.CLOSED:
                return cap
            case BreakerState.OPEN:
                return 0
            case BreakerState.HALF_OPEN:
                started = self._running + self._answered
                return min(cap, in_flight + max(0, self.settings.probes - started))
            case BreakerState.RECOVERING:
                reached = int(cap * (now - self._since) / self.settings.ramp_s)
                return min(cap, max(self.settings.probes, reached))

    def started(self) -> None:
        """An attempt started."""
        self._running += 1

    def ended(self, failed: bool | None, *, began: float, now: float) -> None:
        """An attempt that *began* then has ended; None: that says nothing about the upstream."""
        if began < self._since or self.state is BreakerState.OPEN or not self.settings.enabled:
            return
        self._running -= 1
        if failed is None:
            return  # a probe that proved nothing leaves room for another
        if self.state is not BreakerState.HALF_OPEN:
            self._count(failed, now - began, now)
        elif failed:
            self._open(now)
        else:
            self._answered += 1
            if self._answered >= self.settings.probes:
                self._recover(now)

    def advance(self, now: float) -> None:
        """Do what was due by now."""
        if now < self.changes_at:
            return
        if self.state is BreakerState.OPEN:
            self._become(BreakerState.HALF_OPEN, now)
        elif now < self._since + self.settings.ramp_s:
            self._climb(now)
        else:
            self.state, self.changes_at, self._pause_s = BreakerState.CLOSED, math.inf, 0.0

    def statistics(self, now: float) -> BreakerStatistics | None:
        """Where it stands; None where it is not enabled."""
        if not self.settings.enabled:
            return None
        is_open = self.state is BreakerState.OPEN
        return BreakerStatistics(
            state=self.state,
            opens_total=self.opens_total,
            retry_in_s=max(0.0, self.changes_at - now) if is_open else None,
        )

    def _count(self, failed: bool, took_s: float, now: float) -> None:
        settings, window = self.settings, self._window
        shortest_s = settings.window_s / WINDOW_OF_SLOWEST
        self._slow_s = max(shortest_s, self._slow_s * (SLOWER if took_s > self._slow_s else FASTER))
        window.add(now, failed=failed, span_s=WINDOW_OF_SLOWEST * self._slow_s)
        attempts = window.attempts + self._running
        if not failed or attempts < settings.min_attempts:
            return
        if window.failed >= settings.failure_share * attempts:
            self._open(now)

    def _open(self, now: float) -> None:
        settings = self.settings
        self._pause_s = min(settings.pause_max_s, max(settings.pause_s, 2 * self._pause_s))
        self.opens_total += 1
        self._become(BreakerState.OPEN, now)
        self.changes_at = now + self._pause_s

    def _recover(self, now: float) -> None:
        self._become(BreakerState.RECOVERING, now)
        self._climb(now)

    def _climb(self, now: float) -> None:
        step_s = max(self.settings.ramp_s / RAMP_STEPS, SHORTEST_STEP_S)
        self.changes_at = min(now + step_s, self._since + self.settings.ramp_s)

    def _become(self, state: BreakerState, now: float) -> None:
        self.state, self._since, self.changes_at = state, now, math.inf
        self._window = Window()
        self._running = self._answered = 0
