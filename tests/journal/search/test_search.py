"""The indexer: what is recorded becomes searchable behind the writer, and goes when the record goes."""

import asyncio
import gzip
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.call import Call, Failure, Part, Status
from gateway.journal import retention
from gateway.journal.filters import read_filters
from gateway.journal.reader import Reader, open_reader
from gateway.journal.retention import Retention
from gateway.journal.search import unsearched, volumes
from gateway.journal.search.indexer import Search
from gateway.journal.writer import Journal
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


@dataclass
class Searched:
    """A journal whose indexer runs."""

    journal: Journal
    reader: Reader
    search: Search
    db: Path

    async def begin(self, asked: str) -> Call:
        """Record an open call."""
        body = json.dumps({"prompt": asked}).encode()
        call = make_call(self.journal.next_seq(), body=body)
        begin_attempt(call)
        await self.journal.accept(call)
        return call

    async def end(self, call: Call, said: str | bytes = "", **changes: object) -> None:
        """Record its end."""
        body = said if isinstance(said, bytes) else json.dumps({"text": said}).encode()
        attempt = end_attempt(
            call, body_bytes=len(body), headers=((b"Content-Type", b"application/json"),)
        )
        end_call(call)
        for name, value in changes.items():
            setattr(attempt if name == "headers" else call, name, value)
        parts = [Part(attempt=1, start=0, data=body)]
        await self.journal.update(call, ended=[attempt], parts=parts)

    async def record(self, asked: str, said: str | bytes = "", **changes: object) -> Call:
        """Record a finished call."""
        call = await self.begin(asked)
        await self.end(call, said, **changes)
        return call

    async def found(self, q: str) -> list[int]:
        """Ask until everything recorded was looked at; seqs, newest first."""
        while self.journal.unsearched:
            await self.search.catch_up(1.0)
        page = await self.reader.calls(read_filters([("q", q)]))
        assert not page.has_more
        return [record.seq for record in page.records]

    async def wait_found(self, q: str, count: int) -> None:
        """Ask until *count* calls are found; what the file alone tells takes its time."""
        async with asyncio.timeout(20):
            while len(await self.found(q)) < count:
                pass

    async def prune(self, *, bodies: float = 30.0, calls: float = 365.0) -> None:
        days = SimpleNamespace(keep_bodies_days=bodies, keep_calls_days=calls)
        pruning = Retention(self.journal, lambda: days, lambda: NOW, cleanse=self.search.cleanse)
        await pruning.prune()

    def volumes(self) -> list[tuple[int, ...]]:
        return committed(self.db, "SELECT number, calls FROM volumes ORDER BY number")


@asynccontextmanager
async def searching(db: Path) -> AsyncIterator[Searched]:
    async with (
        open_running(db) as journal,
        open_reader(db, list_within_s=60) as reader,
        asyncio.TaskGroup() as tasks,
    ):
        search = Search(journal, db)
        running = tasks.create_task(search.run())
        yield Searched(journal, reader, search, db)
        running.cancel()


@pytest.fixture
async def searched(tmp_path: Path) -> AsyncIterator[Searched]:
    """Yield an empty one."""
    async with searching(tmp_path / "gateway.db") as searched:
        yield searched


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAUSE_S", 0)


async def test_words_of_both_sides_and_of_the_error_are_found(searched: Searched) -> None:
    one = await searched.record("red apple", "green pear")
    two = await searched.record("blue", "")
    failed = await searched.begin("grey")
    await searched.end(
        failed, status=Status.FAILED, failure=Failure(code="first_byte_timeout", message="no byte")
    )

    assert await searched.found("red pear") == [one.seq]
    assert await searched.found('"apple green"') == [], "a phrase does not span both sides"
    assert await searched.found("blue OR grey") == [failed.seq, two.seq]
    assert await searched.found("first_byte_timeout") == [failed.seq]
    assert await searched.found("-apple") == [failed.seq, two.seq]


async def test_case_accents_and_scripts_without_blanks(searched: Searched) -> None:
    call = await searched.record("Crème BRÛLÉE", "私は東京に住んでいます")

    for query in ("creme", "BRULEE", "brû*", "東京", "に住", '"creme brulee" 東京'):
        assert await searched.found(query) == [call.seq], query
    assert await searched.found("京東") == []


async def test_an_open_call_is_found_and_once_ended_with_all_it_says(searched: Searched) -> None:
    call = await searched.begin("alpha beta gamma")
    assert await searched.found('"alpha beta"') == [call.seq]
    await searched.end(call, "delta beta epsilon")

    assert await searched.found('"alpha beta gamma" epsilon') == [call.seq]
    assert await searched.found('"delta beta"') == [call.seq]
    assert await searched.found('"gamma delta"') == []


async def test_a_quick_call_is_looked_at_once(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsearched, "OPEN_S", 60.0)  # quick, however slow the machine is
    await searched.record("the one that a start finds in the file, maybe, as it begins")
    await searched.found("start")
    ((number, written),) = searched.volumes()
    await searched.record("quick")
    await searched.found("quick")

    assert searched.volumes() == [(number, written + 1)]


