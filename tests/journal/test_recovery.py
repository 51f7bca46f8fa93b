"""What the last process left open comes back."""

import sqlite3
import tracemalloc
from contextlib import closing

import pytest

from gateway.call import Failure, OnDisconnect, Options, Outcome, Part, Status, WaitReason
from gateway.journal.writer import open_journal
from tests.running_journal import NOW, begin_attempt, end_attempt, end_call, make_call, open_running


@pytest.fixture
def db(tmp_path):
    """Return where the journal is."""
    return tmp_path / "gateway.db"


async def left(db):
    async with open_journal(db, durability="process", now=lambda: NOW) as journal:
        return await journal.open_calls()


async def test_open_calls_come_back_oldest_first_and_final_ones_do_not(db):
    async with open_running(db) as journal:
        calls = [make_call(journal.next_seq()) for _ in range(6)]
        for call in calls:
            journal.accept(call)
        begin_attempt(calls[1])
        end_call(calls[3], Status.CANCELLED)
        journal.update(calls[1])
        journal.update(calls[3])

    assert [call.seq for call in await left(db)] == [1, 2, 3, 5, 6]


async def test_a_call_comes_back_as_it_was(db):
    async with open_running(db) as journal:
        call = make_call(
            journal.next_seq(),
            query="alt=sse",
            headers=((b"Authorization", b"Bearer s3cret"),),
            options=Options(
                priority=2,
                fairness_key="tenant",
                queue_timeout_s=1.5,
                tags={"team": "search"},
                idempotency_key="once",
                webhook="https://example.com/hook?token=mine",
                retry_count=1,
                detached=True,
            ),
            client="cred:1",
            stream=True,
            on_disconnect=OnDisconnect.CANCEL,
            deadline_at=NOW + 60.125,
            key_id="key_1",
            replay_of="call_0",
            needs_secret=True,
            fingerprint="f",
            detached=True,
            client_waited=False,
            client_gone=True,
            wait_reason=WaitReason.BACKOFF,
            queued_ms=1.5,
        )
        journal.accept(call)
        journal.update(call)

    (found,) = await left(db)
    for name in type(call).__slots__:
        if name not in ("request", "attempts"):
            assert getattr(found, name) == getattr(call, name), name
    for name in ("method", "path", "query", "body_bytes", "sha256"):
        assert getattr(found.request, name) == getattr(call.request, name)
    assert (found.request.headers, found.request.body) == ((), None)


async def test_attempts_come_back_the_open_one_last_with_what_was_recorded_of_it(db):
    async with open_running(db) as journal:
        call = make_call(journal.next_seq())
        begin_attempt(call)
        journal.accept(call)
        first = end_attempt(
            call,
            status=503,
            headers=((b"Content-Type", b"text/plain"), (b"X-Odd", b"\xe9")),
            failure=Failure(code="upstream_broken", message="cut"),
            retry_after_s=2.0,
            backoff_s=2.0,
            outcome=Outcome.BROKEN,
            body_bytes=3,
            sha256="a",
            complete=False,
        )
        call.status, call.wait_reason = Status.QUEUED, WaitReason.BACKOFF
        journal.update(call, ended=[first])
        begin_attempt(call)
        journal.update(call)
        journal.append(call, [Part(attempt=2, start=0, data=b"12345", chunks=((1, 2), (2, 3)))])
        journal.append(call, [Part(attempt=2, start=5, data=b"678")])

    (found,) = await left(db)
    second = found.open_attempt
    assert found.attempts == [first, second]
    assert (second.number, second.started_at, second.body_bytes) == (2, NOW + 1, 8)


async def test_a_taken_up_call_can_be_recorded_again(db):
    async with open_running(db) as journal:
        call = make_call(journal.next_seq())
        begin_attempt(call)
        await journal.accept(call)

    async with open_running(db) as journal:
        (found,) = await journal.open_calls()
        attempt = end_attempt(found, outcome=Outcome.INTERRUPTED, ambiguous=True, status=None)
        end_call(found, Status.FAILED)
        assert await journal.update(found, ended=[attempt])

    assert await left(db) == []


async def test_the_next_seq_is_above_every_one_before_also_of_bodies_without_call(db):
    async with open_running(db) as journal:
        for _ in range(3):
            journal.accept(make_call(journal.next_seq()))
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("INSERT INTO parts (seq, attempt, start, data) VALUES (9, 0, 0, 'x')")
        connection.commit()

    async with open_running(db) as journal:
        assert journal.next_seq() == 10


async def test_a_body_whose_call_was_never_accepted_goes_at_the_next_start(db):
    async with open_running(db) as journal:
        await journal.accept(make_call(journal.next_seq()))
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("INSERT INTO parts (seq, attempt, start, data) VALUES (2, 0, 0, 'x')")
        connection.execute("INSERT INTO incoming VALUES (2)")
        connection.commit()

    await left(db)
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT seq FROM parts").fetchall() == [(1,)]
        assert connection.execute("SELECT * FROM incoming").fetchall() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_hundred_thousand_waiting_calls_cost_a_kilobyte_each(db):
    async with open_running(db) as journal:
        for _ in range(100):
            posted = [journal.accept(make_call(journal.next_seq())) for _ in range(1_000)]
            await posted[-1]

    async with open_journal(db, durability="process", now=lambda: NOW) as journal:
        tracemalloc.start()
        calls = await journal.open_calls()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert len(calls) == 100_000
    assert held / len(calls) < 1_100
