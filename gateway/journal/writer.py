"""The write side of the journal: turns calls, as they stand now, into posts to its writer task.

Nothing here blocks: what is to be recorded is taken at once and a future says when it is durable.
The records of one call are written in the order of their posts, and its latest state wins.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.call import PART_BYTES, Attempt, Call, Part
from gateway.errors import JournalUnavailable
from gateway.journal import integrity, rows
from gateway.journal.backlog import Post, split_body
from gateway.journal.committer import Committer
from gateway.journal.connection import BUSY_TIMEOUT_MS
from gateway.journal.deletion import Deletion
from gateway.journal.file import JournalFile, Step, open_file
from gateway.journal.lock import Lock, hold_lock
from gateway.journal.rows import Row
from gateway.journal.search.unsearched import Unsearched
from gateway.journal.statistics.folding import Folding
from gateway.journal.statistics.rollups import Load, tally

log = structlog.get_logger(__name__)

PARKED_BYTES = 64 * 1024 * 1024  # of bodies kept in RAM while the file cannot be written
WATCH_S = 1.0  # how often it is checked that the file is still there


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatistics:
    """How the writer is doing."""

    pending_posts: int
    pending_bytes: int  #: of bodies
    commits: int
    last_commit_s: float  #: as its posters saw it: hop, transaction, hop back
    slowest_commit_s: float  #: of the last 100
    dropped_bytes: int  #: of bodies that found no room in RAM while the file could not be written
    unavailable_since: float | None  #: wall time


class Journal:
    """Records calls durably. `run()` must be running; `open_journal()` makes one."""

    def __init__(
        self,
        file: JournalFile,
        committer: Committer,
        *,
        lock: Lock,
        parked_bytes: int,
        now: Callable[[], float],
    ) -> None:
        self.lock = lock
        self.unsearched = Unsearched()  #: what the indexer has to look at
        self.client_key = file.client_key  #: keys the hashes by which clients are told apart
        self._file = file
        self._committer = committer
        self._parked_bytes = parked_bytes
        self._now = now
        self._next_seq = file.next_seq
        self._damage: str | None = None
        self.integrity = "checking"  #: "ok" or "damaged: …" once the whole file was read
        # (seq, attempt) of bodies of which pieces were given up. Kept for good: no later state of
        # the call may claim that such a body is complete.
        self._cut: set[tuple[int, int]] = set()
        self._dropped_bytes = 0
        self.uncounted = 0  #: calls that ended since statistics were last brought up to date

    @property
    def available(self) -> bool:
        """Whether calls can be accepted."""
        return self.problem is None

    @property
    def problem(self) -> str | None:
        """Why calls cannot be accepted, for people."""
        return (
            self._committer.outage or self._damage or ("closed" if self._committer.ended else None)
        )

    @property
    def on_commit(self) -> Callable[[float, int], None] | None:
        """Told of each commit: (seconds, posts)."""
        return self._committer.on_commit

    @on_commit.setter
    def on_commit(self, told: Callable[[float, int], None] | None) -> None:
        self._committer.on_commit = told

    def next_seq(self) -> int:
        """The next call's seq; never given twice, not even by another process."""
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def accept(self, call: Call) -> asyncio.Future[bool]:
        """Record a new *call*: its state, open attempt, request headers and body.

        Raises: JournalUnavailable, at once or from the future: then there is no such call
        """
        if self.problem is not None:
            raise self._unavailable()
        call.version += 1
        accepted = (rows.new_call(call), rows.request(call))
        self.unsearched.accepted(call.seq)
        if call.status.is_final:
            self.unsearched.ended(call.seq)
        changed = self._state(call) if call.status.is_final else None
        return self._post(call, split_body(call.request.body or b""), accepted, changed)

    def update(
        self, call: Call, *, ended: Sequence[Attempt] = (), parts: Sequence[Part] = ()
    ) -> asyncio.Future[bool]:
        """Record where *call* stands now, attempts that *ended*, and pieces of bodies before them.

        Returns: a future: True: durable; False: kept in RAM and written when the file can be
        """
        call.version += 1
        if call.status.is_final:
            self.unsearched.ended(call.seq)
        kept = self._keep(call, parts)
        attempts = tuple(
            rows.attempt(call, each, cut=(call.seq, each.number) in self._cut) for each in ended
        )
        return self._post(call, kept, None, self._state(call), attempts)

    def append(self, call: Call, parts: Sequence[Part]) -> asyncio.Future[bool]:
        """Record pieces of a body of *call*; the future is that of `update()`."""
        return self._post(call, self._keep(call, parts), None, None)

    def delete(self, *call_seqs: int) -> asyncio.Future[None]:
        """Remove final calls for good; the future is done once nothing of them is left.

        Raises: JournalUnavailable, from the future
        """
        return self.work(Deletion(*call_seqs))

    def keep_statistics(
        self, loads: Mapping[tuple[int, str], Load], *, sampled_until: int
    ) -> asyncio.Future[None]:
        """Count what ended, record what was in flight and queued, let older statistics grow coarser.

        See `Folding`. Raises: JournalUnavailable, from the future: *loads* are to be given again
        """
        self.uncounted = 0
        now_s = int(self._now())
        return self.work(Folding(loads, sampled_until=sampled_until, now_s=now_s))

    def work(self, step: Step) -> asyncio.Future[None]:
        """Take *step* in the writer between rounds, again and again until it returns True.

        Raises: JournalUnavailable, from the future: it was not, or not wholly, done
        """
        return self._committer.add_chore(step)

    async def room(self) -> None:
        """Wait while too many bytes of bodies wait to be written. During an outage nobody waits."""
        await self._committer.has_room.wait()

    async def wait_available(self) -> None:
        """Wait until the file can be written.

        Raises: JournalUnavailable, when the writer ends before that
        """
        await self._committer.recovered.wait()
        if self._committer.ended:
            raise self._unavailable()

    async def open_calls(self) -> list[Call]:
        """The calls that the last process left queued or running, oldest first.

        Each with its attempts, the open one last; without the request's headers and body.
        """
        return await self._file.open_calls()

    async def quick_check(self) -> list[str]:
        """Read the whole file; what is wrong with it, empty when all is well.

        Damage ends the acceptance of calls. Takes about 8 s per million calls.
        """
        problems = await integrity.quick_check(self._file.path)
        self.integrity = f"damaged: {problems[0]}" if problems else "ok"
        if problems:
            self._damage = f"{self._file.path} is damaged: {problems[0]}"
            log.error("journal_damaged", path=str(self._file.path), problems=problems)
        return problems

    def statistics(self) -> JournalStatistics:
        """A snapshot."""
        committer = self._committer
        return JournalStatistics(
            pending_posts=len(committer.backlog) + len(committer.writing),
            pending_bytes=committer.backlog.part_bytes,
            commits=committer.commits,
            last_commit_s=committer.commit_s[-1],
            slowest_commit_s=max(committer.commit_s),
            dropped_bytes=self._dropped_bytes,
            unavailable_since=committer.outage_since,
        )

    def close(self) -> None:
        """Let `run()` end once everything posted is written, or cannot be."""
        self._committer.close()

    async def run(self) -> None:
        """Write what is posted until `close()`. Cancelled, it ends like a killed process."""
        await self._committer.run()

    def _post(
        self,
        call: Call,
        parts: Iterable[Part],
        accepted: tuple[Row, Row] | None = None,
        changed: Row | None = None,
        ended: tuple[Row, ...] = (),
    ) -> asyncio.Future[bool]:
        """Post rows of *call*; of its *parts*, what exceeds one post goes before it."""
        post = Post(call.seq, call.id)
        for part in parts:
            if post.part_bytes and post.part_bytes + len(part.data) > PART_BYTES:
                post.bulk = True
                post.early = accepted is not None
                self._committer.add(post)
                post = Post(call.seq, call.id, late=post.early)
            post.parts.append(rows.part(call, part))
            post.part_bytes += len(part.data)
        post.accepted, post.changed, post.ended = accepted, changed, ended
        if changed and call.status.is_final:
            post.tally = tally(call)
            self.uncounted += 1
        post.future = asyncio.get_running_loop().create_future()
        self._committer.add(post)
        return post.future

    def is_cut(self, call: Call) -> bool:
        """Whether pieces of its answer had to be given up, so that it is recorded as incomplete."""
        return call.answer is not None and (call.seq, call.answer.number) in self._cut

    def _state(self, call: Call) -> Row:
        return rows.state(call, cut=self.is_cut(call))

    def _keep(self, call: Call, parts: Sequence[Part]) -> Sequence[Part]:
        """What there is room for of *parts*. A body that lost a piece is recorded no further."""
        outage = self._committer.outage is not None
        if not outage and not self._cut:
            return parts
        kept = []
        room = self._parked_bytes - self._committer.backlog.part_bytes
        for part in parts:
            body = (call.seq, part.attempt)
            if body not in self._cut and (not outage or len(part.data) <= room):
                kept.append(part)
                room -= len(part.data)
                continue
            if body not in self._cut:
                self._cut.add(body)
                log.error("journal_body_cut", call=call.id, attempt=part.attempt, at=part.start)
            self._dropped_bytes += len(part.data)
        return kept

    def _unavailable(self) -> JournalUnavailable:
        return JournalUnavailable(f"the journal cannot be written: {self.problem}")


@asynccontextmanager
async def open_journal(
    path: Path,
    *,
    durability: str,
    now: Callable[[], float],
    busy_timeout_ms: int = BUSY_TIMEOUT_MS,
    parked_bytes: int = PARKED_BYTES,
    watch_s: float = WATCH_S,
) -> AsyncIterator[Journal]:
    """Open the journal at *path* for this process alone; a missing one is made.

    *durability*: `power-loss`: True means on the disk; `process`: in the kernel, so it survives
    this process and not the machine.

    Raises: JournalLocked; JournalDamaged; JournalUnavailable, where it cannot be written now
    """
    with hold_lock(path) as lock:
        file = await open_file(path, durability=durability, busy_timeout_ms=busy_timeout_ms)
        try:
            committer = Committer(file, now=now, watch_s=watch_s)
            yield Journal(file, committer, lock=lock, parked_bytes=parked_bytes, now=now)
        finally:
            await file.close()
