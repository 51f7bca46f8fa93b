"""A delivery comes with the end of its call and goes with the call, whatever the code above does."""

import sqlite3
from contextlib import closing

import pytest

from gateway.journal.deliveries import (
    DeliveryStatus,
    DeliveryTry,
    Tried,
    begin_again,
    select_pending,
    select_tries,
)
from gateway.journal.migrate import load_migrations, migrate

FAILED_TRY = Tried(
    seq=1,
    last=DeliveryTry(1, 1000, 500, "it answered 500"),
    status=DeliveryStatus.PENDING,
    step=1,
    next_ms=6000,
)


@pytest.fixture
def connection(tmp_path):
    """Yield a connection to an empty file, opened as the writer's."""
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


def insert(connection, seq, status="running", webhook="https://hooks.example.com/"):
    columns = connection.execute("PRAGMA table_info(calls)").fetchall()
    values = {row[1]: "0" for row in columns if row[3]}
    values |= {"seq": seq, "id": f"call_{seq}", "status": status, "webhook": webhook}
    marks = ", ".join("?" * len(values))
    connection.execute(
        f"INSERT INTO calls ({', '.join(values)}) VALUES ({marks})", (*values.values(),)
    )


def end(connection, status):
    connection.execute("UPDATE calls SET status = ?, finished_ms = 700", (status,))


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "expired"])
def test_the_end_of_a_call_makes_its_delivery_pending(connection, status):
    migrate(connection, load_migrations())
    insert(connection, 1)
    insert(connection, 2, webhook=None)
    connection.execute("UPDATE calls SET status = 'queued'")
    assert select_pending(connection) == []
    end(connection, status)

    (pending,) = select_pending(connection)
    assert (pending.seq, pending.call_id, pending.next_ms) == (1, "call_1", 700)


def test_an_end_that_is_written_twice_is_one_delivery(connection):
    migrate(connection, load_migrations())
    insert(connection, 1)
    end(connection, "failed")
    FAILED_TRY(connection)
    FAILED_TRY(connection)
    end(connection, "failed")

    (pending,) = select_pending(connection)
    assert (pending.attempts, pending.step, pending.next_ms) == (1, 1, 6000)
    assert select_tries(connection, 1) == [FAILED_TRY.last]
    begin_again(1, now_ms=2000)(connection)
    (pending,) = select_pending(connection)
    assert (pending.attempts, pending.step, pending.next_ms) == (1, 0, 2000)


def test_a_try_that_ends_after_its_call_was_deleted_leaves_nothing(connection):
    migrate(connection, load_migrations())
    insert(connection, 1)
    end(connection, "failed")
    FAILED_TRY(connection)
    connection.execute("DELETE FROM calls")
    FAILED_TRY(connection)
    begin_again(1, now_ms=2000)(connection)

    for table in ("deliveries", "delivery_tries"):
        assert connection.execute(f"SELECT * FROM {table}").fetchall() == []


def test_calls_of_an_older_journal_are_not_told_late(connection):
    migrate(connection, load_migrations()[:1])
    insert(connection, 1, status="failed")
    insert(connection, 2, status="running")
    migrate(connection, load_migrations())

    assert connection.execute("SELECT seq, status FROM deliveries").fetchall() == [(1, "failed")]
    assert select_pending(connection) == []
