"""What changes while somebody watches: noted when it happens, put into shape when it is taken.

Invariants: while nobody watches, a change costs its teller one look at `active`, and nothing is
kept. A final status is noted only when it is durable. What is kept is bounded: up to `EACH` changes
one by one, beyond that only where each call stands, and beyond `MOST` calls that something was lost.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gateway.call import Call, Status, WaitReason
from gateway.journal import rows
from gateway.journal.records import CallRecord
from gateway.journal.rows import Row
from gateway.journal.shapes import Live
from gateway.journal.snapshots import record_of
from gateway.relay.admission import Admission, Place
from gateway.relay.live_call import LiveCall

EACH = 100
MOST = 1_000
LINGER_S = 10.0  # how long changes are noted for viewers who lost their connection
LONGEST_QUEUE = 1_000  # beyond it the places in it are not told: finding them takes over a ms
KEPT_ROWS = 1_000  # rows of calls as accepted, 0.6 µs instead of 7 for each further change


@dataclass(frozen=True, slots=True)
class CallChanged:
    """A call, as it stood then."""

    record: CallRecord
    live: Live


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


@dataclass(slots=True)
class _Noted:
    """A call that changed; without *state* it is shown as it stands when it is taken."""

    live: LiveCall
    state: Row | None


_Kept: TypeAlias = _Noted | CallDeleted | UpstreamChanged


class Watch:
    """Told by the relay and by admission of every change; asked by whoever shows them."""

    def __init__(self, admission: Admission, *, state: Callable[[Call], Row] = rows.state) -> None:
        self.active = False
        self.finished = 0  #: calls that became final since somebody watches …
        self.failed = 0  #: … those of them that failed or expired
        self._admission = admission
        self._state = state
        self._monotonic = asyncio.get_running_loop().time
        self._until: float | None = None
        self._changes: list[tuple[object, _Kept]] = []  # one by one, of a call or an upstream …
        self._latest: dict[object, _Kept] | None = None  # … or, once there are many, the last
        self._lost = False
        self._accepted: dict[int, Row] = {}

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
        if self._is_over():
            self._end()
            return
        call = live.call
        is_final = call.status.is_final
        if is_final:
            if not recorded:
                return  # its end will be told
            self.finished += 1
            self.failed += call.status in (Status.FAILED, Status.EXPIRED)
        elif live.place.waits:
            call.wait_reason = live.place.reason
        state = self._state(call) if self._latest is None or is_final else None
        self._note(call.seq, _Noted(live, state))

    def deleted(self, call_id: str, client: str) -> None:
        """The call of that id is gone."""
        if self.active:
            self._note(call_id, CallDeleted(call_id, client))

    def upstream(self, name: str) -> None:
        """What may be at *name* changed."""
        if self.active:
            self._note(name, UpstreamChanged(name))

    def take(self) -> list[Change] | None:
        """The changes since the last time, in order; None: they were too many to keep."""
        kept = [each for _, each in self._changes]
        if self._latest is not None:
            kept = list(self._latest.values())
        lost = self._lost
        self._forget()
        if lost:
            return None
        places = self._places(kept) if kept else {}
        return [change for each in kept for change in self._shaped(each, places)]

    def _note(self, key: object, kept: _Kept) -> None:
        if self._lost:
            return
        if self._latest is None:
            self._changes.append((key, kept))
            if len(self._changes) <= EACH:
                return
            self._latest = {}
            for known, earlier in self._changes:
                self._latest.pop(known, None)
                self._latest[known] = earlier
            self._changes = []
            return
        self._latest.pop(key, None)  # what changed last comes last
        self._latest[key] = kept
        if len(self._latest) > MOST:
            self._forget()
            self._lost = True

    def _shaped(self, kept: _Kept, places: Mapping[Place, int]) -> Iterator[Change]:
        if not isinstance(kept, _Noted):
            yield kept
            return
        call, place, state = kept.live.call, kept.live.place, kept.state
        if state is None:
            if call.status.is_final:
                return  # its end is not durable yet, and will be told
            state = self._state(call)
        row = (record := record_of(self._row(call), state)).row
        waits = row.status == Status.QUEUED and row.wait_reason != WaitReason.BACKOFF
        position = places.get(place) if waits else None
        if record.status.is_final:
            self._accepted.pop(call.seq, None)
        eta_s = self._admission.eta_s(place, position) if position else None
        yield CallChanged(
            record, Live(wait_reason=row.wait_reason, queue_position=position, eta_s=eta_s)
        )

    def _row(self, call: Call) -> Row:
        row = self._accepted.get(call.seq)
        if row is None:
            if len(self._accepted) >= KEPT_ROWS:
                self._accepted.clear()
            row = self._accepted[call.seq] = rows.new_call(call)
        return row

    def _places(self, kept: Iterable[_Kept]) -> dict[Place, int]:
        """Positions in the queues in which calls that changed wait now."""
        waiting = {
            each.live.call.upstream
            for each in kept
            if isinstance(each, _Noted) and each.live.place.waits
        }
        places: dict[Place, int] = {}
        if waiting:
            upstreams = self._admission.statistics().upstreams
            for name in waiting:
                if upstreams[name].queued <= LONGEST_QUEUE:
                    places |= self._admission.positions(name)
        return places

    def _is_over(self) -> bool:
        return self._until is not None and self._monotonic() > self._until

    def _forget(self) -> None:
        self._changes, self._latest, self._lost = [], None, False

    def _end(self) -> None:
        self.active, self._until = False, None
        self._forget()
        self._accepted = {}
        self.finished = self.failed = 0
