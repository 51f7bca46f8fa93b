"""How the journal is, found out cheaply however many calls it holds."""

import os
import sqlite3
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.journal.connection import interrupted_at

COUNT_WITHIN_S = 0.02
STEPS = 1_000  # of SQLite's machine between two looks at the clock

# A seq is given to each call in turn, so the difference is the calls that were not looked at yet.
BOUNDS = """
SELECT (SELECT created_ms FROM calls ORDER BY seq LIMIT 1),
       (SELECT created_ms FROM calls ORDER BY seq DESC LIMIT 1),
       coalesce((SELECT max(seq) FROM calls), 0)
         - coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'searched_seq'), 0)
"""
COUNT = "SELECT count(*) FROM calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in the file."""

    calls: int | None  #: None: so many that counting them takes too long
    oldest_ms: int | None
    newest_ms: int | None
    unsearched: int  #: calls that full-text search does not know yet


def select_contents(connection: sqlite3.Connection) -> Contents:
    """Look into the file, for some 20 ms at most."""
    oldest_ms, newest_ms, unsearched = connection.execute(BOUNDS).fetchone()
    calls: int | None = None
    with interrupted_at(connection, time.monotonic() + COUNT_WITHIN_S, every=STEPS):
        try:
            calls = connection.execute(COUNT).fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
    return Contents(
        calls=calls, oldest_ms=oldest_ms, newest_ms=newest_ms, unsearched=max(0, unsearched)
    )


def file_sizes(path: Path) -> dict[str, int]:
    """Bytes of the file and its write-ahead log, and those free on its disk. Blocks."""
    wal, disk = path.with_name(path.name + "-wal"), os.statvfs(path)
    return {
        "file_bytes": path.stat().st_size,
        "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        "free_bytes": disk.f_bavail * disk.f_frsize,
    }


def shared_directory(journal: Path) -> Path | None:
    """The directory of *journal* where others than its owner may write to it, else None. Blocks.

    Whoever may can put another file in the journal's place, whatever the file's own mode says.
    """
    directory = journal.parent
    try:
        mode = directory.stat().st_mode
    except OSError:
        return None  # opening the journal will say why
    return directory if mode & (stat.S_IWGRP | stat.S_IWOTH) else None
