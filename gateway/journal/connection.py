"""How the journal's file is opened, and how work reaches the thread that holds it.

Exactly one connection writes and checkpoints: every SQLite below 3.51.3 can lose commits when two
do. Everybody else reads, through `open_read_only()`.
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from gateway.errors import JournalUnavailable
from gateway.journal.transaction import CACHED_STATEMENTS

P = ParamSpec("P")
T = TypeVar("T")

#: How long a foreign process may hold the file before new calls are refused; that has to be loud
#: within 2 s. We never contend with ourselves.
BUSY_TIMEOUT_MS = 1_500

STEPS = 10_000  # of SQLite's machine: about 1 ms

SYNCHRONOUS = {
    "power-loss": "FULL",  # every commit is on the disk before anybody hears of it
    "process": "NORMAL",  # on the disk at the next checkpoint; in the kernel at once
}

PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",  # an I/O error inside a mapping is a signal, not an error code
    "PRAGMA journal_size_limit = 67108864",  # the WAL is cut back to this after a checkpoint
    "PRAGMA wal_autocheckpoint = 1000",  # pages
)


async def open_writer(path: Path, *, durability: str, busy_timeout_ms: int) -> aiosqlite.Connection:
    """Open the one connection that writes the existing file at *path*; the caller closes it.

    Raises: sqlite3.Error; JournalUnavailable, where the file system cannot hold a WAL
    """
    connection = await _connect(path, "rw")
    try:
        await in_thread(connection, _prepare, durability, busy_timeout_ms)
    except BaseException:
        await connection.close()
        raise
    return connection


async def open_read_only(path: Path) -> aiosqlite.Connection:
    """Open a connection that reads *path* and never checkpoints; the caller closes it."""
    connection = await _connect(path, "ro")
    try:
        await in_thread(connection, _prepare_reading)
    except BaseException:
        await connection.close()
        raise
    return connection


async def in_thread(
    connection: aiosqlite.Connection,
    function: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run *function* with the sqlite3 connection in its own thread: one hop, whatever it does.

    Cancelling the wait does not cancel the function. aiosqlite has no public name for this.
    """
    work = connection._execute(function, connection._conn, *args, **kwargs)  # type: ignore[no-untyped-call]
    result: T = await work
    return result


@contextmanager
def interrupted_at(
    connection: sqlite3.Connection, deadline: float | None, *, every: int = STEPS
) -> Iterator[None]:
    """Interrupt what runs beyond *deadline* of the monotonic clock (SQLITE_INTERRUPT); None: nothing.

    *every*: steps of SQLite's machine between two looks at the clock.
    """
    if deadline is None:
        yield
        return
    connection.set_progress_handler(lambda: time.monotonic() > deadline, every)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def create_file(path: Path) -> None:
    """Make sure that there is a file. A new one is its owner's alone, as are SQLite's beside it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def file_uri(path: Path, mode: str) -> str:
    """SQLite's URI for *path*; *mode* `ro` or `rw`, neither of which creates a file."""
    return f"{path.absolute().as_uri()}?mode={mode}"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which files a connection has open. A removed or replaced one takes writes into nowhere."""

    path: Path
    inodes: dict[Path, tuple[int, int]]

    @classmethod
    def of(cls, path: Path) -> "FileIdentity":
        """What stands at *path* now; not by its descriptor: closing one drops SQLite's locks."""
        paths = (path, path.with_name(path.name + "-wal"))
        return cls(path, {each: _inode(each) for each in paths})

    def check(self, *, log_too: bool = True) -> None:
        """Raise OSError when other files stand there by now, or none."""
        for path, inode in self.inodes.items():
            if path != self.path and not log_too:
                continue
            try:
                changed = _inode(path) != inode
            except FileNotFoundError:
                changed = True
            if changed:
                raise OSError(
                    f"{path} was moved, removed or replaced while in use: put it back, or restart"
                )


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


async def _connect(path: Path, mode: str) -> aiosqlite.Connection:
    # At DEBUG aiosqlite logs the arguments of what it runs: whole bodies.
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
    connection = aiosqlite.connect(
        file_uri(path, mode), uri=True, isolation_level=None, cached_statements=CACHED_STATEMENTS
    )
    try:
        return await connection
    except BaseException:
        # aiosqlite has told its thread to end; a thread that outlives the loop ends in a traceback.
        await asyncio.to_thread(connection._thread.join)
        raise


def _prepare(connection: sqlite3.Connection, durability: str, busy_timeout_ms: int) -> None:
    connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
    # Retention frees space in small steps. Counts only before the first page, so before WAL.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise JournalUnavailable("the file system of the journal cannot hold a write-ahead log")
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[durability]}")
    for pragma in PRAGMAS:
        connection.execute(pragma)


def _prepare_reading(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    for pragma in (*PRAGMAS, "PRAGMA wal_autocheckpoint = 0", "PRAGMA query_only = 1"):
        connection.execute(pragma)
