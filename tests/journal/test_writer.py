"""What is posted is written: durable when it says so, in order, whoever waits for it."""

import asyncio
import sqlite3
import stat

import pytest

from gateway.call import PART_BYTES, Part, Status, WaitReason
from gateway.errors import GatewayError, JournalLocked, JournalUnavailable
from gateway.journal.connection import in_thread
from gateway.journal.lock import read_lock
from gateway.journal.writer import open_journal
from tests.running_journal import (
    NOW,
    begin_attempt,
    committed,
    end_attempt,
    end_call,
    make_call,
    open_running,
)


@pytest.fixture
def db(tmp_path):
    """Return where the journal is."""
    return tmp_path / "gateway.db"


@pytest.fixture
async def journal(db):
    """Yield a journal whose writer runs."""
    async with open_running(db) as journal:
        yield journal


def bodies(db, seq, attempt):
    rows = committed(
        db, "SELECT data FROM parts WHERE seq = ? AND attempt = ? ORDER BY start", seq, attempt
    )
    return b"".join(row[0] for row in rows)


async def test_accepted_means_in_the_file(journal, db):
    call = make_call(journal.next_seq(), body=b"hello")
    begin_attempt(call)

    assert await journal.accept(call) is True

    assert committed(db, "SELECT id, status, open_attempt, version FROM calls") == [
        (call.id, "running", 1, 1)
    ]
    assert committed(db, "SELECT sha256 FROM requests") == [(call.request.sha256,)]
    assert bodies(db, call.seq, 0) == b"hello"


async def test_an_update_ends_the_call_its_attempt_and_its_answer_at_once(journal, db):
    call = make_call(journal.next_seq())
    begin_attempt(call)
    await journal.accept(call)
    attempt = end_attempt(call, body_bytes=6)
    end_call(call)
    parts = [
        Part(attempt=1, start=0, data=b"abc", chunks=((5, 1), (7, 2))),
        Part(attempt=1, start=3, data=b"def"),
    ]

    assert await journal.update(call, ended=[attempt], parts=parts) is True

    assert committed(db, "SELECT status, answer, http_status, complete, version FROM calls") == [
        ("succeeded", 1, 200, 1, 2)
    ]
    assert committed(db, "SELECT number, outcome, body_bytes FROM attempts") == [(1, "answered", 6)]
    assert bodies(db, call.seq, 1) == b"abcdef"
    assert committed(db, "SELECT chunks FROM parts WHERE attempt = 1 ORDER BY start") == [
        ("[[5,1],[7,2]]",),
        (None,),
    ]


async def test_the_latest_state_of_a_call_wins_also_in_one_round_with_its_acceptance(journal, db):
    call = make_call(journal.next_seq())
    posted = [journal.accept(call)]
    begin_attempt(call)
    posted.append(journal.update(call))
    attempt = end_attempt(call)
    end_call(call)
    posted.append(journal.update(call, ended=[attempt]))

    assert [await future for future in posted] == [True, True, True]

    assert journal.statistics().commits == 1
    assert committed(db, "SELECT status, version, open_attempt FROM calls") == [
        ("succeeded", 3, None)
    ]


async def test_a_state_is_taken_when_it_is_posted(journal, db):
    call = make_call(journal.next_seq())
    posted = journal.accept(call)
    call.status, call.wait_reason = Status.RUNNING, None
    await posted

    assert committed(db, "SELECT status, wait_reason FROM calls") == [("queued", "slot")]


async def test_an_attempt_may_be_posted_again_with_the_pause_that_followed(journal, db):
    call = make_call(journal.next_seq())
    begin_attempt(call)
    journal.accept(call)
    attempt = end_attempt(call, status=503)
    await journal.update(call, ended=[attempt])
    attempt.backoff_s = 2.0
    call.wait_reason = WaitReason.BACKOFF
    await journal.update(call, ended=[attempt])

    assert committed(db, "SELECT number, status, backoff_s FROM attempts") == [(1, 503, 2.0)]


async def test_a_body_piece_may_be_posted_again(journal, db):
    """Who was told that it is only in RAM may post it once more."""
    call = make_call(journal.next_seq())
    journal.accept(call)
    part = Part(attempt=1, start=0, data=b"abc")

    assert await journal.append(call, [part])
    assert await journal.append(call, [part])
    assert bodies(db, call.seq, 1) == b"abc"


