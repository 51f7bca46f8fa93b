"""The indexer: makes what calls said searchable, written behind, while the gateway has time.

Which calls are still to be looked at is not stored: what `texts` does not say was looked at was not,
so accepting and ending a call cost nothing here, and whatever a crash cut off is found by a start.
In the running process the writer's hints (`Unsearched`) say where to look.

Invariants: a step holds the writer for a few ms, one call's texts at the most; between steps others
come first; an open call is looked at a second after it was accepted, one that ends sooner only once.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite
import structlog

from gateway.errors import GatewayError, JournalUnavailable
from gateway.journal.connection import in_thread, open_read_only
from gateway.journal.search import indexing, volumes
from gateway.journal.search.unsearched import Unsearched
from gateway.journal.search.volumes import Entry
from gateway.journal.writer import Journal

T = TypeVar("T")

log = structlog.get_logger(__name__)

BATCH_CALLS = 32
BATCH_CHARS = 16_384  # tokenised in some 3 ms, in which the writer writes nothing else
READ_S = 0.002  # of Python in a row, in which the event loop does not run
LOOK_AGAIN = 1_000  # calls found at once where there are no hints
BUSY_SHARE = 4.0  # while calls come and go: so many times as long as a round took is nothing done


class Search:
    """Indexes the journal at *path*; see `run`."""

    def __init__(self, journal: Journal, path: Path) -> None:
        self._journal = journal
        self._path = path
        self._hints: Unsearched = journal.unsearched
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[int] = deque()  #: found in the file, without a hint
        self._scanned = 0  #: the file was looked through for calls up to this one
        self._scan_to = 0  #: … and is, up to this one: of those above there are hints
        self._scanning = True
        self._look_again = True  #: at calls that were looked at while they were open
        self._urgent = 0  #: so many ask, and wait
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()  #: all hints were followed
        self._ready = asyncio.Event()  #: the connection is open
        self._volume = 0  #: that the last entries went to
        self._untidy: deque[int] = deque()  #: full volumes that are to become one piece
        self._commits = 0
        self._connection: aiosqlite.Connection

    async def run(self) -> None:
        """Index until cancelled."""
        self._connection = await open_read_only(self._path)
        try:
            self._ready.set()
            self._scanned, self._scan_to = await self._read(self._start)
            while True:
                try:
                    await self._follow()
                except JournalUnavailable:
                    await asyncio.sleep(1.0)
                    await self._journal.wait_available()
                    self._rescan()
                except (GatewayError, sqlite3.Error) as error:
                    log.exception("search_put_off", problem=str(error))
                    await asyncio.sleep(60.0)
                    self._rescan()
        finally:
            await self._connection.close()

    async def catch_up(self, within_s: float) -> None:
        """Let what was accepted or ended until now be searchable, as far as *within_s* goes."""
        if not self._hints:
            return
        self._urgent += 1
        self._idle.clear()
        self._hurry.set()
        self._hints.wake.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._idle.wait()
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._hurry.clear()

    async def cleanse(self) -> None:
        """Remove from the file the words of what is gone, by writing anew the volumes they are in.

        Raises: JournalUnavailable
        """
        await self._ready.wait()
        await self._index(await self._read(indexing.select_ended, 0, -1))
        for number, is_dropped in await self._read(_to_rewrite):
            if not is_dropped:
                await self._rewrite(number)
            await self._journal.work(partial(volumes.drop, number=number))

    async def _follow(self) -> None:
        """Look at some calls, then give way."""
        began = self._loop.time()
        if self._hints.overflown:
            self._rescan()
        ended, accepted = self._hints.take(began, BATCH_CALLS, undue=self._urgent > 0)
        if not self._hints:
            self._idle.set()
        if ended or accepted:
            try:
                await self._index(list(dict.fromkeys([*ended, *accepted])), expect_final=ended)
            except BaseException:
                self._hints.given_up()
                raise
            self._hints.done()
        elif seqs := await self._from_file():
            await self._index(seqs)
        elif self._untidy:
            number = self._untidy[0]
            if await self._take(partial(volumes.merge, number=number, whole=True)):
                self._untidy.popleft()
        else:
            await self._wait()
            return
        await self._give_way(self._loop.time() - began)

    async def _give_way(self, worked_s: float) -> None:
        """While calls come and go, do nothing for some time; not while somebody waits."""
        commits = self._journal.statistics().commits
        busy, self._commits = commits != self._commits, commits
        if self._urgent:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(BUSY_SHARE * worked_s if busy else 0):
                await self._hurry.wait()

    async def _wait(self) -> None:
        """Until there is a hint, or one is due."""
        self._hints.wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._hints.due_in(self._loop.time())):
                await self._hints.wake.wait()

    async def _from_file(self) -> list[int]:
        """Calls that nobody gave a hint of: from before this process, or after too many hints."""
        if self._look_again:
            self._look_again = False
            self._backlog.extend(await self._read(indexing.select_ended, 0, -1))
        if not self._backlog and self._scanning:
            found = await self._read(indexing.select_unseen, self._scanned, LOOK_AGAIN)
            seqs = [seq for seq in found if seq <= self._scan_to]
            self._backlog.extend(seqs)
            if seqs:
                self._scanned = seqs[-1]
            else:
                self._scanning = False
                self._hints.looked_at = max(self._hints.looked_at, self._scanned)
        return [self._backlog.popleft() for _ in range(min(BATCH_CALLS, len(self._backlog)))]

    def _rescan(self) -> None:
        """Hints were lost: look through the file once more."""
        self._hints.overflown = False
        self._scanning = self._look_again = True
        self._scan_to = max(self._scan_to, self._hints.newest)
        self._scanned = max(0, min(self._scanned, self._noted()) - indexing.MARGIN)

    def _noted(self) -> int:
        """All calls up to this one were looked at."""
        if self._backlog:
            return self._backlog[0] - 1
        if self._scanning:
            return self._scanned
        return self._hints.looked_at

    async def _index(self, seqs: list[int], *, expect_final: Collection[int] = ()) -> None:
        """Make these calls searchable. Those that should be final and are not yet, later."""
        while seqs:
            entries, looked_at = await self._read_entries(seqs)
            seqs = seqs[looked_at:]
            early = {each.seq for each in entries if not each.final} & {*expect_final}
            self._hints.again(early, self._loop.time())
            await self._write([each for each in entries if each.seq not in early])

    async def _write(self, entries: list[Entry], into: int | None = None) -> None:
        noted = self._noted()

        def write(connection: sqlite3.Connection) -> int | None:
            volumes.write_entries(connection, entries, searched_seq=noted, into=into)
            return into or volumes.open_volume(connection)

        volume = await self._take(write)
        if into is None and volume is not None:
            if volume != self._volume and self._volume:
                self._untidy.append(self._volume)
            self._volume = volume
        if entries and volume is not None:
            await self._take(partial(volumes.merge, number=volume))

    async def _rewrite(self, number: int) -> None:
        """Move what is still to be found in volume *number* to one of its own."""
        first, last = await self._take(partial(volumes.close_volume, number=number))
        into: int | None = None
        after = first - 1
        while seqs := await self._read(_living, after, last, number):
            if into is None:
                into = await self._take(partial(volumes.new_volume, seq=seqs[0], state="full"))
            entries, looked_at = await self._read_entries(seqs, anew=True)
            await self._write(entries, into)
            after = seqs[looked_at - 1]
            await self._give_way(READ_S)

    async def _read_entries(
        self, seqs: list[int], *, anew: bool = False
    ) -> tuple[list[Entry], int]:
        return await self._read(
            partial(indexing.read_entries, within_s=READ_S, within_chars=BATCH_CHARS, anew=anew),
            seqs,
        )

    async def _take(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What *work* returns, done in one step of the writer's."""
        results: list[T] = []

        def step(connection: sqlite3.Connection) -> bool:
            results.append(work(connection))
            return True

        await self._journal.work(step)
        return results[0]

    def _start(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """The calls that the file has to be looked through for: above the first, up to the second."""
        (noted,) = connection.execute(indexing.SEARCHED_SEQ).fetchone()
        (newest,) = connection.execute(indexing.NEWEST_SEQ).fetchone()
        return max(0, int(noted) - indexing.MARGIN), int(newest)

    async def _read(self, read: Callable[..., T], *args: object) -> T:
        return await in_thread(self._connection, read, *args)


def _to_rewrite(connection: sqlite3.Connection) -> list[tuple[int, bool]]:
    found = connection.execute(
        "SELECT number, state = 'dropped' FROM volumes WHERE removed > 0 OR state = 'dropped'"
    )
    return [(number, bool(dropped)) for number, dropped in found]


def _living(connection: sqlite3.Connection, after: int, last: int, number: int) -> list[int]:
    found = connection.execute(indexing.LIVING, (after, last, number, BATCH_CALLS))
    return [seq for (seq,) in found]
