"""Retention: what is old goes, bodies first; what is young or not final stays whole."""

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from gateway.call import PART_BYTES, Part
from gateway.journal import deletion, retention
from gateway.journal.retention import Pruned, Retention
from tests.running_journal import (
    NOW,
    begin_attempt,
    committed,
    end_attempt,
    end_call,
    make_call,
    open_running,
)

DAY = 86_400.0


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Do not wait between steps."""
    monkeypatch.setattr(retention, "PAUSE_S", 0)


@pytest.fixture
def db(tmp_path):
    """Return where the journal is."""
    return tmp_path / "gateway.db"


async def record(journal, *, age_days=0.0, final=True, body=b"{}", parts=1):
    """Record a call that ended so long ago, or did not end."""
    at = NOW - age_days * DAY
    call = make_call(journal.next_seq(), body=body, created_at=at - 60, detached=True)
    begin_attempt(call)
    await journal.accept(call)
    if final:
        attempt = end_attempt(call, body_bytes=parts)
        end_call(call)
        call.finished_at = at
        pieces = [Part(attempt=1, start=at, data=b"x") for at in range(parts)]
        await journal.update(call, ended=[attempt], parts=pieces)
    return call


def retain(journal, *, bodies=30.0, calls=365.0):
    """Return retention by these rules."""
    days = SimpleNamespace(keep_bodies_days=bodies, keep_calls_days=calls)
    return Retention(journal, lambda: days, lambda: NOW)


def having(db, table):
    return [seq for (seq,) in committed(db, f"SELECT DISTINCT seq FROM {table} ORDER BY seq")]


async def test_old_bodies_go_and_their_calls_stay(db):
    async with open_running(db) as journal:
        for age_days in (40, 31, 29, 0):
            await record(journal, age_days=age_days)
        pruned = await retain(journal).prune()
        again = await retain(journal).prune()

    assert pruned == Pruned(bodies=2, calls=0)
    assert again == Pruned(bodies=0, calls=0)
    assert having(db, "parts") == [3, 4]
    assert having(db, "calls") == having(db, "attempts") == having(db, "requests") == [1, 2, 3, 4]


async def test_old_calls_go_with_all_that_belongs_to_them(db):
    async with open_running(db) as journal:
        for age_days in (400, 366, 364):
            await record(journal, age_days=age_days)
        pruned = await retain(journal, bodies=0).prune()

    assert pruned == Pruned(bodies=0, calls=2)
    for table in ("calls", "attempts", "requests", "parts"):
        assert having(db, table) == [3]


async def test_zero_days_is_for_ever(db):
    async with open_running(db) as journal:
        await record(journal, age_days=10_000)
        pruned = await retain(journal, bodies=0, calls=0).prune()

    assert pruned == Pruned(0, 0)
    assert having(db, "parts") == having(db, "calls") == [1]


async def test_a_call_that_is_not_final_loses_nothing_however_old(db):
    async with open_running(db) as journal:
        await record(journal, age_days=1000, final=False)
        await record(journal, age_days=1000)
        await retain(journal).prune()

    assert having(db, "parts") == having(db, "calls") == [1]


async def test_age_counts_from_the_end(db):
    async with open_running(db) as journal:
        call = await record(journal, age_days=0)
        await journal.work(
            lambda connection: (
                connection.execute("UPDATE calls SET created_ms = 0 WHERE seq = ?", (call.seq,))
                is not None
            )
        )
        await retain(journal).prune()

    assert having(db, "parts") == having(db, "calls") == [1]


async def test_an_old_call_behind_young_ones_is_found(db):
    """The clock was wrong when the first were accepted."""
    async with open_running(db) as journal:
        for age_days in (0, 0, 400):
            await record(journal, age_days=age_days)
        await retain(journal).prune()

    assert having(db, "calls") == [1, 2]


async def test_a_step_is_bounded_in_rows_and_bytes(db, monkeypatch):
    """However much is old, between two steps everybody else writes."""
    steps = []
    async with open_running(db) as journal:
        await record(journal, age_days=40, parts=1200)
        for _ in range(3):
            await record(journal, age_days=40, body=b"x" * (3 * PART_BYTES))
        work = journal.work

        def counted(step):
            def take(connection):
                before = rows(connection)
                done = step(connection)
                after = rows(connection)
                steps.append((before[0] - after[0], (before[1] or 0) - (after[1] or 0)))
                return done

            return work(take)

        monkeypatch.setattr(journal, "work", counted)
        pruned = await retain(journal).prune()

    assert pruned == Pruned(bodies=4, calls=0)
    assert having(db, "parts") == []
    budget = deletion.Budget()
    assert max(rows for rows, _ in steps) <= budget.rows
    assert max(size for _, size in steps) <= budget.bytes + PART_BYTES
    assert len(steps) > 4


def rows(connection):
    return connection.execute("SELECT count(*), sum(length(data)) FROM parts").fetchone()


async def test_the_file_shrinks_and_the_bytes_are_gone(db):
    secret = b"nobody reads this again " * 40_000
    async with open_running(db) as journal:
        await record(journal, age_days=40, body=secret)
        await record(journal)
        await retain(journal).prune()
        free = committed(db, "PRAGMA freelist_count")

    assert free == [(0,)]
    content = db.read_bytes()
    assert secret[:24] not in content
    assert len(content) < 200_000


async def test_a_file_that_cannot_shrink_is_pruned_all_the_same(db):
    """Made by hand, without auto_vacuum."""
    with closing(sqlite3.connect(db)) as connection:
        connection.executescript("CREATE TABLE x (y); DROP TABLE x;")
    async with open_running(db) as journal:
        await record(journal, age_days=40, body=b"x" * 100_000)
        pruned = await retain(journal).prune()

    assert pruned == Pruned(bodies=1, calls=0)
