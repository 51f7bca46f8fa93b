"""Admission: which attempts may go upstream now, which wait, which calls are turned away.

A `Place` is the right of one attempt to a slot, from the queue to the release. Everything is
decided in steps without an `await`, so counts hold whenever somebody looks.

Invariant: no attempt starts above its upstream's limit (as `slots` finds it just then), the limit
of all, or the retry budget; a place is waiting, granted or given up, and given up exactly once;
nobody who may go waits while there is a slot for it. `test_admission.py` drives it with random
arrivals, departures, limits, pauses and reloads against a plain model.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from gateway.call import WaitReason
from gateway.config import Limits, Upstream
from gateway.errors import KeyLimit, QueueFull
from gateway.relay.breaker import BreakerState
from gateway.relay.fair_queue import RISE_S, Entry
from gateway.relay.key_slots import UNBOUND, KeySlots
from gateway.relay.pace import Sign
from gateway.relay.slots import Slots, SlotsStatistics

UNMEASURED_HOLD_S = 10.0  # how long a slot is taken for held before any was given back
LONGEST_RETRY_AFTER_S = 60.0  # the longest hint that all official SDKs obey alike
GOLDEN = 0.618033988749895  # its multiples, modulo 1, spread evenly however many there are
STOOD_STILL_S = 5.0  # after so long without a sign of life the process did not run


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionStatistics:
    """All slots at one moment; an upstream that left the config is listed until it is drained."""

    upstreams: Mapping[str, SlotsStatistics]
    in_flight: int
    max_in_flight: int
    queued: int
    queued_detached: int
    queued_bytes: int  #: of the bodies that waiting calls hold in RAM
    open_calls: int

    @property
    def slots(self) -> int:
        """How many attempts can be in flight: the upstreams' limits together may be the lower bound."""
        together = sum(each.max_in_flight for each in self.upstreams.values())
        return min(self.max_in_flight, together)


class Place:
    """One attempt's right to a slot: waiting, then granted, then given up.

    A context manager that gives up whatever it holds, so cancelling its owner is safe at any time.
    """

    __slots__ = (
        "_admission",
        "_aside",
        "_entry",
        "_flow",
        "_key",
        "_rank",
        "_slots",
        "body_bytes",
        "detached",
        "granted",
        "owner",
        "recovered",
        "retry",
        "sign",
    )

    def __init__(
        self,
        admission: "Admission",
        slots: "Slots[Place]",
        key: "KeySlots[Place] | None",
        *,
        flow: tuple[str, str],
        rank: float,
        body_bytes: int,
        detached: bool,
        retry: bool,
        recovered: bool,
    ) -> None:
        self._admission = admission
        self._slots = slots
        self._key = key
        self._flow = flow
        self._rank = rank
        self._entry: Entry[Place] | None = None  # while it waits
        self._aside = False  # it waits for its key's limit, not in the upstream's queue
        self.body_bytes = body_bytes
        self.detached = detached
        self.retry = retry
        self.recovered = recovered
        self.granted = False  #: it holds a slot now
        self.owner: object = None  #: whom `Admission.on_grant` tells, while it waits
        self.sign: Sign | None = None  #: what its attempt, once over, says about the upstream

    @property
    def reason(self) -> WaitReason:
        """What it waits for as things stand."""
        if self._slots.paused or self._slots.breaker.state is BreakerState.OPEN:
            return WaitReason.PAUSED
        if self.retry and not self._slots.has_retry_budget:
            return WaitReason.BACKOFF
        return WaitReason.SLOT

    @property
    def is_waited_for(self) -> bool:
        """Whether it counts among those of its key whose client waits."""
        return not (self.detached or self.recovered)

    @property
    def waits(self) -> bool:
        """Whether it stands in the queue."""
        return self._entry is not None

    def detach(self, *, body_bytes: int = 0) -> None:
        """Nobody waits for the call any more; it still holds *body_bytes* of its body in RAM."""
        self._admission._detach(self, body_bytes)

    def release(self) -> None:
        """Give up the slot or the place in the queue; nothing where that has been done."""
        self._admission._release(self)

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _never(_: float, __: Callable[[float], None], ___: float) -> None:
    """No timer: where time passes in a test only."""


