"""A journal without a file, for a clock that jumps: what relay posts, in order, and read back.

It keeps the promises relay builds on (a post is durable a commit later, posts of a call keep their
order, a cancelled wait is still written) and holds relay to its own: see `check`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from gateway.call import Attempt, Call, Outcome, Part, Request, Status
from gateway.errors import JournalUnavailable
from gateway.journal.selects import KeyedCall


@dataclass
class Record:
    """What the journal holds of one call."""

    call: Call
    request: Request
    statuses: list[Status] = field(default_factory=list)  #: at each commit
    ended: dict[int, Outcome] = field(default_factory=dict)  #: attempts, in order
    bodies: dict[int, bytes] = field(default_factory=dict)  #: by attempt

    @property
    def status(self) -> Status:
        return self.statuses[-1]


class MemoryJournal:
    """Journal and reader in one. A commit takes *commit_s*."""

    def __init__(self, *, commit_s: float = 0.0) -> None:
        self.commit_s = commit_s
        self.available = True
        self.is_unreadable = False
        self.records: dict[int, Record] = {}
        self._seq = 0

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    # -- the writer's side

    def accept(self, call: Call) -> asyncio.Future[bool]:
        if not self.available:
            raise JournalUnavailable
        assert call.seq not in self.records, "accepted twice"
        self.records[call.seq] = Record(call, replace(call.request), [call.status])
        return self._committed()

    def update(
        self, call: Call, *, ended: Sequence[Attempt] = (), parts: Sequence[Part] = ()
    ) -> asyncio.Future[bool]:
        record = self.records[call.seq]
        assert not record.status.is_final, f"{call.id} was final already"
        record.statuses.append(call.status)
        for attempt in ended:
            assert attempt.outcome is not None
            assert attempt.finished_at is not None
            before = record.ended.setdefault(attempt.number, attempt.outcome)
            assert attempt.outcome is before, f"attempt {attempt.number} ended twice"
        return self.append(call, parts)

    def append(self, call: Call, parts: Sequence[Part]) -> asyncio.Future[bool]:
        bodies = self.records[call.seq].bodies
        for part in parts:
            before = bodies.get(part.attempt, b"")
            assert part.start == len(before), "a gap in a body"
            bodies[part.attempt] = before + part.data
        return self._committed()

    async def room(self) -> None:
        pass

    async def wait_available(self) -> None:
        raise AssertionError("it is never down while calls run")

    def _committed(self) -> asyncio.Future[bool]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        loop.call_later(self.commit_s, lambda: future.done() or future.set_result(True))
        return future

    # -- the reader's side

    async def request(self, call: Call) -> Request:
        if self.is_unreadable:
            raise JournalUnavailable
        return self.records[call.seq].request

    async def keyed(self, client: str, key: str) -> KeyedCall | None:
        for record in reversed(self.records.values()):
            call = record.call
            if (call.client, call.options.idempotency_key) == (client, key):
                whole = call.answer is not None and call.answer.complete
                status = call.answer.status if call.answer is not None and whole else None
                return KeyedCall(call.id, call.fingerprint, status)
        return None

    async def body(self, seq: int, attempt: int, start: int = 0) -> AsyncIterator[bytes]:
        yield self.records[seq].bodies.get(attempt, b"")[start:]

    # -- what must be true at rest

    def check(self) -> None:
        """Every call has one final state, every attempt that began has ended."""
        for record in self.records.values():
            assert record.status.is_final, f"{record.call.id} is {record.status}"
            assert sum(status.is_final for status in record.statuses) == 1
            assert list(record.ended) == [attempt.number for attempt in record.call.attempts]
