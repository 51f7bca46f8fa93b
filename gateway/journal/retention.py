"""What is recorded is kept as long as `[journal]` says: bodies, then whole calls.

Invariants: only final calls lose anything, and their age counts from their end. A pass works in
steps that the writer takes between its rounds, each bounded by `Budget`, with pauses in which the
disk is everybody's. After a body is gone the call still stands, and says so (410).
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from gateway import config
from gateway.errors import JournalUnavailable
from gateway.journal.deletion import Budget, remove_bodies, remove_calls, removing
from gateway.journal.search.volumes import forget
from gateway.journal.shapes import Json
from gateway.journal.writer import Journal

log = structlog.get_logger(__name__)

FIRST_S, EVERY_S = 60.0, 3600.0  # after the start; between passes
PAUSE_S = 0.02  # between two steps; a step takes about half of it
PAGES = 256  # of the file given back in one step: 1 MiB
DAY_MS = 86_400_000

CALL = "SELECT created_ms, finished_ms FROM calls WHERE seq = ?"
NEXT = {
    "parts": "SELECT min(seq) FROM parts WHERE seq > ?",
    "calls": "SELECT min(seq) FROM calls WHERE seq > ?",
}


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pass removed."""

    bodies: int  #: of so many calls
    calls: int

    def json(self) -> Json:
        """As API and commands tell it."""
        return {"object": "prune", "bodies": self.bodies, "calls": self.calls}


class Retention:
    """Removes what is older than *settings* say."""

    def __init__(
        self,
        journal: Journal,
        settings: Callable[[], config.Journal],
        now: Callable[[], float],
        cleanse: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """*cleanse* removes the words of what is gone; see `Search.cleanse`."""
        self._journal = journal
        self._settings = settings
        self._now = now
        self._cleanse = cleanse
        self._asked = asyncio.Event()
        self._turn = asyncio.Lock()  # two passes would write the same volumes anew

    def soon(self) -> None:
        """Much was deleted: let the next pass, which removes its words and returns its space, begin."""
        self._asked.set()

    async def run(self) -> None:
        """A pass each hour, and one when it is asked for, for as long as the process lives."""
        await self._wait(FIRST_S)
        while True:
            try:
                await self.prune()
            except JournalUnavailable as error:
                log.warning("retention_put_off", problem=error.message)
            await self._wait(EVERY_S)

    async def _wait(self, at_most_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._asked.wait()
        self._asked.clear()

    async def prune(self) -> Pruned:
        """One pass, now. Raises: JournalUnavailable, with what was removed until then removed."""
        async with self._turn:
            return await self._prune()

    async def _prune(self) -> Pruned:
        settings = self._settings()
        now_ms = int(self._now() * 1000)
        sweeps = [
            _Sweep(table, now_ms - int(days * DAY_MS))
            for table, days in (
                ("parts", settings.keep_bodies_days),
                ("calls", settings.keep_calls_days),
            )
            if days
        ]
        for sweep in sweeps:
            while not sweep.over:
                await self._journal.work(sweep)
                await asyncio.sleep(PAUSE_S)
        if self._cleanse is not None:
            await self._cleanse()
        compaction = _Compaction()
        while not compaction.over:
            await self._journal.work(compaction)
            await asyncio.sleep(PAUSE_S)
        removed = {sweep.table: sweep.removed for sweep in sweeps}
        pruned = Pruned(bodies=removed.get("parts", 0), calls=removed.get("calls", 0))
        if pruned != Pruned(0, 0):
            log.info("journal_pruned", bodies=pruned.bodies, calls=pruned.calls)
        return pruned


@dataclass(slots=True)
class _Sweep:
    """A pass over the calls in *table* (`parts`: that have a body) from the oldest on.

    Calls stand in the order of their acceptance, so it is over once a whole step met only younger
    ones; not at the first, since a clock may have been set.
    """

    table: str
    before_ms: int  #: ended before this, a call has been kept long enough
    removed: int = 0
    over: bool = False
    _after: int = 0  #: the calls up to this seq were looked at

    def __call__(self, connection: sqlite3.Connection) -> bool:
        """One step."""
        budget = Budget()
        gone: list[int] = []
        young = True
        with removing(connection):
            while not budget.spent:
                (seq,) = connection.execute(NEXT[self.table], (self._after,)).fetchone()
                if seq is None:
                    self.over = True
                    break
                budget.take()
                # None: the body of a call that is being accepted, or deleted
                created_ms, finished_ms = connection.execute(CALL, (seq,)).fetchone() or (0, None)
                young = young and created_ms >= self.before_ms
                if finished_ms is not None and finished_ms < self.before_ms:
                    if not remove_bodies(connection, seq, budget):
                        break  # the rest of them is for the next step
                    gone.append(seq)
                self._after = seq
            if self.table == "calls":
                remove_calls(connection, gone)
            else:
                forget(connection, gone)
        self.removed += len(gone)
        self.over = self.over or young
        return True


class _Compaction:
    """Gives free pages back to the file system; pages in use move into them from the file's end."""

    over = False

    def __call__(self, connection: sqlite3.Connection) -> bool:
        """One step."""
        (before,) = connection.execute("PRAGMA freelist_count").fetchone()
        # A step a page, without a row: execute() would take the first and leave it at that.
        connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")
        # The file is cut at a checkpoint; left to itself it comes once for all (measured: 200 MB, 0.2 s).
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        self.over = free == 0 or free >= before
        return True
