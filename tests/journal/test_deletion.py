"""Deleting a call: it vanishes at once and whole, its bodies go in steps, and a crash leaves nothing."""

import sqlite3
from contextlib import closing

import pytest

from gateway.call import PART_BYTES, Part
from gateway.errors import JournalUnavailable
from gateway.journal.deletion import STEP_ROWS, TABLES, Deletion
from tests.running_journal import (
    begin_attempt,
    committed,
    end_attempt,
    end_call,
    make_call,
    open_running,
)

SECRET = b"nobody reads this again" * 100
LARGE = b"x" * (10 * PART_BYTES)


@pytest.fixture
def db(tmp_path):
    """Return where the journal is."""
    return tmp_path / "gateway.db"


async def record(journal, body=b"{}", answer=b"answer"):
    """Record a finished call."""
    call = make_call(journal.next_seq(), body=body)
    begin_attempt(call)
    await journal.accept(call)
    attempt = end_attempt(call, body_bytes=len(answer))
    end_call(call)
    await journal.update(call, ended=[attempt], parts=[Part(attempt=1, start=0, data=answer)])
    return call


def left(db):
    """Return how many rows each table has, the empty ones left out."""
    tables = (*TABLES, "parts", "incoming")
    counts = {table: committed(db, f"SELECT count(*) FROM {table}")[0][0] for table in tables}
    return {table: count for table, count in counts.items() if count}


async def test_nothing_of_a_deleted_call_is_left(db):
    async with open_running(db) as journal:
        kept, gone = await record(journal), await record(journal)
        await journal.delete(gone.seq)

        assert committed(db, "SELECT id FROM calls") == [(kept.id,)]
        assert left(db) == {"calls": 1, "requests": 1, "attempts": 1, "parts": 2}


async def test_a_large_body_goes_in_steps_between_which_others_write(db):
    async with open_running(db) as journal:
        call = await record(journal, body=LARGE)
        deleted = journal.delete(call.seq)
        await record(journal)  # several commits, each with its turn

        await deleted
        assert left(db) == {"calls": 1, "requests": 1, "attempts": 1, "parts": 2}


async def test_many_go_in_steps_that_hold_the_writer_for_little(db, monkeypatch):
    taken = []

    def step(self, connection):
        before = connection.total_changes
        done = whole(self, connection)
        taken.append(connection.total_changes - before)
        return done

    whole = Deletion.__call__
    monkeypatch.setattr(Deletion, "__call__", step)
    async with open_running(db) as journal:
        calls = [await record(journal) for _ in range(120)]
        kept = await record(journal)
        large = await record(journal, body=LARGE)

        await journal.delete(*(call.seq for call in calls), large.seq)
        assert committed(db, "SELECT id FROM calls") == [(kept.id,)]
        assert left(db) == {"calls": 1, "requests": 1, "attempts": 1, "parts": 2}

    # Of a call a step looks at three rows, and five change; pieces of 256 KiB go four at a time.
    assert max(taken) <= 2 * STEP_ROWS
    assert taken[-2:] == [5, 5]


async def test_a_crash_between_the_steps_leaves_nothing_after_the_next_start(db):
    async with open_running(db) as journal:
        call = await record(journal, body=LARGE)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        step = Deletion(call.seq)
        assert step(connection) is False
    assert left(db).keys() == {"parts", "incoming"}

    async with open_running(db):
        assert left(db) == {}


async def test_the_bytes_are_gone_from_the_file(db):
    async with open_running(db) as journal:
        call = await record(journal, answer=SECRET)
        await journal.delete(call.seq)
        await record(journal)

    assert SECRET[:40] not in db.read_bytes()


async def test_a_seq_is_never_given_again(db):
    async with open_running(db) as journal:
        await record(journal)
        call = await record(journal)
        await journal.delete(call.seq)
        first = await record(journal)
        await journal.delete(first.seq)
    async with open_running(db) as journal:
        assert journal.next_seq() == first.seq + 1


async def test_work_that_fails_fails_alone(db):
    async with open_running(db) as journal:
        work = journal.work(lambda connection: connection.execute("SELECT ?") is None)
        with pytest.raises(Exception, match="refused"):
            await work

        assert await journal.accept(make_call(journal.next_seq())) is True


async def test_an_outage_fails_the_work_and_nothing_else(db):
    def fail(connection):
        raise sqlite3.OperationalError("disk I/O error")

    async with open_running(db) as journal:
        call = make_call(journal.next_seq())
        await journal.accept(call)
        with pytest.raises(JournalUnavailable):
            await journal.work(fail)
        await journal.wait_available()
        end_call(call)

        assert await journal.update(call) is True
    assert left(db)["calls"] == 1


async def test_nobody_waits_for_work_after_the_end(db):
    async with open_running(db) as journal:
        pass

    with pytest.raises(JournalUnavailable):
        await journal.delete(1)
