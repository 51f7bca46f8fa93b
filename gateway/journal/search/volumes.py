"""The full-text index in the file: rows written, volumes closed, rewritten and dropped.

Every function is one step in the writer's thread, in its own transaction, bounded by what it is given.
What a row says is decided elsewhere (`indexing.py`).
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.journal.deletion import removing
from gateway.journal.search.words import TOKENIZER
from gateway.journal.transaction import transaction

#: A prefix of one volume's words takes some 50 ms to look up, of a million calls 3 s.
VOLUME_CALLS = 16_384
VOLUME_CHARS = 33_554_432
MERGE_PAGES = 16  # of the index put in order in one step: some 5 ms
DROP_PAGES = 128

# FTS5's own merging now and then rewrites half a volume within a commit (measured: 150 ms); ours
# takes small steps. The texts themselves are in the bodies: no copy, and no deletion of single rows.
CREATE = f"""
CREATE VIRTUAL TABLE search_{{0}} USING fts5(
    request, answer, error, content = '', columnsize = 0, tokenize = '{TOKENIZER}')
"""
SETTINGS = (("automerge", 0), ("crisismerge", 1_999), ("usermerge", 8))
SET = "INSERT INTO search_{0} (search_{0}, rank) VALUES (?, ?)"
INSERT = "INSERT INTO search_{0} (rowid, request, answer, error) VALUES (?, ?, ?, ?)"
OPEN_VOLUME = "SELECT number, calls, chars FROM volumes WHERE state = 'open' ORDER BY number DESC"
NEW_VOLUME = """
INSERT INTO volumes (number, first_seq, last_seq, calls, chars, state)
SELECT coalesce(max(number), 0) + 1, ?, ?, 0, 0, ? FROM volumes RETURNING number
"""
GROW = """
UPDATE volumes SET first_seq = min(first_seq, ?), last_seq = max(last_seq, ?),
    calls = calls + ?, chars = chars + ? WHERE number = ?
"""
BOUNDS = "SELECT first_seq, last_seq FROM volumes WHERE number = ?"
KNOWN = "SELECT volume, final FROM texts WHERE seq = ?"
IS_HERE = "SELECT 1 FROM calls WHERE seq = ?"
REMEMBER = """
INSERT INTO texts (seq, volume, final, request, answer) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (seq) DO UPDATE SET volume = excluded.volume, final = excluded.final,
    request = excluded.request, answer = excluded.answer
"""
SEARCHED = """
UPDATE meta SET value = max(CAST(value AS INTEGER), ?) WHERE name = 'searched_seq'
"""
# An error is still to be found: such a call is looked at once more.
FORGET = """
UPDATE texts SET volume = NULL, request = NULL, answer = NULL,
    final = (SELECT error_code IS NULL FROM calls WHERE calls.seq = texts.seq)
WHERE seq = ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is to be found of one call."""

    seq: int
    final: bool
    request: str = ""
    answer: str = ""
    error: str = ""
    request_preview: str | None = None
    answer_preview: str | None = None

    @property
    def chars(self) -> int:
        """How much there is to index."""
        return len(self.request) + len(self.answer) + len(self.error)


def write_entries(
    connection: sqlite3.Connection,
    entries: Sequence[Entry],
    *,
    searched_seq: int,
    into: int | None = None,
) -> None:
    """Index *entries*, and note that all calls up to *searched_seq* were looked at.

    A call stays in the volume it is in, where its newer row hides the older one; a moved one goes
    *into* that volume. What was deleted meanwhile is left out.
    """
    with transaction(connection):
        for entry in entries:
            if connection.execute(IS_HERE, (entry.seq,)).fetchone() is None:
                continue
            volume, final = connection.execute(KNOWN, (entry.seq,)).fetchone() or (None, 0)
            if into is None and volume and (final or not entry.final):
                continue  # nothing is new
            number = into or volume or _volume(connection, entry)
            connection.execute(
                INSERT.format(number), (entry.seq, entry.request, entry.answer, entry.error)
            )
            connection.execute(
                REMEMBER,
                (entry.seq, number, entry.final, entry.request_preview, entry.answer_preview),
            )
            connection.execute(GROW, (entry.seq, entry.seq, 1, entry.chars, number))
        connection.execute(SEARCHED, (searched_seq,))


def new_volume(connection: sqlite3.Connection, seq: int, *, state: str = "open") -> int:
    """Make an empty volume, in one transaction with what surrounds it."""
    connection.execute("SAVEPOINT volume")
    (number,) = connection.execute(NEW_VOLUME, (seq, seq, state)).fetchall()[0]
    connection.execute(CREATE.format(number))
    for setting in SETTINGS:
        connection.execute(SET.format(number), setting)
    connection.execute("RELEASE volume")
    return int(number)


def open_volume(connection: sqlite3.Connection) -> int | None:
    """The volume that takes in new calls."""
    row = connection.execute(OPEN_VOLUME).fetchone()
    return row[0] if row else None


def merge(connection: sqlite3.Connection, number: int, *, whole: bool = False) -> bool:
    """Put a little of volume *number* in order; True: there is nothing more to do.

    *whole*: until it is one piece, which is quickest to search.
    """
    before = connection.total_changes
    with transaction(connection):
        connection.execute(SET.format(number), ("merge", -MERGE_PAGES if whole else MERGE_PAGES))
    return connection.total_changes - before < 2


def drop(connection: sqlite3.Connection, number: int) -> bool:
    """Remove a part of volume *number*, overwriting it; True: nothing is left of it."""
    with removing(connection):
        # From the first step on nobody may look into it.
        connection.execute("UPDATE volumes SET state = 'dropped' WHERE number = ?", (number,))
        gone = connection.execute(
            f"DELETE FROM search_{number}_data WHERE id IN"  # noqa: S608 - a number of ours
            f" (SELECT id FROM search_{number}_data WHERE id > 10 LIMIT ?)",
            (DROP_PAGES,),
        ).rowcount
        if gone:
            return False
        connection.execute(f"DROP TABLE search_{number}")
        connection.execute("DELETE FROM volumes WHERE number = ?", (number,))
    return True


def forget(connection: sqlite3.Connection, seqs: Iterable[int]) -> None:
    """The bodies of these calls are gone: their words are found no more, from this transaction on."""
    connection.executemany(FORGET, ((seq,) for seq in seqs))


def close_volume(connection: sqlite3.Connection, number: int) -> tuple[int, int]:
    """Let nothing more into volume *number*; its calls are from this seq up to that."""
    connection.execute("UPDATE volumes SET state = 'full' WHERE number = ?", (number,))
    first, last = connection.execute(BOUNDS, (number,)).fetchone()
    return first, last


def _volume(connection: sqlite3.Connection, entry: Entry) -> int:
    """The volume for a call that is in none."""
    row = connection.execute(OPEN_VOLUME).fetchone()
    if row is None:
        return new_volume(connection, entry.seq)
    number, calls, chars = row
    if calls < VOLUME_CALLS and chars < VOLUME_CHARS:
        return int(number)
    close_volume(connection, number)
    return new_volume(connection, entry.seq)