async def test_a_cancelled_callers_record_is_still_written(journal, db):
    call = make_call(journal.next_seq())

    async def accept() -> None:
        await journal.accept(call)

    async with asyncio.TaskGroup() as tasks:
        caller = tasks.create_task(accept())
        await asyncio.sleep(0)
        caller.cancel()
    await journal.append(call, [])

    assert committed(db, "SELECT seq FROM calls") == [(call.seq,)]


async def test_many_posts_are_one_commit(journal, db):
    posted = [journal.accept(make_call(journal.next_seq())) for _ in range(300)]
    told = []
    journal.on_commit = lambda seconds, posts: told.append((seconds > 0, posts))

    assert all([await future for future in posted])

    assert told == [(True, 300)]
    assert committed(db, "SELECT count(*), max(seq) FROM calls") == [(300, 300)]


async def test_a_large_body_is_accepted_whole_and_delays_no_small_call(journal, db):
    body = bytes(range(251)) * 50_000  # 12 MB
    large, small = make_call(journal.next_seq(), body=body), make_call(journal.next_seq())
    large_posted, small_posted = journal.accept(large), journal.accept(small)

    assert await small_posted
    assert not large_posted.done()
    assert committed(db, "SELECT id FROM calls") == [(small.id,)]
    assert committed(db, "SELECT seq FROM incoming") == [(large.seq,)]

    assert await large_posted
    assert bodies(db, large.seq, 0) == body
    assert committed(db, "SELECT max(length(data)) FROM parts") == [(PART_BYTES,)]
    assert committed(db, "SELECT seq FROM incoming") == []


async def test_body_bytes_that_wait_are_bounded(journal):
    call = make_call(journal.next_seq())
    journal.accept(call)
    piece = bytes(PART_BYTES)
    posted = [
        journal.append(call, [Part(attempt=1, start=at * PART_BYTES, data=piece)])
        for at in range(40)
    ]
    assert journal.statistics().pending_bytes > 8 * 1024 * 1024

    await journal.room()

    assert journal.statistics().pending_bytes < 8 * 1024 * 1024
    assert not posted[-1].done()
    await posted[-1]
    assert journal.statistics().pending_bytes == 0


async def test_a_refused_record_fails_alone(journal, db):
    good, twin = make_call(journal.next_seq()), make_call(journal.next_seq())
    twin.id = good.id
    unknown = make_call(journal.next_seq())
    also_good = make_call(journal.next_seq())
    posted = [journal.accept(good), journal.accept(twin), journal.update(unknown)]
    posted.append(journal.accept(also_good))

    results = await asyncio.gather(*posted, return_exceptions=True)

    assert [type(result) for result in results] == [bool, GatewayError, GatewayError, bool]
    assert committed(db, "SELECT seq FROM calls") == [(good.seq,), (also_good.seq,)]
    assert journal.available


async def test_a_value_that_sqlite_cannot_hold_fails_alone(journal):
    odd = make_call(journal.next_seq(), key_id="\ud800")
    huge = make_call(journal.next_seq(), max_attempts=2**63)
    none = make_call(journal.next_seq(), key_id=object())
    posted = [journal.accept(odd), journal.accept(huge), journal.accept(none)]
    posted.append(journal.accept(make_call(journal.next_seq())))

    results = await asyncio.gather(*posted, return_exceptions=True)

    assert [type(result) for result in results] == [GatewayError] * 3 + [bool]


async def test_a_bug_in_a_step_beside_the_rounds_does_not_end_the_writer(journal):
    def broken(_: sqlite3.Connection) -> bool:
        raise LookupError("a bug")

    with pytest.raises(GatewayError, match="a bug"):
        await journal.work(broken)

    assert await journal.accept(make_call(journal.next_seq())) is True


async def test_a_final_call_stays_as_it_ended(journal, db):
    call = make_call(journal.next_seq())
    await journal.accept(call)
    end_call(call, Status.CANCELLED)
    await journal.update(call)
    call.status = Status.SUCCEEDED

    with pytest.raises(GatewayError, match="never changes"):
        await journal.update(call)
    assert committed(db, "SELECT status FROM calls") == [("cancelled",)]


