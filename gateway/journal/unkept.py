"""Calls of which less is kept: their bodies, or their header fields too, go a minute after their end.

Until then the call is like any other, so that it can wait detached, be taken up after a crash, joined
and fetched. That it happened, when, and how it ended stays. Its words are never searchable.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping

import structlog

from gateway.errors import JournalUnavailable
from gateway.journal.deletion import Budget, remove_bodies, removing
from gateway.journal.transaction import transaction
from gateway.journal.writer import Journal

log = structlog.get_logger(__name__)

EVERY_S = 10.0
CALLS = 100  # in one step

FORGET_POLICIES = "DELETE FROM meta WHERE name GLOB 'bodies:*'"
SET_POLICY = "INSERT INTO meta (name, value) VALUES ('bodies:' || ?, ?)"
DUE = "SELECT seq, keep FROM unkept WHERE due_ms <= ? ORDER BY due_ms LIMIT ?"
DONE = "DELETE FROM unkept WHERE seq = ?"
WITHOUT_FIELDS = (
    "UPDATE requests SET headers = '[]' WHERE seq = ?",
    "UPDATE attempts SET headers = '[]' WHERE seq = ?",
    "UPDATE calls SET query = '', target = path WHERE seq = ?",
)


def set_policies(kept: Mapping[str, str]) -> Callable[[sqlite3.Connection], bool]:
    """The writer's step that notes what is kept of each upstream's calls from now on."""

    def step(connection: sqlite3.Connection) -> bool:
        less = [(name, keep) for name, keep in kept.items() if keep != "full"]
        with transaction(connection):
            connection.execute(FORGET_POLICIES)
            connection.executemany(SET_POLICY, less)
        return True

    return step


class Unkept:
    """Removes what is not to be kept, once it is due."""

    def __init__(self, journal: Journal, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now

    async def run(self) -> None:
        """For as long as the process lives."""
        while True:
            try:
                await self.remove_due()
            except JournalUnavailable as error:
                log.warning("removing_put_off", problem=error.message)
            await asyncio.sleep(EVERY_S)

    async def remove_due(self) -> None:
        """Remove all that is due by now. Raises: JournalUnavailable."""
        step = _Removal(int(self._now() * 1000))
        while not step.over:
            await self._journal.work(step)


class _Removal:
    """A pass over what is due; each step removes as much as holds nobody's commit for long."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self.over = False

    def __call__(self, connection: sqlite3.Connection) -> bool:
        budget = Budget()
        due = connection.execute(DUE, (self._now_ms, CALLS)).fetchall()
        self.over = len(due) < CALLS
        if not due:
            return True
        with removing(connection):
            for seq, keep in due:
                if not remove_bodies(connection, seq, budget):
                    self.over = False  # the rest of them is for the next step
                    break
                if keep == "none":
                    for statement in WITHOUT_FIELDS:
                        connection.execute(statement, (seq,))
                connection.execute(DONE, (seq,))
        return True
