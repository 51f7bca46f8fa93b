"""Looking for calls, newest or oldest first, in windows of seq and under a time limit.

A list must not take seconds, however rare what it shows, and must not pretend to have looked
everywhere: it goes window by window, each at most twice as large as the one before, and where its time
ends it says how far it came. The first, small window is always looked through, so whoever asks again
from there gets on.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from gateway.journal.connection import interrupted_at
from gateway.journal.search.matching import Value

FIRST_CALLS = 1_024
MOST_CALLS = 65_536  # some 60 ms without an index
MOST_SEARCHED_CALLS = 16_384  # of full text: about a volume

#: How far a clock may have been set back before `since` and `until` miss calls: they are looked for
#: where such a time stands in the order of acceptance, and so far beyond.
CLOCK_MS = 3_600_000

NEXT = "SELECT seq, created_ms FROM calls WHERE seq >= ? ORDER BY seq LIMIT 1"
# Asked together, SQLite would look at all calls for them.
ENDS = "SELECT (SELECT min(seq) FROM calls), (SELECT max(seq) FROM calls)"
VOLUMES = "SELECT number, first_seq, last_seq FROM volumes WHERE state <> 'dropped'"
# A row of a volume counts while `texts` says so: the text of what was removed is not found.
FOUND = """
SELECT rowid FROM search_{0} WHERE search_{0} MATCH :match_{1} AND rowid BETWEEN :low AND :high
AND EXISTS (SELECT 1 FROM texts WHERE texts.seq = search_{0}.rowid AND texts.volume = {0})
"""
NOTHING = "SELECT NULL WHERE FALSE"
# One look into the index a name.
DISTINCT = """
WITH RECURSIVE names (name) AS (
    SELECT min({0}) FROM calls WHERE {0} IS NOT NULL UNION ALL
    SELECT (SELECT min({0}) FROM calls WHERE {0} > name) FROM names WHERE name IS NOT NULL
) SELECT name FROM names LIMIT :most
"""
MOST_NAMES = 500
KNOWN = "SELECT value FROM json_each(:names_{0}) WHERE value GLOB :glob_{0}"
IN_WINDOW = "SELECT {0} FROM calls WHERE {0} GLOB :glob_{1} AND seq BETWEEN :low AND :high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which calls, and in which direction."""

    conditions: tuple[str, ...] = ()  #: SQL over `calls`; all must hold
    values: dict[str, Value] = field(default_factory=dict)  #: theirs
    expressions: tuple[str, ...] = ()  #: FTS5's, of `found_0`, `found_1` …
    globs: tuple[tuple[str, str], ...] = ()  #: column and pattern, of `names_0`, `names_1` …
    low: int | None = None  #: the first seq
    high: int | None = None  #: and the last
    ascending: bool = False

    @property
    def where(self) -> str:
        """All conditions as one."""
        return " AND ".join((*self.conditions, "seq BETWEEN :low AND :high"))


@dataclass(slots=True)
class Scan:
    """What a search found, and how far it came."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    count: int = 0  #: of the rows, or what was only counted
    stopped_at: int | None = None  #: the last seq looked at, where time ended; None: at the end


def scan(
    connection: sqlite3.Connection,
    wanted: Wanted,
    columns: str | None,
    *,
    most: int,
    deadline: float,
) -> Scan:
    """*columns* of the first *most* calls that are *wanted*; None: they are only counted.

    *deadline* is of the monotonic clock.

    Raises: sqlite3.Error
    """
    done = Scan()
    ends = connection.execute(ENDS).fetchone()
    if ends[0] is None:
        return done
    low = max(ends[0], ends[0] if wanted.low is None else wanted.low)
    high = min(ends[1], ends[1] if wanted.high is None else wanted.high)
    volumes = connection.execute(VOLUMES).fetchall() if wanted.expressions else []
    names, values = _names(connection, wanted)
    sql = statement(wanted, columns)
    looked_to: int | None = None
    for window in _windows(low, high, wanted):
        if looked_to is not None and time.monotonic() >= deadline:
            done.stopped_at = looked_to
            break
        tables = ", ".join([*names, *_found(wanted.expressions, volumes, window)])
        values |= {"low": window[0], "high": window[1], "most": most - done.count}
        with interrupted_at(connection, deadline if looked_to is not None else None):
            try:
                found = connection.execute(f"WITH {tables} {sql}" if tables else sql, values)
                rows = found.fetchall()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
                done.stopped_at = looked_to
                break
        if columns is None:
            done.count += rows[0][0]
        else:
            done.rows += rows
            done.count = len(done.rows)
        if done.count >= most:
            break
        looked_to = window[0] if not wanted.ascending else window[1]
    return done


def statement(wanted: Wanted, columns: str | None) -> str:
    """What is asked in each window."""
    if columns is None:
        return f"SELECT count(*) FROM (SELECT 1 FROM calls WHERE {wanted.where} LIMIT :most)"  # noqa: S608
    order = "ASC" if wanted.ascending else "DESC"
    return f"SELECT {columns} FROM calls WHERE {wanted.where} ORDER BY seq {order} LIMIT :most"  # noqa: S608


def seq_about(connection: sqlite3.Connection, created_ms: int) -> int:
    """The seq from which on calls were accepted at *created_ms* or later; found by halving."""
    low, high = connection.execute(ENDS).fetchone()
    if low is None:
        return 0
    high += 1
    while low < high:
        middle = (low + high) // 2
        seq, created = connection.execute(NEXT, (middle,)).fetchone()
        if created < created_ms:
            low = int(seq) + 1
        else:
            high = middle
    return int(low)


def _windows(low: int, high: int, wanted: Wanted) -> Iterator[tuple[int, int]]:
    """Pieces of *low* … *high* in the order of the search; all at once where every call is wanted."""
    most = MOST_SEARCHED_CALLS if wanted.expressions else MOST_CALLS
    size = FIRST_CALLS if wanted.conditions else high - low + 1
    while low <= high:
        if wanted.ascending:
            yield low, min(high, low + size - 1)
            low += size
        else:
            yield max(low, high - size + 1), high
            high -= size
        size = max(min(2 * size, most), 1)


def _names(connection: sqlite3.Connection, wanted: Wanted) -> tuple[list[str], dict[str, Value]]:
    """The table expressions `names_<n>`, and all values that are the same in every window.

    Where there are too many different names, those of the window that match.
    """
    values = {**wanted.values}
    values |= {f"match_{n}": match for n, match in enumerate(wanted.expressions)}
    tables = []
    for n, (column, pattern) in enumerate(wanted.globs):
        found = connection.execute(DISTINCT.format(column), {"most": MOST_NAMES + 1}).fetchall()
        every = [name for (name,) in found if name is not None]
        if len(every) <= MOST_NAMES:
            names = KNOWN.format(n)
            values[f"names_{n}"] = to_json(every).decode()
        else:
            names = IN_WINDOW.format(column, n)
        values[f"glob_{n}"] = pattern
        tables.append(f"names_{n} (name) AS ({names})")
    return tables, values


def _found(
    expressions: Sequence[str], volumes: Sequence[tuple[int, int, int]], window: tuple[int, int]
) -> list[str]:
    """The table expressions `found_<n>` for calls of *window*."""
    near = [number for number, first, last in volumes if first <= window[1] and last >= window[0]]
    tables = []
    for n in range(len(expressions)):
        found = " UNION ALL ".join(FOUND.format(number, n) for number in near) or NOTHING
        tables.append(f"found_{n} (seq) AS ({found})")
    return tables
