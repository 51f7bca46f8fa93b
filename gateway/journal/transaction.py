"""One round of the writer as one transaction, with as few statements as can be.

sqlite3 hands the GIL over at every step of a statement, and that is most of what a journal costs
its process; so rows go many to a statement. Their number is a power of two: a handful of texts,
each prepared once and found again in the connection's statement cache.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from pydantic_core import to_json

from gateway.journal import rows
from gateway.journal.backlog import Post
from gateway.journal.rows import Columns, Row
from gateway.journal.statistics.rollups import Tally

MAX_ROWS = 64  # more rows a statement gain nothing, and a prepared one holds 150 bytes a value
CACHED_STATEMENTS = 128  # the connection's: 6 of them, 7 sizes, with or without the rare columns


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement over many rows: how its text is made for so many of them."""

    columns: Columns
    #: {columns}: their names; {rows}: a place for each value; {changes}: columns from those rows
    text: str

    @lru_cache(maxsize=CACHED_STATEMENTS)  # noqa: B019 - the few statements live for ever
    def sql(self, count: int, *, with_rare: bool) -> str:
        """The text for *count* rows, whose rare columns have values or are NULL in all of them."""
        names = self.columns.names if with_rare else self.columns.usual
        changes = [f"{name} = new.column{at}" for at, name in enumerate(names, 1) if at > 1]
        changes += [f"{name} = NULL" for name in self.columns.names[len(names) :]]
        row = f"({', '.join('?' * len(names))})"
        return self.text.format(
            columns=", ".join(names), changes=", ".join(changes), rows=", ".join([row] * count)
        )


INSERT_CALLS = Statement(rows.CALL, "INSERT INTO calls ({columns}) VALUES {rows}")
INSERT_REQUESTS = Statement(rows.REQUEST, "INSERT INTO requests ({columns}) VALUES {rows}")
# A piece may be posted twice: by whom an outage left in doubt, or after a commit that failed halfway.
INSERT_PARTS = Statement(
    rows.PART,
    "INSERT INTO parts ({columns}) VALUES {rows} ON CONFLICT (seq, attempt, start) DO NOTHING",
)
# Replace: the pause that followed an attempt is known only after its row was written.
REPLACE_ATTEMPTS = Statement(
    rows.ATTEMPT, "INSERT OR REPLACE INTO attempts ({columns}) VALUES {rows}"
)
UPDATE_CALLS = Statement(
    rows.STATE,
    "UPDATE calls SET {changes}, room = NULL FROM (VALUES {rows}) AS new WHERE seq = new.column1",
)
UPDATE_OPEN_CALLS = Statement(rows.STATE, f"{UPDATE_CALLS.text} AND finished_ms IS NULL")
FINISHED = """
SELECT seq FROM calls WHERE finished_ms IS NOT NULL AND seq IN (SELECT value FROM json_each(?))
"""
#: One row a round; `Folding` counts what is in them.
INSERT_UNCOUNTED = "INSERT INTO uncounted (tallies) VALUES (?)"
INSERT_INCOMING = "INSERT OR IGNORE INTO incoming VALUES (?)"
DELETE_INCOMING = "DELETE FROM incoming WHERE seq = ?"

FORGET = (
    "DELETE FROM calls WHERE seq = :seq AND id = :id",
    "DELETE FROM requests WHERE seq = :seq AND seq NOT IN (SELECT seq FROM calls)",
    "DELETE FROM parts WHERE seq = :seq AND seq NOT IN (SELECT seq FROM calls)",
    "DELETE FROM incoming WHERE seq = :seq",
)


def write(connection: sqlite3.Connection, posts: Sequence[Post]) -> None:
    """Commit *posts*, in their order, or none of them. All but new calls may come twice.

    A call that ends is counted once, however often its end comes.

    Raises: sqlite3.IntegrityError also where a change names a call that the journal does not have
    """
    try:
        _write(connection, posts, is_repeat=False)
    except _RepeatError:  # hardly ever, and to know it for every round costs a statement each
        _write(connection, posts, is_repeat=True)


class _RepeatError(Exception):
    """Some of the calls are not there, or had ended before."""


def _write(connection: sqlite3.Connection, posts: Sequence[Post], *, is_repeat: bool) -> None:
    attempts: dict[object, Row] = {}
    changes: dict[int, Row] = {}  # of many changes of a call only the last is written
    tallies: dict[int, Tally] = {}
    for post in posts:
        for row in post.ended:
            attempts[row[:2]] = row
        if post.changed:
            changes[post.seq] = post.changed
        if post.tally:
            tallies[post.seq] = post.tally
    accepted = [post.accepted for post in posts if post.accepted]

    cursor = connection.cursor()
    with transaction(connection):
        parts = [part for post in posts for part in post.parts]
        _execute(cursor, INSERT_PARTS, parts)
        _mark_incoming(cursor, posts)
        _execute(cursor, INSERT_REQUESTS, [request for _, request in accepted])
        _execute(cursor, INSERT_CALLS, [call for call, _ in accepted])
        _execute(cursor, REPLACE_ATTEMPTS, list(attempts.values()))
        if is_repeat:
            chosen = (to_json(list(tallies)).decode(),)
            for (seq,) in cursor.execute(FINISHED, chosen).fetchall():
                del tallies[seq]
        update = UPDATE_CALLS if is_repeat else UPDATE_OPEN_CALLS
        if _execute(cursor, update, list(changes.values())) != len(changes):
            if not is_repeat:
                raise _RepeatError
            raise sqlite3.IntegrityError("a change of a call that is not in the journal")
        if tallies:
            # As lists: named tuples take four times as long.
            values = to_json([[*tally] for tally in tallies.values()]).decode()
            cursor.execute(INSERT_UNCOUNTED, (values,))


def forget(connection: sqlite3.Connection, refused: Iterable[tuple[int, str]]) -> None:
    """Remove what is here of calls (seq, id) that were never accepted."""
    with transaction(connection):
        for seq, call_id in refused:
            for statement in FORGET:
                connection.execute(statement, {"seq": seq, "id": call_id})


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block did, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _mark_incoming(cursor: sqlite3.Cursor, posts: Sequence[Post]) -> None:
    """Keep the list of calls whose request body is here and whose row is not; usually empty."""
    for post in posts:
        if post.early:
            cursor.execute(INSERT_INCOMING, (post.seq,))
        elif post.late:
            cursor.execute(DELETE_INCOMING, (post.seq,))


def _execute(cursor: sqlite3.Cursor, statement: Statement, values: Sequence[Row]) -> int:
    """Run *statement* over all rows of *values*; return how many rows it changed."""
    rare = len(statement.columns.rare)
    if not rare:
        return _execute_rows(cursor, statement, values, with_rare=False)
    nothing = (None,) * rare
    plain = [row[:-rare] for row in values if row[-rare:] == nothing]
    full = [row for row in values if row[-rare:] != nothing] if len(plain) < len(values) else []
    return _execute_rows(cursor, statement, plain, with_rare=False) + _execute_rows(
        cursor, statement, full, with_rare=True
    )


def _execute_rows(
    cursor: sqlite3.Cursor, statement: Statement, values: Sequence[Row], *, with_rare: bool
) -> int:
    changed = start = 0
    while left := len(values) - start:
        count = min(MAX_ROWS, 1 << (left.bit_length() - 1))
        sql = statement.sql(count, with_rare=with_rare)
        cursor.execute(sql, list(chain.from_iterable(values[start : start + count])))
        changed += cursor.rowcount
        start += count
    return changed
