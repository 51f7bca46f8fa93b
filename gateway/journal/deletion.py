"""Removing recorded calls and bodies, in steps that the writer takes between its rounds.

Invariants: a step removes at most `Budget` and so holds nobody's commit for long; a call vanishes as
a whole, in one transaction; what was removed is overwritten in the file (`secure_delete`). Bodies
of a call that is gone are listed in `incoming` until the last piece went, so a start removes what a
crash left of them.
"""

import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic_core import to_json

from gateway.call import PART_BYTES
from gateway.journal.transaction import DELETE_INCOMING, INSERT_INCOMING, transaction

STEP_ROWS = 100  # of calls and pieces of bodies: some 10 ms of the writer, with a commit

#: Whatever is kept of a call besides its bodies, by `seq`.
TABLES = ("calls", "requests", "attempts")

# In this order a body loses its beginning first, and from then on it is not here (`Reader.body_bytes`).
PARTS = "SELECT rowid, length(data) FROM parts WHERE seq = ? ORDER BY attempt, start"
DELETE_PARTS = "DELETE FROM parts WHERE rowid IN (SELECT value FROM json_each(?))"
# A seq is never given again, not even that of the newest call once it is deleted.
LAST_DELETED = """
INSERT INTO meta (name, value) VALUES ('deleted_seq', :seq) ON CONFLICT (name) DO UPDATE
SET value = max(CAST(value AS INTEGER), :seq)
"""


@dataclass(slots=True)
class Budget:
    """What one step may still look at and remove."""

    rows: int = 500
    bytes: int = 4 * PART_BYTES  #: of bodies

    @property
    def spent(self) -> bool:
        """Whether the rest is for the next step."""
        return self.rows <= 0 or self.bytes <= 0

    def take(self, size: int = 0) -> None:
        """Count one row with *size* bytes of a body."""
        self.rows -= 1
        self.bytes -= size


class Deletion:
    """Removes final calls, one after the other; each step returns whether it was the last."""

    def __init__(self, *seqs: int) -> None:
        self._left = deque(seqs)

    def __call__(self, connection: sqlite3.Connection) -> bool:
        """As many as `Budget` lets; of one with large bodies the rest of them is for other steps."""
        budget = Budget(rows=STEP_ROWS)
        begun: list[int] = []
        with removing(connection):
            while self._left and not budget.spent:
                seq = self._left[0]
                begun.append(seq)
                budget.take()
                if not remove_bodies(connection, seq, budget):
                    connection.execute(INSERT_INCOMING, (seq,))
                    break
                connection.execute(DELETE_INCOMING, (seq,))
                self._left.popleft()
            remove_calls(connection, begun)
        return not self._left


@contextmanager
def removing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that overwrites what it removes."""
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    try:
        with transaction(connection):
            yield
    finally:
        connection.execute("PRAGMA secure_delete = OFF").fetchall()


def remove_calls(connection: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """Remove the calls, all but their bodies."""
    if not seqs:
        return
    chosen = (to_json(seqs).decode(),)
    for table in TABLES:
        connection.execute(
            f"DELETE FROM {table} WHERE seq IN (SELECT value FROM json_each(?))",  # noqa: S608
            chosen,
        )
    connection.execute(LAST_DELETED, {"seq": max(seqs)})


def remove_bodies(connection: sqlite3.Connection, seq: int, budget: Budget) -> bool:
    """Remove the bodies of a call as far as *budget* goes; True: none is left."""
    chosen: list[int] = []
    done = True
    for rowid, size in connection.execute(PARTS, (seq,)):
        if budget.spent:
            done = False
            break
        chosen.append(rowid)
        budget.take(size)
    if chosen:
        connection.execute(DELETE_PARTS, (to_json(chosen).decode(),))
    return done