class Admission:
    """The slots of all upstreams. *now* is monotonic, in seconds (`loop.time`).

    *call_at* calls a function with an argument at a time of that clock (`loop.call_at`): a breaker
    changes by itself too.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        call_at: Callable[[float, Callable[[float], None], float], object] = _never,
    ) -> None:
        self._now = now
        self._call_at = call_at
        self._due = math.inf  # when the one timer that counts will look
        self._seen_alive = math.inf  # inf: nobody gives signs of life
        self._stood_still_until = -math.inf
        self._upstreams: dict[str, Slots[Place]] = {}
        self._turns: deque[Slots[Place]] = deque()  # upstreams, the next to be served first
        self._max_in_flight = 0
        self._in_flight = 0
        self._waiting = 0
        self._bounds = (0, 0)  # waited for, detached
        self._bounded = [0, 0]  # waiting places that count towards these bounds
        self._max_queued_bytes = 0
        self._queued_bytes = 0
        self._refusals = 0
        self._keys: dict[str, KeySlots[Place]] = {}
        #: told of the owner of each place that waited and has its slot now
        self.on_grant: Callable[[Any], None] = lambda _: None
        #: told of each upstream whose limit or pause may have changed
        self.on_change: Callable[[str], None] = lambda _: None
        #: told of each upstream whose breaker changed, and what that is now
        self.on_breaker: Callable[[str, BreakerState], None] = lambda _, __: None

    def configure(self, limits: Limits, upstreams: Mapping[str, Upstream]) -> None:
        """Take over a config, at start or on reload; what `set_max_in_flight` set is undone.

        An upstream that left the config keeps its limit for the calls accepted before.
        """
        self._max_in_flight = limits.max_in_flight
        self._bounds = (limits.max_queued, limits.max_queued_detached)
        self._max_queued_bytes = limits.max_queued_bytes
        for name, upstream in upstreams.items():
            slots = self._upstreams.setdefault(name, Slots(name))
            before = slots.breaker.state
            slots.configure(upstream, self._now())
            self.on_change(name)
            self._mind_breaker(slots, before)
        for name, slots in self._upstreams.items():
            slots.removed = name not in upstreams
        self._forget_drained()
        self._serve()

    def set_max_in_flight(self, upstream: str, n: int) -> None:
        """Change one upstream's limit until the next `configure`."""
        self._upstreams[upstream].bound(n, self._now())
        self.on_change(upstream)
        self._serve()

    def limit_key(self, key_id: str, n: int | None, max_queued: int | None = None) -> None:
        """Let that key have at most *n* attempts in flight, and *max_queued* waiting.

        None: as many as there is room for.
        """
        key = self._keys.setdefault(key_id, KeySlots())
        key.limit = UNBOUND if n is None else n
        key.max_queued = UNBOUND if max_queued is None else max_queued
        self._refill(key)
        self._serve()

    def pause(self, upstream: str, paused: bool) -> None:
        """Start no new attempt at *upstream*, or go on, whatever its breaker has seen."""
        slots = self._upstreams[upstream]
        slots.paused = paused
        self.on_change(upstream)
        if not paused:
            before, now = slots.breaker.state, self._now()
            slots.breaker.close(now)
            slots.adjust(now)
            self._mind_breaker(slots, before)
        self._serve()

    def give_sign_of_life(self) -> None:
        """Tell, every second or so, that the process runs.

        Attempts under way while it did not, for `STOOD_STILL_S` or more, say nothing about their
        upstream however they end.
        """
        now = self._now()
        self._notice_standstill(now)
        self._seen_alive = now

    def opened(self, upstream: str) -> None:
        """A call of *upstream* was accepted: the retry budget is a share of these."""
        self._upstreams[upstream].open_calls += 1
        self._serve()

    def closed(self, upstream: str) -> None:
        """A call of *upstream* is final."""
        slots = self._upstreams[upstream]
        slots.open_calls -= 1
        if slots.removed:
            self._forget_drained()

    def enter(
        self,
        upstream: str,
        *,
        flow: tuple[str, str],
        priority: int,
        since: float,
        body_bytes: int = 0,
        detached: bool = False,
        retry: bool = False,
        recovered: bool = False,
        key_id: str | None = None,
    ) -> Place:
        """Get a slot at once where nobody waits for it, else a place in the queue.

        *since* is when the call's waiting began, on the same clock for all. *recovered* is the
        first attempt of a call taken up from the journal: like a *retry* it is never refused,
        and it does not count towards the bounds either.

        Raises: QueueFull; KeyLimit; KeyError, for an upstream that is not configured (a retry may still
                go to one that was removed while its call was open)
        """
        slots = self._upstreams[upstream]
        if slots.removed and not retry:
            raise KeyError(upstream)
        key = None if key_id is None else self._keys.setdefault(key_id, KeySlots())
        place = Place(
            self, slots, key, flow=flow, rank=since + RISE_S * priority,
            body_bytes=body_bytes, detached=detached, retry=retry, recovered=recovered,
        )  # fmt: skip
        if key is not None and not (retry or recovered or detached):
            _refuse_at_limit(key, slots)
        # Whoever could have taken a free slot has it already, so nobody is overtaken here.
        is_free = self._in_flight < self._max_in_flight and slots.has_slot(retry=retry)
        if is_free and not (key is not None and key.is_full):
            self._grant(place)
        else:
            if not (retry or recovered):
                self._refuse_when_full(place)
            self._queue(place)
            self._count(place, 1)
        if key is not None and place.is_waited_for:
            key.waited_for += 1
        return place

    def _queue(self, place: Place) -> None:
        """Let *place* stand in its upstream's queue, or aside where its key has enough there."""
        key, slots = place._key, place._slots
        if key is not None and not key.may_queue(slots):
            place._entry = key.put_aside(
                place, slots, flow=place._flow, rank=place._rank, gated=place.retry
            )
            place._aside = True
            slots.aside += 1
            return
        place._entry = slots.queue.push(
            place, flow=place._flow, priority=0, since=place._rank, gated=place.retry
        )
        if key is not None:
            key.queue(slots, 1)

    def _refill(self, key: KeySlots[Place]) -> None:
        """Whoever was aside and may stand in a queue now does."""
        for place in key.next_to_queue():
            place._aside = False
            place._slots.aside -= 1
            self._queue(place)

    def position(self, place: Place) -> int:
        """Its position in its upstream's queue, 1 is next; 0 when it does not wait. O(flows)."""
        if place._entry is None:
            return 0
        slots = place._slots
        if place._aside and place._key is not None:
            return 1 + place._key.position(slots, place._entry)
        return 1 + slots.queue.position(place._entry, gate_open=slots.has_retry_budget)

    def positions(self, upstream: str) -> dict[Place, int]:
        """The `position` of every place that waits for *upstream*, in one pass."""
        slots = self._upstreams[upstream]
        served = slots.queue.positions(gate_open=slots.has_retry_budget)
        return {place: 1 + before for place, before in served.items()}

    def eta_s(self, place: Place, position: int | None = None) -> float | None:
        """In how many seconds the attempt of *place* should be over; None while nobody can tell.

        *position* is its `position` where that is known already.
        """
        slots = place._slots
        if place.granted:
            return slots.ends_in_s(place, self._now())
        limit = min(slots.limit, self._max_in_flight)
        if place._key is not None:
            limit = min(limit, place._key.limit)
        is_steady = not slots.paused and slots.breaker.state is BreakerState.CLOSED
        if not place.waits or limit < 1 or not is_steady:
            return None
        return slots.ends_in_turn_s(position or self.position(place), limit, self._now())

    def statistics(self) -> AdmissionStatistics:
        """All counts as they stand now."""
        now = self._now()
        upstreams = {name: slots.statistics(now) for name, slots in self._upstreams.items()}
        return AdmissionStatistics(
            upstreams=upstreams,
            in_flight=self._in_flight,
            max_in_flight=self._max_in_flight,
            queued=self._waiting,
            queued_detached=sum(slots.queued_detached for slots in upstreams.values()),
            queued_bytes=self._queued_bytes,
            open_calls=sum(slots.open_calls for slots in upstreams.values()),
        )

    def _serve(self) -> None:
        """Grant free slots to those who wait, one upstream after the other."""
        fruitless = 0
        while (
            self._waiting and self._in_flight < self._max_in_flight and fruitless < len(self._turns)
        ):
            place = self._turns[0].pop()
            self._turns.rotate(-1)
            if place is None:
                fruitless += 1
                continue
            fruitless = 0
            if (key := place._key) is not None:
                key.queue(place._slots, -1)
                if key.is_full:  # by what it has in flight at other upstreams
                    self._queue(place)
                    continue
            place._entry = None
            self._count(place, -1)
            self._grant(place)

    def _grant(self, place: Place) -> None:
        self._in_flight += 1
        if place._key is not None:
            place._key.in_flight += 1
        place._slots.take(place, self._now(), retry=place.retry)
        place.granted = True
        owner, place.owner = place.owner, None
        if owner is not None:
            self.on_grant(owner)

    def _release(self, place: Place) -> None:
        slots, key = place._slots, place._key
        if not place.granted and place._entry is None:
            return
        if place.granted:
            place.granted = False
            self._in_flight -= 1
            before, now = slots.breaker.state, self._now()
            slots.give_back(place, now, retry=place.retry, sign=self._judged(place, now))
            self._mind_breaker(slots, before)
            if key is not None:
                key.in_flight -= 1
        elif place._entry is not None:
            self._take_out(place, place._entry)
            place._entry = None
            self._count(place, -1)
            place.owner = None
        if key is not None:
            key.waited_for -= place.is_waited_for
            self._refill(key)
        if slots.removed:
            self._forget_drained()
        self._serve()

    def _judged(self, place: Place, now: float) -> Sign | None:
        self._notice_standstill(now)
        excused = place._slots.began[place] <= self._stood_still_until
        return None if excused else place.sign

    def _notice_standstill(self, now: float) -> None:
        if now - self._seen_alive > STOOD_STILL_S:
            self._stood_still_until = self._seen_alive = now

    def _mind_breaker(self, slots: Slots[Place], before: BreakerState) -> None:
        """Tell of a breaker that changed from *before*, and look when it is to change by itself."""
        breaker = slots.breaker
        if breaker.state is not before:
            self.on_change(slots.name)
            self.on_breaker(slots.name, breaker.state)
        if breaker.changes_at < self._due:
            self._due = breaker.changes_at
            self._call_at(self._due, self._look, self._due)

    def _look(self, due: float) -> None:
        """Let every breaker go on whose time has come; *due* is when this was to happen."""
        if due != self._due:
            return  # an earlier look has seen to it
        self._due = math.inf
        now = max(due, self._now())  # a timer may be early by the clock's resolution
        for slots in self._upstreams.values():
            before = slots.breaker.state
            slots.breaker.advance(now)
            slots.adjust(now)
            self._mind_breaker(slots, before)
        self._serve()

    def _take_out(self, place: Place, entry: Entry[Place]) -> None:
        key, slots = place._key, place._slots
        if place._aside and key is not None:
            key.remove(slots, entry)
            place._aside = False
            slots.aside -= 1
            return
        slots.queue.remove(entry)
        if key is not None:
            key.queue(slots, -1)

    def _detach(self, place: Place, body_bytes: int) -> None:
        waits = place._entry is not None
        if place._key is not None and (waits or place.granted):
            place._key.waited_for -= place.is_waited_for
        if waits:
            self._count(place, -1)
        place.detached, place.body_bytes = True, body_bytes
        if waits:
            self._count(place, 1)

    def _count(self, place: Place, change: int) -> None:
        """*place* begins to wait (1) or has stopped waiting (-1)."""
        self._waiting += change
        place._slots.queued_detached += change * place.detached
        if not place.recovered:
            self._bounded[place.detached] += change
            self._queued_bytes += change * place.body_bytes
            if place._key is not None:
                place._key.waiting += change

    def _refuse_when_full(self, place: Place) -> None:
        key = place._key
        if key is not None and key.waiting >= key.max_queued:
            message = f"{key.waiting} calls of this key wait already, as many as may"
            raise KeyLimit(message, retry_after_s=self._drained_in_s())
        bound, waiting = self._bounds[place.detached], self._bounded[place.detached]
        if waiting >= bound:
            message = f"{waiting} calls wait already."
        elif self._queued_bytes + place.body_bytes > self._max_queued_bytes:
            message = f"The calls that wait hold {self._queued_bytes} bytes already."
        else:
            return
        raise QueueFull(message, retry_after_s=self._drained_in_s())

    def _drained_in_s(self) -> float:
        """1 to 60 s: when half to all of those who wait now should have had their turn.

        Successive answers are spread evenly over that half, so that the refused do not all
        come back at once.
        """
        self._refusals += 1
        spread = 0.5 + 0.5 * (self._refusals * GOLDEN % 1.0)
        ends_per_s = 0.0
        for slots in self._upstreams.values():
            hold_s = UNMEASURED_HOLD_S if slots.hold_s is None else max(slots.hold_s, 0.001)
            ends_per_s += slots.in_flight / hold_s
        drained_s = self._waiting / ends_per_s if ends_per_s else LONGEST_RETRY_AFTER_S
        return spread * min(max(2.0, drained_s), LONGEST_RETRY_AFTER_S)

    def _forget_drained(self) -> None:
        self._upstreams = {
            name: slots for name, slots in self._upstreams.items() if not slots.is_drained
        }
        self._turns = deque(self._upstreams.values())


def _refuse_at_limit(key: KeySlots[Place], slots: Slots[Place]) -> None:
    if key.waited_for >= key.limit:
        message = f"{key.waited_for} clients wait for calls of this key, as many as may"
        soon_s = 1.0 if slots.hold_s is None else slots.hold_s / key.limit
        raise KeyLimit(message, retry_after_s=min(max(1.0, soon_s), LONGEST_RETRY_AFTER_S))
