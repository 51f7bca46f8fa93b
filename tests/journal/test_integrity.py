"""Damage is told and left as it is."""

import asyncio
import os
import sqlite3
import struct
from contextlib import closing

import pytest

from gateway.errors import JournalDamaged
from gateway.journal.integrity import FRAME_HEADER, WAL_HEADER, quick_check
from gateway.journal.writer import open_journal
from tests.running_journal import NOW, committed, make_call, open_running

FRAME_BYTES = FRAME_HEADER.size + 4096


@pytest.fixture
def db(tmp_path):
    """Return where the journal is."""
    return tmp_path / "gateway.db"


async def record(db, calls=12):
    async with open_running(db) as journal:
        for _ in range(calls):
            await journal.accept(make_call(journal.next_seq()))


async def record_and_die(db, calls=12):
    """Leave the files of a process that was killed: calls in the write-ahead log."""
    async with open_running(db) as journal:
        for _ in range(calls):
            await journal.accept(make_call(journal.next_seq()))
        left = {path: path.read_bytes() for path in (db, wal_of(db))}
    for path, content in left.items():
        path.write_bytes(content)


def wal_of(db):
    return db.with_name(db.name + "-wal")


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0xFF]))


async def refused(db, durability="power-loss"):
    """Why the journal does not open; checks that its files stay as they are."""
    before = {path: path.read_bytes() for path in (db, wal_of(db)) if path.exists()}
    with pytest.raises(JournalDamaged) as raised:
        async with open_journal(db, durability=durability, now=lambda: NOW):
            pass
    assert before == {path: path.read_bytes() for path in before}
    return raised.value.message


async def test_what_is_no_database_is_refused(db):
    db.write_bytes(b"Dear diary, " * 1000)

    assert "is not a SQLite database" in await refused(db)


async def test_another_programs_database_is_refused(db):
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TABLE recipes (cake)")

    assert "other program's" in await refused(db)


async def test_a_journal_of_a_newer_gateway_is_refused_by_its_version(db):
    await record(db)
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA user_version = 99")

    assert "has schema 99" in await refused(db)


async def test_a_truncated_journal_is_refused(db):
    await record(db)
    os.truncate(db, 8192)

    assert "damaged" in await refused(db)


async def test_a_missing_file_whose_log_is_left_is_refused(db):
    await record_and_die(db)
    db.unlink()
    assert "is gone, yet" in await refused(db)

    db.touch()
    assert "is gone, yet" in await refused(db)


async def test_an_empty_file_is_a_new_journal(db):
    db.touch()
    await record(db, calls=1)

    assert committed(db, "SELECT count(*) FROM calls") == [(1,)]


async def test_a_log_with_a_damaged_header_is_refused(db):
    """SQLite would take it for empty and silently lose its calls."""
    await record_and_die(db)
    flip(wal_of(db), 17)

    assert "damaged at its beginning" in await refused(db)


async def test_a_log_damaged_before_its_last_commit_is_refused(db):
    """SQLite would silently stop there."""
    await record_and_die(db)
    frames = (wal_of(db).stat().st_size - WAL_HEADER.size) // FRAME_BYTES
    flip(wal_of(db), WAL_HEADER.size + (frames // 2) * FRAME_BYTES + 1000)

    assert "is damaged after frame" in await refused(db)


async def test_a_last_commit_torn_by_a_power_cut_is_no_damage(db):
    """Nobody was told of it."""
    await record_and_die(db)
    os.truncate(wal_of(db), wal_of(db).stat().st_size - 100)

    async with open_journal(db, durability="power-loss", now=lambda: NOW) as journal:
        assert len(await journal.open_calls()) == 11


async def test_leftovers_of_failed_commits_are_no_damage(db):
    """A commit that failed in its fsync is overwritten by the next, perhaps shorter one."""
    await record_and_die(db)
    wal = wal_of(db).read_bytes()
    frames = [wal[at : at + FRAME_BYTES] for at in range(WAL_HEADER.size, len(wal), FRAME_BYTES)]
    commits = [frame for frame in frames if struct.unpack_from(">4xI", frame)[0]]
    # After the last commit: one that does not continue it, and a frame that does not continue that.
    wal_of(db).write_bytes(wal + commits[0] + commits[-1])

    async with open_journal(db, durability="power-loss", now=lambda: NOW) as journal:
        assert len(await journal.open_calls()) == 12


async def test_with_durability_process_the_log_is_what_sqlite_makes_of_it(db):
    """After a power cut any commit since the last checkpoint may be torn."""
    await record_and_die(db)
    frames = (wal_of(db).stat().st_size - WAL_HEADER.size) // FRAME_BYTES
    flip(wal_of(db), WAL_HEADER.size + (frames // 2) * FRAME_BYTES + 1000)

    async with open_journal(db, durability="process", now=lambda: NOW) as journal:
        assert 0 < len(await journal.open_calls()) < 12


async def test_a_damaged_page_is_found_after_the_start_and_ends_acceptance(db):
    await record(db, calls=200)
    async with open_running(db) as journal:
        assert await journal.quick_check() == []
    with closing(sqlite3.connect(db)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_calls_1'"
        ).fetchone()
    flip(db, (root - 1) * 4096 + 3)  # how many cells the page has

    async with open_running(db) as journal:
        assert journal.available
        assert await journal.quick_check()

        assert not journal.available
        assert "is damaged" in (journal.problem or "")


async def test_a_check_of_all_pages_can_be_given_up(db):
    """A stop does not wait for it."""
    await record(db)

    async with asyncio.TaskGroup() as tasks:
        check = tasks.create_task(quick_check(db))
        await asyncio.sleep(0)
        check.cancel()

    assert check.cancelled()
