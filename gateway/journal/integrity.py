"""Is this file a journal, and whole? Damage is told, never served, and nothing is changed.

At start only what is quick to see is checked: header, schema number, write-ahead log (WAL). The
pages themselves take 0.8 s per 100,000 calls and are read afterwards, by `quick_check()`.
"""

import io
import sqlite3
import struct
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TypeAlias

from gateway.errors import JournalDamaged
from gateway.journal.connection import file_uri, in_thread, open_read_only
from gateway.journal.migrate import user_version

MAGIC = b"SQLite format 3\0"
RESTORE = "The file was left as it is. Restore a backup, or name another [journal] path."

# Formats: https://www.sqlite.org/walformat.html and https://www.sqlite.org/fileformat2.html
WAL_HEADER = struct.Struct(">8I")  # magic, version, page size, sequence, two salts, two checksums
WAL_MAGIC = (0x377F0682, 0x377F0683)
FRAME_HEADER = struct.Struct(">6I")  # page, pages after a commit (else 0), two salts, two checksums
Sums: TypeAlias = tuple[int, int]
MX_FRAME = struct.Struct("=16xI")  # in the WAL index: how many frames SQLite found valid


def check_before_opening(path: Path, *, known_version: int, power_loss: bool) -> None:
    """Raise JournalDamaged unless *path* is a journal, or a fresh or missing file.

    Reads the file by itself, so it must run before this process has it open: closing any
    descriptor of a file drops SQLite's locks on it.

    *power_loss*: every commit was on the disk before the next began, so a torn one is the last.
    Without that a power cut may leave any, and what SQLite makes of them is all there is.
    """
    wal = path.with_name(path.name + "-wal")
    wal_bytes = wal.stat().st_size if wal.exists() else 0
    with path.open("rb") if path.exists() else nullcontext() as file:
        header = file.read(len(MAGIC)) if file else b""
    if not header:
        if wal_bytes:
            raise JournalDamaged(f"{path} is gone, yet {wal} holds calls of it. {RESTORE}")
        return
    if header != MAGIC:
        raise JournalDamaged(f"{path} is not a SQLite database. {RESTORE}")
    if wal_bytes >= WAL_HEADER.size:
        _check_wal_header(wal)
    # A first start that died before the file had a WAL left a rollback journal, and only a writer
    # can undo what it had begun.
    mode = "rw" if path.with_name(path.name + "-journal").exists() else "ro"
    try:
        with closing(sqlite3.connect(file_uri(path, mode), uri=True)) as connection:
            _check_schema(connection, path, known_version)
            if wal_bytes and power_loss:
                _check_wal_frames(path, wal)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, no permission, disk error
            raise
        raise JournalDamaged(f"{path} is damaged: {error}. {RESTORE}") from error


async def quick_check(path: Path) -> list[str]:
    """Read every page of the journal at *path* through a connection of its own.

    Returns: what is wrong, one line each; empty when all is well
    """
    connection = await open_read_only(path)
    try:
        return await in_thread(connection, _quick_check)
    finally:
        await connection.interrupt()  # when cancelled: close() waits for what runs
        await connection.close()


def _quick_check(connection: sqlite3.Connection) -> list[str]:
    try:
        lines = [row[0] for row in connection.execute("PRAGMA quick_check(20)")]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if lines == ["ok"] else lines


def _check_schema(connection: sqlite3.Connection, path: Path, known_version: int) -> None:
    version = user_version(connection)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    if version > known_version:
        raise JournalDamaged(
            f"{path} has schema {version}, made by a newer gateway; this one knows up to"
            f" {known_version}. The file was left as it is. Run the newer gateway."
        )
    if tables and (version == 0 or "calls" not in tables):
        raise JournalDamaged(f"{path} is some other program's database. {RESTORE}")


def _check_wal_header(wal: Path) -> None:
    with wal.open("rb") as file:
        header = file.read(WAL_HEADER.size)
    if not any(header):  # never written: extended by a power cut, before any commit
        return
    words = WAL_HEADER.unpack(header)
    if words[0] not in WAL_MAGIC or words[6:] != _checksum(words[0], header[:24], (0, 0)):
        # SQLite would take such a log for empty, and its calls for never accepted.
        raise JournalDamaged(f"{wal} is damaged at its beginning. {RESTORE}")


def _check_wal_frames(path: Path, wal: Path) -> None:
    """Raise when commits follow a frame that SQLite found invalid, where it stops reading.

    A power cut can leave the last commit torn, which nobody was told of, but nothing written after
    it: the next begins when this one is on the disk. A frame was written after a commit when its
    checksum continues the commit's; leftovers of failed commits do not.
    """
    (valid,) = MX_FRAME.unpack_from(path.with_name(path.name + "-shm").read_bytes())
    with wal.open("rb") as file:
        magic, _, page_bytes, _, *salts = WAL_HEADER.unpack(file.read(WAL_HEADER.size))[:6]
        file.seek(valid * (FRAME_HEADER.size + page_bytes), io.SEEK_CUR)
        committed: Sums | None = None  # the checksum of the frame before, where that is a commit
        while len(frame := file.read(FRAME_HEADER.size + page_bytes)) > FRAME_HEADER.size:
            _, commit, salt, other_salt, *sums = FRAME_HEADER.unpack_from(frame)
            if [salt, other_salt] != salts:  # left over from before the WAL was begun anew
                committed = None
                continue
            if committed and (sums[0], sums[1]) == _checksum(
                magic, frame[:8] + frame[FRAME_HEADER.size :], committed
            ):
                raise JournalDamaged(f"{wal} is damaged after frame {valid}. {RESTORE}")
            committed = (sums[0], sums[1]) if commit else None


def _checksum(magic: int, data: bytes, sums: Sums) -> Sums:
    first, second = sums
    for one, two in struct.iter_unpack(">2I" if magic & 1 else "<2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second