async def test_a_compressed_answer_is_found_by_what_it_says(searched: Searched) -> None:
    headers = ((b"Content-Type", b"application/json"), (b"content-encoding", b"gzip"))
    call = await searched.record("q", gzip.compress(b'{"text":"unpacked"}'), headers=headers)

    assert await searched.found("unpacked") == [call.seq]


async def test_a_page_shows_what_was_said(searched: Searched) -> None:
    call = await searched.record("the question", "the reply")
    await searched.found("question")
    (record,) = (await searched.reader.calls(read_filters([]))).records

    assert record.id == call.id
    assert record.preview is not None
    assert (record.preview.request, record.preview.answer) == ("the question", "the reply")


async def test_an_index_of_many_volumes_answers_as_one(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "VOLUME_CALLS", 3)
    open_call = await searched.begin("number common")
    assert await searched.found("common") == [1]
    for _ in range(9):
        await searched.record("number common")
    await searched.end(open_call, "ended late")

    assert await searched.found("number") == list(range(10, 0, -1))
    assert await searched.found("late common") == [1]
    assert len(searched.volumes()) >= 3


async def test_a_start_indexes_what_the_last_process_left(tmp_path: Path) -> None:
    db = tmp_path / "gateway.db"
    async with searching(db) as searched:
        seen_open = await searched.begin("seen while open")
        await searched.found("seen")
    async with open_running(db) as journal:  # a process whose indexer never got to it
        unseen = make_call(journal.next_seq(), body=b'{"prompt":"unseen"}')
        begin_attempt(unseen)
        await journal.accept(unseen)
        end_attempt(unseen)
        end_call(unseen)
        await journal.update(unseen)
        end_attempt(seen_open, body_bytes=18)
        end_call(seen_open)
        parts = [Part(attempt=1, start=0, data=b'{"text":"the end"}')]
        await journal.update(seen_open, ended=[seen_open.attempts[0]], parts=parts)
    async with searching(db) as searched:
        await searched.wait_found("unseen", 1)
        await searched.wait_found('"the end"', 1)

        assert await searched.found("unseen") == [unseen.seq]
        assert await searched.found("seen end") == [seen_open.seq]


async def test_too_many_hints_are_made_good_by_a_look_through_the_file(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsearched, "MOST", 3)
    calls = [await searched.begin("flood") for _ in range(20)]
    for call in calls:
        await searched.end(call)
    await searched.wait_found("flood status:succeeded", 20)
    while committed(searched.db, "SELECT 1 FROM texts WHERE NOT final"):
        await searched.found("flood")

    assert committed(searched.db, "SELECT count(*) FROM texts WHERE final") == [(20,)]


async def test_bodies_that_retention_removes_are_found_no_more_and_their_words_go(
    searched: Searched,
) -> None:
    old = NOW - 40 * DAY
    gone = await searched.record("obsoletely asked", "obsoletely said", finished_at=old)
    kept = await searched.record("currently asked", "currently said")
    failed = await searched.begin("obsoletely failed")
    failure = Failure(code="upstream_broken", message="it broke")
    await searched.end(failed, status=Status.FAILED, failure=failure, finished_at=old)
    assert await searched.found("obsoletely") == [failed.seq, gone.seq]
    await searched.prune()

    assert await searched.found("obsoletely") == []
    assert await searched.found("currently") == [kept.seq]
    assert await searched.found("upstream_broken") == [failed.seq], "its error is still known"
    assert committed(searched.db, "SELECT request FROM texts WHERE seq = ?", gone.seq) == [(None,)]
    assert no_longer_in_the_file(searched, b"obsoletely")


async def test_a_volume_without_living_calls_goes_as_a_whole(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "VOLUME_CALLS", 2)
    for _ in range(2):
        await searched.record("ancient", finished_at=NOW - 400 * DAY)
    kept = await searched.record("recent")
    await searched.found("recent")
    await searched.prune()

    assert await searched.found("ancient") == []
    assert await searched.found("recent") == [kept.seq]
    assert len(searched.volumes()) == 1
    assert no_longer_in_the_file(searched, b"ancient")


async def test_a_crash_between_two_steps_of_dropping_is_taken_up(searched: Searched) -> None:
    await searched.record("halfway gone")
    await searched.found("halfway")
    await searched.journal.delete(1)
    await searched.search._take(lambda connection: volumes.drop(connection, 1))

    assert await searched.found("halfway") == []
    await searched.prune()
    assert searched.volumes() == []
    after = await searched.record("halfway back")
    assert await searched.found("halfway") == [after.seq]


def no_longer_in_the_file(searched: Searched, word: bytes) -> bool:
    """Neither in the pages in use nor in those that are free, once the log is folded in."""
    with closing(sqlite3.connect(searched.db)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return word not in searched.db.read_bytes()
