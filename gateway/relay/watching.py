"""What changes while somebody watches: noted when it happens, handed over when it is taken.

Invariants: while nobody watches, a change costs its teller one look at `active`, and nothing is
kept. A final status is noted only when it is durable. What is kept is bounded: up to `EACH` changes
one by one, beyond that only where each call stands, and beyond `MOST` calls that something was lost.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from gateway.call import Call, Status, WaitReason
from gateway.journal.shapes import Json
from gateway.journal.snapshots import live_json
from gateway.relay.admission import Admission, Place
from gateway.relay.live_call import LiveCall

EACH = 100
MOST = 1_000
LINGER_S = 10.0  # how long changes are noted for viewers who lost their connection
LONGEST_QUEUE = 1_000  # beyond it the places in it are not told: finding them takes over a ms


@dataclass(slots=True)
class CallChanged:
    """A call as a list shows it: as it stood then or, where that was None, when it was taken."""

    live: LiveCall
    ended: bool  #: and that is durable
    call: Json | None

    @property
    def client(self) -> str:
        """Whose it is."""
        return self.live.call.client


@dataclass(frozen=True, slots=True)
class CallDeleted:
    """There is no such call any more."""

    id: str
    client: str  #: whose it was


@dataclass(frozen=True, slots=True)
class UpstreamChanged:
    """An upstream was paused, let go on, or given another limit."""

    name: str


Change: TypeAlias = CallChanged | CallDeleted | UpstreamChanged


def _whole(_: Call) -> bool:
    return False


class Watch:
    """Told by the relay and by admission of every change; asked by whoever shows them.

    *is_cut* tells of a call that ended whether its answer could not be recorded whole.
    """

    def __init__(self, admission: Admission, *, is_cut: Callable[[Call], bool] = _whole) -> None:
        self.active = False
        self.finished = 0  #: calls that became final since somebody watches …
        self.failed = 0  #: … those of them that failed or expired
        self._admission = admission
        self._is_cut = is_cut
        self._monotonic = asyncio.get_running_loop().time
        self._until: float | None = None
        self._changes: list[tuple[object, Change]] = []  # one by one, of a call or an upstream …
        self._latest: dict[object, Change] | None = None  # … or, once there are many, the last
        self._lost = False

    def begin(self) -> bool:
        """Note changes from now on; True: nothing was missed since the last `take`."""
        went_on = self.active and not self._is_over()
        if not went_on:
            self._end()
        self.active, self._until = True, None
        return went_on

    def linger(self) -> None:
        """Nobody watches: go on for `LINGER_S`. No timer ends that, but the next change after it."""
        self._until = self._monotonic() + LINGER_S

    def call(self, live: LiveCall, *, recorded: bool = False) -> None:
        """*live* changed; *recorded*: where it stands now is durable. To be asked while `active`."""
        if self._until is not None and self._is_over():
            self._end()
            return
        call = live.call
        if call.finished_at is not None:
            if not recorded:
                return  # its end will be told
            self.finished += 1
            self.failed += call.status in (Status.FAILED, Status.EXPIRED)
        latest = self._latest
        if latest is None:
            self._note(call.seq, CallChanged(live, recorded, self._shown(live)))
        elif recorded or call.seq not in latest:
            self._note(call.seq, CallChanged(live, recorded, None))

    def deleted(self, call_id: str, client: str) -> None:
        """The call of that id is gone."""
        if self.active:
            self._note(call_id, CallDeleted(call_id, client))

    def upstream(self, name: str) -> None:
        """What may be at *name* changed."""
        if self.active:
            self._note(name, UpstreamChanged(name))

    def take(self) -> list[Change] | None:
        """The changes since the last time, in order; None: they were too many to keep.

        Calls are whole by now, with their places in the queues.
        """
        kept = [change for _, change in self._changes]
        if self._latest is not None:
            kept = [change for change in self._latest.values() if not _waits_for_record(change)]
        lost = self._lost
        self._forget()
        if lost:
            return None
        calls = [change for change in kept if isinstance(change, CallChanged)]
        for change in calls:
            if change.call is None:
                change.call = self._shown(change.live)
        self._add_places(calls)
        return kept

    def _note(self, key: object, change: Change) -> None:
        if self._lost:
            return
        if self._latest is None:
            self._changes.append((key, change))
            if len(self._changes) <= EACH:
                return
            self._latest = {}
            for known, earlier in self._changes:
                self._latest.pop(known, None)
                if isinstance(earlier, CallChanged):
                    earlier.call = None
                self._latest[known] = earlier
            self._changes = []
            return
        self._latest.pop(key, None)  # what changed last comes last
        self._latest[key] = change
        if len(self._latest) > MOST:
            self._forget()
            self._lost = True

    def _shown(self, live: LiveCall) -> Json:
        call = live.call
        if call.finished_at is not None:
            return live_json(call, cut=self._is_cut(call))
        return live_json(live.as_it_stands())

    def _add_places(self, changes: Iterable[CallChanged]) -> None:
        """Say of the calls that still wait where they stand in their queues."""
        waiting = [change for change in changes if change.live.place.waits]
        if not waiting:
            return
        places: dict[Place, int] = {}
        upstreams = self._admission.statistics().upstreams
        for name in {change.live.call.upstream for change in waiting}:
            if upstreams[name].queued <= LONGEST_QUEUE:
                places |= self._admission.positions(name)
        for change in waiting:
            place, call = change.live.place, change.call
            assert call is not None
            if call["status"] != Status.QUEUED or call["wait_reason"] == WaitReason.BACKOFF:
                continue  # as it stood then, it did not wait for a slot
            if (position := places.get(place)) is not None:
                call["queue_position"] = position
                call["eta_s"] = self._admission.eta_s(place, position)

    def _is_over(self) -> bool:
        return self._until is not None and self._monotonic() > self._until

    def _forget(self) -> None:
        self._changes, self._latest, self._lost = [], None, False

    def _end(self) -> None:
        self.active, self._until = False, None
        self._forget()
        self.finished = self.failed = 0


def _waits_for_record(change: Change) -> bool:
    """Its end is not durable yet, and will be told then."""
    return (
        isinstance(change, CallChanged)
        and not change.ended
        and change.live.call.finished_at is not None
    )
