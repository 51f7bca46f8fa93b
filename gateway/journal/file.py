"""The journal's file as its writer has it: opened, migrated, written, and brought back to life.

Everything that touches the disk happens in the connection's thread, never on the event loop.
"""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import aiosqlite
import structlog

from gateway.call import Call
from gateway.errors import JournalDamaged, JournalUnavailable
from gateway.journal.backlog import Post
from gateway.journal.connection import FileIdentity, create_file, in_thread, open_writer
from gateway.journal.integrity import RESTORE, check_before_opening
from gateway.journal.migrate import load_migrations, migrate
from gateway.journal.recovery import open_calls
from gateway.journal.transaction import forget, write

log = structlog.get_logger(__name__)

#: After these a connection is as good as before. After any other, above all a failed fsync, which
#: no later one heals, it is closed and opened anew.
HARMLESS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
}

#: Work beside the rounds, one transaction at a time; True: that was the last.
Step: TypeAlias = Callable[[sqlite3.Connection], bool]

NEXT_SEQ = """
SELECT 1 + max(coalesce((SELECT max(seq) FROM calls), 0), coalesce((SELECT max(seq) FROM parts), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'deleted_seq'), 0))
"""
FIRST_KEY = "INSERT OR IGNORE INTO meta (name, value) VALUES ('client_key', ?)"
CLIENT_KEY = "SELECT value FROM meta WHERE name = 'client_key'"
NEVER_ACCEPTED = "SELECT seq, '' FROM incoming"

#: As large as a record with bodies: a smaller one may fit where no call does.
PROBE = (
    "INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', hex(zeroblob(32768)))",
    "DELETE FROM meta WHERE name = 'probe'",
)


@dataclass(slots=True, kw_only=True)
class JournalFile:
    """A journal opened for writing."""

    path: Path
    durability: str
    busy_timeout_ms: int
    connection: aiosqlite.Connection
    identity: FileIdentity
    next_seq: int  #: above every seq in the file
    client_key: bytes  #: 32 random bytes, made once a file: keys the hashes of client credentials
    _broken: bool = False

    async def write(self, posts: Sequence[Post], *, check_identity: bool = False) -> None:
        """Commit *posts* or nothing; see `transaction.write`.

        Raises: sqlite3.Error; OSError, when the file is no longer where it was opened
        """
        await in_thread(self.connection, self._write, posts, check_identity)

    async def take(self, step: Step) -> bool:
        """Let *step* work on the file; what it returns."""
        return await in_thread(self.connection, step)

    async def restore(self, refused: Mapping[int, str]) -> None:
        """Make sure that records can be written again; calls *refused* (seq: id) leave no trace.

        Raises: sqlite3.Error, OSError, JournalUnavailable: not yet
        """
        if self._broken:
            await self._reopen()
        await in_thread(self.connection, self._restore, refused)

    def note_failure(self, error: Exception) -> None:
        """Decide by *error* whether the connection can be trusted any longer."""
        if isinstance(error, sqlite3.Error):
            code = getattr(error, "sqlite_errorcode", None)
            self._broken |= code is None or code & 0xFF not in HARMLESS

    async def open_calls(self) -> list[Call]:
        """The calls that are queued or running in the file."""
        return await in_thread(self.connection, open_calls)

    async def close(self) -> None:
        """Close the connection; the last one to close folds the write-ahead log in."""
        with suppress(sqlite3.Error):
            await self.connection.close()

    def _write(
        self, connection: sqlite3.Connection, posts: Sequence[Post], check_identity: bool
    ) -> None:
        if check_identity:
            self.identity.check()
        if posts:
            write(connection, posts)

    async def _reopen(self) -> None:
        await self.close()
        # Another file would take the log for its own: fold it in when it is closed, and remove it.
        await asyncio.to_thread(self.identity.check, log_too=False)
        self.connection = await open_writer(
            self.path, durability=self.durability, busy_timeout_ms=self.busy_timeout_ms
        )
        self.identity = await in_thread(self.connection, self._recognise)
        self._broken = False

    def _recognise(self, connection: sqlite3.Connection) -> FileIdentity:
        """The same file with, perhaps, a new write-ahead log; readable from the start."""
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        found = FileIdentity.of(self.path)
        if found.inodes[self.path] != self.identity.inodes[self.path]:
            self.identity.check()
        return found

    def _restore(self, connection: sqlite3.Connection, refused: Mapping[int, str]) -> None:
        self.identity.check()
        forget(connection, refused.items())
        for statement in PROBE:
            connection.execute(statement)


async def open_file(path: Path, *, durability: str, busy_timeout_ms: int) -> JournalFile:
    """Open the journal at *path*, made and migrated as needed; the caller closes it.

    Raises: JournalDamaged; JournalUnavailable, where it cannot be written now
    """
    power_loss = durability == "power-loss"
    try:
        migrations = await asyncio.to_thread(_make_ready, path, power_loss)
        connection = await open_writer(path, durability=durability, busy_timeout_ms=busy_timeout_ms)
        try:
            next_seq, client_key = await in_thread(connection, _start, migrations)
            identity = await in_thread(connection, lambda _: FileIdentity.of(path))
        except BaseException:
            await connection.close()
            raise
    except (sqlite3.OperationalError, OSError) as error:
        raise JournalUnavailable(f"{path} cannot be written: {error}") from error
    except sqlite3.DatabaseError as error:
        raise JournalDamaged(f"{path} is damaged: {error}. {RESTORE}") from error
    log.info("journal_opened", path=str(path), durability=durability, sqlite=sqlite3.sqlite_version)
    return JournalFile(
        path=path,
        durability=durability,
        busy_timeout_ms=busy_timeout_ms,
        connection=connection,
        identity=identity,
        next_seq=next_seq,
        client_key=client_key,
    )


def _make_ready(path: Path, power_loss: bool) -> tuple[str, ...]:
    migrations = load_migrations()
    check_before_opening(path, known_version=len(migrations), power_loss=power_loss)
    create_file(path)
    return migrations


def _start(connection: sqlite3.Connection, migrations: Sequence[str]) -> tuple[int, bytes]:
    migrate(connection, migrations)
    forget(connection, connection.execute(NEVER_ACCEPTED).fetchall())
    connection.execute(FIRST_KEY, (secrets.token_hex(32),))
    next_seq: int = connection.execute(NEXT_SEQ).fetchone()[0]
    (client_key,) = connection.execute(CLIENT_KEY).fetchone()
    return next_seq, bytes.fromhex(client_key)
