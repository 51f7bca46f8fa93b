"""The writer task: takes the posts that wait, commits them as one transaction, tells their posters.

Invariants, held by `test_writer.py` and `test_outage.py`:
- a future is True only when its rows are in the file, durable as configured;
- no post is lost because its poster was cancelled, and no future hangs: when the task ends, for
  whatever reason, those left fail;
- while the file cannot be written, new calls fail, and all other posts are kept and written later;
- a post that the file refuses (a constraint, a value it cannot hold) fails alone.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import structlog

from gateway.errors import GatewayError, JournalUnavailable
from gateway.journal.backlog import Backlog, Post
from gateway.journal.file import JournalFile, Step

log = structlog.get_logger(__name__)

ROOM_BYTES = 8 * 1024 * 1024  # of bodies waiting to be written, before their readers are slowed
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0  # between tries to write again

#: A post is at fault, whatever state the file is in.
REFUSED = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    UnicodeError,
    OverflowError,
)
#: The file is; whatever else goes wrong, the post or the step is to blame as well.
FAILED = (sqlite3.Error, OSError, JournalUnavailable)


class Committer:
    """Makes posts durable. Whatever it holds is in `backlog` or `writing`."""

    def __init__(self, file: JournalFile, *, now: Callable[[], float], watch_s: float) -> None:
        self.backlog = Backlog()
        self.writing: Sequence[Post] = ()
        self.has_room = asyncio.Event()  #: also set during an outage and after the end
        self.has_room.set()
        self.recovered = asyncio.Event()  #: not set during an outage; set after the end
        self.recovered.set()
        self.closing = asyncio.Event()
        self.ended = False
        self.outage: str | None = None  #: why the file cannot be written
        self.outage_since: float | None = None  #: wall time
        self.commits = 0
        self.commit_s: deque[float] = deque([0.0], maxlen=100)
        self.on_commit: Callable[[float, int], None] | None = None

        self._file = file
        self._now = now
        self._watch_s = watch_s
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._identity_due = False
        self._pause_s = FIRST_PAUSE_S
        self._chores: deque[tuple[Step, asyncio.Future[None]]] = deque()
        self._refused: dict[int, str] = {}  # seq: id of calls that failed and may have left traces

    def add(self, post: Post) -> None:
        """Queue *post*; during an outage its future is False at once."""
        if self.ended:
            _fail([post], JournalUnavailable("the journal is closed"))
            return
        self.backlog.add(post)
        if self.outage is not None:
            _tell([post], durable=False)
            return
        self._wake.set()
        if self.backlog.part_bytes >= ROOM_BYTES:
            self.has_room.clear()

    def add_chore(self, step: Step) -> asyncio.Future[None]:
        """Take *step* between rounds, one a round, until it returns True; during an outage it fails."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._chores.append((step, future))
        if self.ended or self.outage is not None:
            self._fail_chores(self.outage or "the journal is closed")
        self._wake.set()
        return future

    def close(self) -> None:
        """Let `run()` end once everything posted is written, or cannot be."""
        self.closing.set()
        self._wake.set()

    async def run(self) -> None:
        """Write until `close()`. Cancelled, it leaves what a killed process would leave."""
        self._watch()
        try:
            while self.backlog or not self.closing.is_set():
                await self._wake.wait()
                self._wake.clear()
                await self._drain()
                while self.outage is not None and not await self._recover():
                    if self.closing.is_set():
                        return
        finally:
            self._timer.cancel()
            self._end()

    def _watch(self) -> None:
        """From time to time have the next round look whether the file is still where it was."""
        self._identity_due = True
        self._wake.set()
        self._timer = self._loop.call_later(self._watch_s, self._watch)

    async def _drain(self) -> bool:
        """Write round after round until nothing waits; False: the file failed."""
        while (posts := self.backlog.take_round()) or self._identity_due or self._chores:
            self.writing = posts
            try:
                if posts or self._identity_due:
                    await self._write(posts)
                self.writing = ()
                if self._chores:
                    await self._take_step()
            except FAILED as error:
                self._suspend(error)
                return False
        return True

    async def _write(self, posts: Sequence[Post]) -> None:
        """Commit *posts*: together, or where that is refused one by one."""
        try:
            await self._commit(posts)
        except Exception as error:
            if _is_of_the_file(error):
                raise
            for at, post in enumerate(posts):
                self.writing = posts[at:]
                try:
                    await self._commit([post])
                except Exception as refusal:
                    if _is_of_the_file(refusal):
                        raise
                    self._refuse(post, refusal)

    async def _commit(self, posts: Sequence[Post]) -> None:
        check, self._identity_due = self._identity_due, False
        started = self._loop.time()
        await self._file.write(posts, check_identity=check)
        if not posts:
            return
        seconds = self._loop.time() - started
        self._written(posts)
        _tell(posts, durable=True)
        self.commits += 1
        self.commit_s.append(seconds)
        if self.on_commit:
            try:
                self.on_commit(seconds, len(posts))
            except Exception:
                log.exception("journal_listener_crashed")

    async def _take_step(self) -> None:
        """One step of the work beside the rounds; several take turns."""
        step, future = self._chores[0]
        try:
            done = await self._file.take(step)
        except Exception as error:
            if _is_of_the_file(error):
                raise
            log.exception("journal_chore_failed")
            self._chores.popleft()
            if not future.done():
                future.set_exception(GatewayError(f"the journal refused: {error}"))
            return
        self._chores.rotate(-1)
        if done:
            self._chores.pop()
            if not future.done():
                future.set_result(None)

    def _fail_chores(self, problem: str) -> None:
        while self._chores:
            _, future = self._chores.popleft()
            if not future.done():
                future.set_exception(
                    JournalUnavailable(f"the journal cannot be written: {problem}")
                )
                future.exception()

    def _written(self, posts: Sequence[Post]) -> None:
        self.backlog.written(posts)
        if self.backlog.part_bytes < ROOM_BYTES:
            self.has_room.set()

    def _refuse(self, post: Post, error: Exception) -> None:
        log.error("journal_record_refused", call=post.call_id, error=str(error))
        self._written([post])
        _fail([post], GatewayError(f"the journal refused a record of {post.call_id}: {error}"))

    def _suspend(self, error: Exception) -> None:
        """Begin an outage, or go on with it: new calls fail, all other posts wait."""
        if self.outage is None:
            self.outage_since = self._now()
            log.error("journal_unavailable", problem=_describe(error))
        self.outage = _describe(error)
        self._file.note_failure(error)
        self.backlog.put_back(self.writing)
        self.writing = ()
        refused = {post.seq: post.call_id for post in self.backlog if post.makes_call}
        self._refused |= refused
        gone = self.backlog.remove(lambda post: post.seq in refused)
        _fail(gone, JournalUnavailable(f"the journal cannot be written: {self.outage}"))
        _tell(self.backlog, durable=False)
        self._fail_chores(self.outage)
        self.has_room.set()
        self.recovered.clear()

    async def _recover(self) -> bool:
        """After a pause, try again to write what waits; False: not yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await self.closing.wait()
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        waiting = len(self.backlog)
        try:
            await self._file.restore(self._refused)
        except FAILED as error:
            self._file.note_failure(error)
            self.outage = _describe(error)
            return False
        self._refused.clear()
        if not await self._drain():
            return False
        log.warning("journal_recovered", problem=self.outage, records=waiting)
        self.outage = self.outage_since = None
        self._pause_s = FIRST_PAUSE_S
        self.recovered.set()
        return True

    def _end(self) -> None:
        """Leave nobody waiting."""
        self.ended = True
        lost = [*self.writing, *self.backlog]
        if lost:
            log.error("journal_records_lost", records=len(lost), problem=self.outage)
        _fail(lost, JournalUnavailable("the journal is closed"))
        self._fail_chores("closed")
        self.has_room.set()
        self.recovered.set()


def _tell(posts: Iterable[Post], *, durable: bool) -> None:
    for post in posts:
        if post.future and not post.future.done():
            post.future.set_result(durable)


def _fail(posts: Iterable[Post], error: Exception) -> None:
    for post in posts:
        if post.future and not post.future.done():
            post.future.set_exception(error)
            post.future.exception()  # nobody has to look: the log has it


def _is_of_the_file(error: Exception) -> bool:
    """Whether the next round would meet it too. The writer itself survives everything."""
    return isinstance(error, FAILED) and not isinstance(error, REFUSED)


def _describe(error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)
