"""Looking after a journal's file, also while a gateway writes it: check, backup, figures.

Invariant: the file is only read, through connections that never checkpoint.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gateway.errors import GatewayError, JournalDamaged
from gateway.journal.connection import in_thread, open_read_only
from gateway.journal.migrate import user_version
from gateway.journal.shapes import Json, rfc3339

T = TypeVar("T")

BY_STATUS = "SELECT status, count(*) FROM calls GROUP BY status ORDER BY status"
FIGURES = """
SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM parts),
       (SELECT coalesce(sum(length(data)), 0) FROM parts),
       (SELECT created_ms FROM calls ORDER BY seq LIMIT 1),
       (SELECT created_ms FROM calls ORDER BY seq DESC LIMIT 1)
"""


async def check(path: Path, *, full: bool = False) -> list[str]:
    """What is wrong with the journal at *path*, a line each; empty: nothing.

    *full* also compares every index with its table, and takes several times as long.
    """
    pragma = "integrity_check" if full else "quick_check"
    try:
        lines = await _read(path, lambda connection: _column(connection, f"PRAGMA {pragma}(20)"))
    except JournalDamaged as damaged:
        return [damaged.message]
    return [] if lines == ["ok"] else lines


async def backup(path: Path, destination: Path) -> int:
    """Write the journal at *path*, as it is at one instant, to a new file; how many bytes it has.

    The file appears whole or not at all.

    Raises: GatewayError, where *destination* exists or cannot be written; JournalDamaged
    """
    return await _read(path, lambda connection: _backup(connection, destination))


async def statistics(path: Path) -> Json:
    """Sizes and counts of the journal at *path*. Raises: JournalDamaged."""
    return await _read(path, lambda connection: _statistics(connection, path))


def _statistics(connection: sqlite3.Connection, path: Path) -> Json:
    connection.execute("BEGIN")
    calls: Json = dict(connection.execute(BY_STATUS).fetchall())
    attempts, parts, body_bytes, oldest_ms, newest_ms = connection.execute(FIGURES).fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    (free_pages,) = connection.execute("PRAGMA freelist_count").fetchone()
    connection.execute("ROLLBACK")
    wal = path.with_name(path.name + "-wal")
    return {
        "object": "journal",
        "path": str(path),
        "schema": user_version(connection),
        "sqlite": sqlite3.sqlite_version,
        "bytes": path.stat().st_size,
        "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        "free_bytes": free_pages * page_bytes,
        "calls": calls,
        "attempts": attempts,
        "body_parts": parts,
        "body_bytes": body_bytes,
        "oldest_call_at": rfc3339(oldest_ms),
        "newest_call_at": rfc3339(newest_ms),
    }


def _backup(connection: sqlite3.Connection, destination: Path) -> int:
    if destination.exists():
        raise GatewayError(f"{destination} exists; a backup overwrites nothing")
    unfinished = destination.with_name(f".{destination.name}.{os.getpid()}")
    # Off for this one: the statement writes, though only the other file.
    connection.execute("PRAGMA query_only = 0")
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        connection.execute("VACUUM INTO ?", (str(unfinished),))
        with unfinished.open("rb") as written:  # SQLite leaves it to the kernel
            os.fsync(written.fileno())
        unfinished.rename(destination)
    except OSError as error:
        raise GatewayError(f"{destination} cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return destination.stat().st_size


def _column(connection: sqlite3.Connection, sql: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(sql)]


async def _read(path: Path, read: Callable[[sqlite3.Connection], T]) -> T:
    """What *read* makes of a connection of its own; interrupted when cancelled."""
    try:
        connection = await open_read_only(path)
        try:
            return await in_thread(connection, read)
        finally:
            await connection.interrupt()
            await connection.close()
    except sqlite3.Error as error:
        raise JournalDamaged(f"{path} cannot be read: {error}") from error