async def test_a_writer_that_dies_fails_whoever_waits(db):
    async with open_journal(db, durability="process", now=lambda: NOW) as journal:
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(journal.run())
            posted = [journal.accept(make_call(journal.next_seq())) for _ in range(3)]
            await asyncio.sleep(0)  # the writer has taken them and waits for its commit
            late = journal.accept(make_call(journal.next_seq()))
            writer.cancel()

        for future in (*posted, late):
            with pytest.raises(JournalUnavailable):
                await future
        with pytest.raises(JournalUnavailable):
            journal.accept(make_call(9))
        with pytest.raises(JournalUnavailable):
            await journal.update(make_call(9))
        with pytest.raises(JournalUnavailable):
            await journal.wait_available()
        await journal.room()
        assert not journal.available


async def test_a_bug_in_whoever_is_told_of_commits_undoes_none(journal, db):
    def fail(seconds: float, posts: int) -> None:
        raise ZeroDivisionError

    journal.on_commit = fail

    assert [await journal.accept(make_call(journal.next_seq())) for _ in range(2)] == [True, True]
    assert committed(db, "SELECT count(*) FROM calls") == [(2,)]


async def test_closing_writes_what_was_posted(db):
    async with open_running(db) as journal:
        for _ in range(2_500):
            journal.accept(make_call(journal.next_seq()))
        journal.close()

    assert committed(db, "SELECT count(*) FROM calls") == [(2_500,)]


async def test_credentials_never_reach_the_file(journal, db):
    secret = b"s3cr3t-value"
    call = make_call(
        journal.next_seq(),
        query="alt=sse&key=s3cr3t-value",
        target="/chat?%6Bey=s3cr3t-value",
        headers=tuple(
            (name, b"Bearer " + secret)
            for name in (b"Authorization", b"X-Api-Key", b"api-key", b"Cookie", b"x-goog-api-key")
        ),
    )
    begin_attempt(call)
    await journal.accept(call)
    attempt = end_attempt(call, headers=((b"Set-Cookie", b"session=" + secret),))
    end_call(call)
    await journal.update(call, ended=[attempt])

    for file in db.parent.iterdir():
        assert secret not in file.read_bytes(), file
    assert committed(db, "SELECT query, target FROM calls") == [
        ("alt=sse&key=[redacted]", "/chat?%6Bey=[redacted]")
    ]


async def test_the_files_are_their_owners_alone(journal, db):
    await journal.accept(make_call(journal.next_seq()))

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in db.parent.iterdir()}
    assert modes == dict.fromkeys(
        ("gateway.db", "gateway.db-wal", "gateway.db-shm", "gateway.db.lock"), 0o600
    )


@pytest.mark.parametrize(("durability", "level"), [("power-loss", 2), ("process", 1)])
async def test_the_connection_is_set_up_as_durability_asks(db, durability, level):
    expected = {
        "synchronous": level,
        "journal_mode": "wal",
        "auto_vacuum": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "mmap_size": 0,
        "journal_size_limit": 67_108_864,
        "wal_autocheckpoint": 1_000,
    }

    def settings(connection: sqlite3.Connection) -> dict[str, object]:
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in expected}

    async with open_journal(db, durability=durability, now=lambda: NOW) as journal:
        assert await in_thread(journal._file.connection, settings) == expected


async def test_the_client_key_is_made_once_a_file(db):
    async with open_running(db) as journal:
        first = journal.client_key
    async with open_running(db) as journal:
        assert journal.client_key == first

    assert len(first) == 32


async def test_one_journal_at_a_time(journal, db):
    with pytest.raises(JournalLocked):
        async with open_journal(db, durability="process", now=lambda: NOW):
            pass

    journal.lock.write(url="http://127.0.0.1:1", token="t")
    assert read_lock(db).url == "http://127.0.0.1:1"


async def test_a_journal_that_another_program_holds_does_not_open(db):
    async with open_running(db):
        pass
    foreign = sqlite3.connect(db, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(JournalUnavailable, match="locked"):
            async with open_journal(db, durability="process", now=lambda: NOW, busy_timeout_ms=10):
                pass
    finally:
        foreign.close()
