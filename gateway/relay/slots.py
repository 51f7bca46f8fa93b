"""One upstream's slots: how many attempts are in flight there, and who waits for one.

Only counts; `admission` adds the limits that all upstreams share and owns the invariant. How many
may be in flight now is what the config or a person says, or less: what the adaptive limit has
found, and of that what the breaker lets through.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from gateway import config
from gateway.relay.breaker import Breaker, BreakerState, BreakerStatistics, Window
from gateway.relay.fair_queue import FairQueue
from gateway.relay.pace import AdaptiveLimit, Sign

T = TypeVar("T", bound=Hashable)

RETRIES_ALWAYS = 3  # retries in flight that any upstream may have, however few its open calls
RECENT = 0.1  # weight of the newest hold: the last ten make up two thirds of the mean
RECENT_S = 60.0  # the time whose attempts and failures are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsStatistics:
    """One upstream's slots at one moment."""

    in_flight: int
    retries_in_flight: int
    max_in_flight: int
    queued: int  #: everybody who waits for a slot
    queued_detached: int  #: those of them whose call nobody waits for
    open_calls: int  #: calls not yet final
    paused: bool
    limit: int  #: how many may be in flight now
    breaker: BreakerStatistics | None  #: None: it has none
    recent_attempts: int  #: that ended in the last `RECENT_S` and say something about it
    recent_failed: int

    @property
    def breaker_open(self) -> bool:
        """Whether nothing is sent there for a while."""
        return self.breaker is not None and self.breaker.state is BreakerState.OPEN


class Slots(Generic[T]):
    """One upstream's limits and counts, and its queue of *T*."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.max_in_flight = 0
        self.limit = 0  #: of these, as many as `adjust` found
        self.budget = 0.0  #: share of the open calls that may be retries in flight
        self.paused = False
        self.removed = False  #: no longer in the config
        self.began: dict[T, float] = {}  #: who holds a slot → since when, the oldest first
        self.retries_in_flight = 0
        self.open_calls = 0
        self.queued_detached = 0
        self.aside = 0  #: who waits for a limit of their key's, not in the queue
        self.hold_s: float | None = None  #: recent mean time from grant to release
        self.queue: FairQueue[T] = FairQueue()
        self.breaker = Breaker()
        self.adaptive = AdaptiveLimit()
        self.recent = Window()
        self._learns = False

    def configure(self, upstream: config.Upstream, now: float) -> None:
        """Take over what the config says."""
        self.budget = upstream.retry.budget
        self.breaker.configure(upstream.breaker, now)
        self.adaptive.configure(enabled=upstream.adaptive)
        self._learns = upstream.breaker.enabled or upstream.adaptive
        self.bound(upstream.max_in_flight, now)

    def bound(self, max_in_flight: int, now: float) -> None:
        """Let so many be in flight at most."""
        self.max_in_flight = max_in_flight
        self.adjust(now)

    def adjust(self, now: float) -> None:
        """Find out how many may be in flight now."""
        cap = self.adaptive.limit(self.max_in_flight)
        self.limit = self.breaker.limit(cap, self.in_flight, now)

    @property
    def in_flight(self) -> int:
        """How many slots are taken."""
        return len(self.began)

    def has_slot(self, *, retry: bool) -> bool:
        """Whether an attempt may start here now."""
        is_free = not self.paused and self.in_flight < self.limit
        return is_free and (not retry or self.has_retry_budget)

    @property
    def has_retry_budget(self) -> bool:
        """Whether one more retry may be in flight."""
        return self.retries_in_flight + 1 <= max(RETRIES_ALWAYS, self.budget * self.open_calls)

    @property
    def is_drained(self) -> bool:
        """Nobody needs these slots any more."""
        return self.removed and not (
            self.in_flight or self.open_calls or len(self.queue) or self.aside
        )

    def take(self, item: T, now: float, *, retry: bool) -> None:
        """The attempt of *item* starts."""
        self.began[item] = now
        self.retries_in_flight += retry
        if self._learns:
            self.breaker.started()
            self.adjust(now)

    def give_back(self, item: T, now: float, *, retry: bool, sign: Sign | None) -> None:
        """It has ended, and *sign* is what that says about the upstream; None: nothing."""
        began = self.began.pop(item)
        held_s = now - began
        self.retries_in_flight -= retry
        if sign is not None:
            self.recent.add(now, failed=sign.failed, span_s=RECENT_S)
        if self._learns:
            self._learn(sign, began, now)
        mean_s = held_s if self.hold_s is None else self.hold_s
        self.hold_s = mean_s + RECENT * (held_s - mean_s)

    def _learn(self, sign: Sign | None, began: float, now: float) -> None:
        self.breaker.ended(sign and sign.failed, began=began, now=now)
        if sign is not None:
            self.adaptive.ended(
                sign, began=began, now=now, in_flight=self.in_flight + 1, cap=self.max_in_flight
            )
        self.adjust(now)

    def ends_in_s(self, item: T, now: float) -> float | None:
        """In how many seconds the attempt of *item* should end; None: it takes longer than most."""
        if self.hold_s is None or (left_s := self.began[item] + self.hold_s - now) < 0:
            return None
        return left_s

    def ends_in_turn_s(self, position: int, limit: int, now: float) -> float | None:
        """The same for who waits at *position*, while *limit* attempts may be in flight.

        Whoever is in flight ends after the recent mean time, in the order in which they began.
        """
        if self.hold_s is None:
            return None
        turns, before = divmod(position - 1, limit)
        before += max(0, len(self.began) - limit)  # nobody follows those above the limit
        began = next(islice(self.began.values(), before, None), now - self.hold_s)
        return max(0.0, began + self.hold_s - now) + (turns + 1) * self.hold_s

    def pop(self) -> T | None:
        """Take the next who may go now out of the queue."""
        if not self.has_slot(retry=False):
            return None
        return self.queue.pop(gate_open=self.has_retry_budget)

    def statistics(self, now: float) -> SlotsStatistics:
        """All counts as they stand now."""
        self.recent.forget(now - RECENT_S)
        return SlotsStatistics(
            in_flight=self.in_flight,
            retries_in_flight=self.retries_in_flight,
            max_in_flight=self.max_in_flight,
            queued=len(self.queue) + self.aside,
            queued_detached=self.queued_detached,
            open_calls=self.open_calls,
            paused=self.paused,
            limit=self.limit,
            breaker=self.breaker.statistics(now),
            recent_attempts=self.recent.attempts,
            recent_failed=self.recent.failed,
        )
