"""While the file cannot be written: loud, nothing accepted, nothing lost, and back by itself."""

import shutil
import sqlite3
from contextlib import closing, contextmanager

import pytest
from structlog.testing import capture_logs

from gateway.call import PART_BYTES, Part
from gateway.errors import JournalUnavailable
from gateway.journal.connection import in_thread
from gateway.journal.file import open_file
from tests.running_journal import (
    begin_attempt,
    committed,
    end_attempt,
    end_call,
    make_call,
    open_running,
)

REMEMBER = "INSERT INTO meta (name, value) VALUES ('remembered', 'yes')"


@pytest.fixture
def db(tmp_path):
    """Return where the journal is."""
    return tmp_path / "gateway.db"


@pytest.fixture
async def journal(db):
    """Yield a journal whose writer runs, and that gives up on a locked file soon."""
    async with open_running(db, busy_timeout_ms=1, parked_bytes=4 * PART_BYTES) as journal:
        yield journal


@pytest.fixture
def logs():
    """Return what is logged meanwhile."""
    with capture_logs() as entries:
        yield entries


@contextmanager
def locked(db):
    """Another program holds the file."""
    foreign = sqlite3.connect(db, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        foreign.close()


@contextmanager
def moved(path):
    away = path.with_name("away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


async def set_max_pages(journal, pages):
    await in_thread(
        journal._file.connection,
        lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone(),
    )


async def accepted(journal):
    call = make_call(journal.next_seq())
    begin_attempt(call)
    await journal.accept(call)
    return call


async def fails(journal):
    """Post calls until the journal cannot take one."""

    async def accept():
        while True:
            await journal.accept(make_call(journal.next_seq()))

    with pytest.raises(JournalUnavailable):
        await accept()


async def noticed(journal, call):
    """Post until the journal has noticed."""
    while await journal.update(call):
        pass


def finish(journal, call, data=b"answer"):
    attempt = end_attempt(call, body_bytes=len(data))
    end_call(call)
    return journal.update(
        call, ended=[attempt], parts=[Part(attempt=1, start=0, data=data)] if data else []
    )


async def test_a_full_disk_refuses_new_calls_and_keeps_the_rest_for_later(journal, db, logs):
    call = await accepted(journal)
    await set_max_pages(journal, 1)  # not one page more than it has
    await fails(journal)

    assert not journal.available
    assert "SQLITE_FULL" in journal.problem
    assert journal.statistics().unavailable_since is not None
    with pytest.raises(JournalUnavailable, match="full"):
        journal.accept(make_call(journal.next_seq()))
    assert await finish(journal, call) is False
    assert committed(db, "SELECT status FROM calls WHERE seq = ?", call.seq) == [("running",)]

    await set_max_pages(journal, 1_000_000)
    await journal.wait_available()

    assert journal.available
    assert committed(db, "SELECT status FROM calls WHERE seq = ?", call.seq) == [("succeeded",)]
    assert committed(db, "SELECT data FROM parts WHERE seq = ? AND attempt = 1", call.seq) == [
        (b"answer",)
    ]
    await accepted(journal)
    events = [entry["event"] for entry in logs if entry["event"] != "journal_opened"]
    assert events == ["journal_unavailable", "journal_recovered"]


async def test_a_locked_file_is_waited_out(journal, db):
    call = await accepted(journal)
    with locked(db):
        refused = make_call(journal.next_seq())
        updated = journal.update(call)
        with pytest.raises(JournalUnavailable, match="locked"):
            await journal.accept(refused)
        assert await updated is False
        call.client_gone = True
        assert await journal.update(call) is False
    await journal.wait_available()

    assert committed(db, "SELECT seq, client_gone, version FROM calls") == [(call.seq, 1, 3)]


async def test_an_outage_slows_nobody_down(journal, db):
    call = await accepted(journal)
    with locked(db):
        await fails(journal)
        for at in range(4):
            piece = Part(attempt=1, start=at * PART_BYTES, data=bytes(PART_BYTES))
            await journal.append(call, [piece])
        await journal.room()

    await journal.wait_available()


async def test_bodies_beyond_the_bound_are_given_up_loudly_and_never_called_complete(
    journal, db, logs
):
    kept, cut = await accepted(journal), await accepted(journal)
    with locked(db):
        await fails(journal)
        journal.append(kept, [Part(attempt=1, start=0, data=bytes(PART_BYTES))] * 4)
        journal.append(cut, [Part(attempt=1, start=0, data=bytes(PART_BYTES))])
        journal.append(cut, [Part(attempt=1, start=PART_BYTES, data=b"later")])
        assert await finish(journal, kept, b"") is False
    await journal.wait_available()
    journal.append(cut, [Part(attempt=1, start=PART_BYTES + 5, data=b"after the outage")])
    await finish(journal, cut, b"")

    assert committed(db, "SELECT seq, complete FROM calls") == [(kept.seq, 1), (cut.seq, 0)]
    assert committed(db, "SELECT seq, complete FROM attempts") == [(kept.seq, 1), (cut.seq, 0)]
    assert committed(db, "SELECT seq FROM parts WHERE attempt = 1") == [(kept.seq,)]
    assert journal.statistics().dropped_bytes == PART_BYTES + 5 + 16
    assert [entry["call"] for entry in logs if entry["event"] == "journal_body_cut"] == [cut.id]


async def test_a_large_body_refused_halfway_leaves_nothing(journal, db):
    large = make_call(journal.next_seq(), body=bytes(20 * PART_BYTES))
    posted = journal.accept(large)
    followed = journal.update(large)
    await accepted(journal)  # one round is written
    await set_max_pages(journal, 1)
    with pytest.raises(JournalUnavailable):
        await posted
    with pytest.raises(JournalUnavailable):
        await followed
    assert committed(db, "SELECT count(*) > 0 FROM parts WHERE seq = ?", large.seq) == [(1,)]

    await set_max_pages(journal, 1_000_000)
    await journal.wait_available()

    for table in ("calls", "requests", "parts", "incoming"):
        assert committed(db, f"SELECT seq FROM {table} WHERE seq = ?", large.seq) == []


async def test_a_connection_that_failed_to_write_is_not_trusted_again(journal, db):
    """An I/O error: the kernel may have dropped what a later fsync would claim to have written."""
    call = await accepted(journal)
    before = journal._file.connection
    with pytest.raises(JournalUnavailable):
        await _break(journal)
    assert await finish(journal, call) is False
    await journal.wait_available()

    assert journal._file.connection is not before
    assert committed(db, "SELECT status FROM calls WHERE seq = ?", call.seq) == [("succeeded",)]


async def _break(journal):
    """Have the next commit fail with an error that says nothing good about the connection."""

    def forbid(connection):
        connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)

    await in_thread(journal._file.connection, forbid)
    await journal.accept(make_call(journal.next_seq()))


@pytest.mark.parametrize("name", ["gateway.db", "gateway.db-wal"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_vanished_is_noticed_and_taken_again_when_it_is_back(
    db, name, replaced, logs
):
    async with open_running(db, watch_s=0.01) as journal:
        call = await accepted(journal)
        path = db.with_name(name)
        with moved(path):
            if replaced:
                shutil.copy(path.with_name("away"), path)
            await noticed(journal, call)

            assert f"{name} was moved, removed or replaced" in journal.problem
            assert await finish(journal, call) is False
        await journal.wait_available()

        assert committed(db, "SELECT status FROM calls") == [("succeeded",)]


async def test_a_failed_connection_opens_no_other_file_in_its_place(db):
    """Opened and closed, that would take our log for its own: fold it in, and remove it."""
    file = await open_file(db, durability="process", busy_timeout_ms=1)
    await file.take(lambda connection: connection.execute(REMEMBER))
    with closing(sqlite3.connect(db)) as reader:  # so that the log stays when the writer goes
        reader.execute("SELECT * FROM calls").fetchall()
        with moved(db):
            shutil.copy(db.with_name("away"), db)
            file.note_failure(sqlite3.OperationalError("an I/O error"))
            for _ in range(2):
                with pytest.raises(OSError, match="was moved, removed or replaced"):
                    await file.restore({})
        await file.restore({})
    await file.close()

    assert committed(db, "SELECT value FROM meta WHERE name = 'remembered'") == [("yes",)]
    assert committed(db, "PRAGMA integrity_check") == [("ok",)]


async def test_what_cannot_be_written_until_the_end_is_said_to_be_lost(db, logs):
    async with open_running(db, watch_s=0.01) as journal:
        call = await accepted(journal)
        db.unlink()
        await noticed(journal, call)
        assert await finish(journal, call) is False

    (entry,) = [entry for entry in logs if entry["event"] == "journal_records_lost"]
    assert entry["records"] == 2  # by which it was noticed, and the last
    assert "was moved, removed or replaced" in entry["problem"]


async def test_records_of_one_call_stay_in_order_through_an_outage(journal, db):
    calls = [await accepted(journal) for _ in range(50)]
    with locked(db):
        await fails(journal)
        for call in calls:
            journal.append(call, [Part(attempt=1, start=0, data=b"one")])
            call.client_gone = True
            journal.update(call)
            journal.append(call, [Part(attempt=1, start=3, data=b"two")])
            finish(journal, call, b"")
    await journal.wait_available()

    assert committed(
        db, "SELECT DISTINCT status, client_gone, version FROM calls WHERE seq <= 50"
    ) == [("succeeded", 1, 3)]
    assert committed(db, "SELECT count(*) FROM parts WHERE attempt = 1") == [(100,)]
