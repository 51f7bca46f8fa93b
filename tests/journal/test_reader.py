"""Reading the journal: lists, single calls, bodies."""

import asyncio
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.call import PART_BYTES, Options, Outcome, Status
from gateway.errors import BadRequest, Gone, JournalDamaged, JournalUnavailable
from gateway.journal.connection import in_thread
from gateway.journal.filters import Cursor, Filters, read_filters, read_selection
from gateway.journal.reader import Reader, open_reader
from gateway.journal.records import CallRow, columns
from gateway.journal.search.scan import FIRST_CALLS, Wanted, statement
from gateway.journal.selects import PIECE_BYTES, select_page
from tests.recorded_calls import T0, RecordedCalls, answered


async def numbers(reader: Reader, **parameters: Any) -> list[int]:
    """Return the numbers of the listed calls."""
    pairs = [
        (name, value)
        for name, values in parameters.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    page = await reader.calls(read_filters(pairs))
    return [record.seq for record in page.records]


async def test_a_list_is_newest_first(recorded: RecordedCalls, reader: Reader) -> None:
    for _ in range(3):
        recorded.add()

    assert await numbers(reader) == [3, 2, 1]
    assert await numbers(reader, order="asc") == [1, 2, 3]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"status": "failed"}, [2]),
        ({"status": "queued"}, [3]),
        ({"status": "queued,running"}, [4, 3]),
        ({"status": ["queued", "failed"]}, [3, 2]),
        ({"upstream": "anthropic"}, [2]),
        ({"upstream": ["anthropic", "open*"]}, [4, 3, 2, 1]),
        ({"model": "gpt-*"}, [4, 3, 1]),
        ({"model": "GPT-*"}, []),
        ({"path": "/v1/*/completions"}, [4, 3, 1]),
        ({"key": "k1"}, [1]),
        ({"tag": "team:search"}, [2, 1]),
        ({"tag": ["team:search", "run:7:b"]}, [1]),
        ({"tag": "team:SEARCH"}, []),
        ({"idempotency_key": "once"}, [4]),
        ({"http_status": "503"}, [2]),
        ({"http_status": ["200", "503"]}, [2, 1]),
        ({"min_duration_ms": "1500"}, [2]),
        ({"since": "2026-09-21T14:13:23Z"}, [4, 3]),
        ({"until": "2026-09-21T16:13:23+02:00"}, [2, 1]),
        ({"since": "2026-09-21T14:13:22Z", "until": "2026-09-21T14:13:23Z"}, [2]),
        ({"status": "succeeded", "model": "claude*"}, []),
    ],
)
async def test_filters_choose(
    recorded: RecordedCalls, reader: Reader, parameters: dict[str, Any], expected: list[int]
) -> None:
    recorded.add(
        attempts=[answered()],
        answer=1,
        key_id="k1",
        client="key:k1",
        options=Options(tags={"team": "search", "run": "7:b"}),
        duration_ms=1000.0,
    )
    recorded.add(
        path="/v1/messages",
        upstream="anthropic",
        model="claude-opus",
        status=Status.FAILED,
        attempts=[answered(status=503)],
        answer=1,
        options=Options(tags={"team": "search"}),
        duration_ms=2000.0,
    )
    recorded.add(status=Status.QUEUED)
    recorded.add(status=Status.RUNNING, options=Options(idempotency_key="once"))

    assert expected == await numbers(reader, **parameters)


async def test_text_that_would_be_sql_chooses_nothing(
    recorded: RecordedCalls, reader: Reader
) -> None:
    recorded.add()
    text = "' OR 1=1 --:'); DROP TABLE calls; --"

    for name in ("upstream", "model", "path", "key", "tag", "idempotency_key"):
        assert await numbers(reader, **{name: text}) == [], name
    for name in ("after", "before"):
        with pytest.raises(BadRequest, match=f"{name}: there is no such call"):
            await numbers(reader, **{name: text})
    assert await reader.call(text) is None
    assert await numbers(reader) == [1]


@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    count=st.integers(0, 12),
    limit=st.integers(1, 5),
    order=st.sampled_from(["asc", "desc"]),
    backwards=st.booleans(),
)
def test_pages_cover_each_call_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, limit: int, order: str, backwards: bool
) -> None:
    with RecordedCalls(tmp_path_factory.mktemp("pages") / "gateway.db") as recorded:
        calls = [recorded.add() for _ in range(count)]
        if order == "desc":
            calls.reverse()
        asked = {"order": order, "limit": str(limit)}

        def page(**cursor: str) -> tuple[list[str], bool]:
            filters = read_filters([*asked.items(), *cursor.items()])
            found = select_page(recorded.connection, filters, None, 1.0)
            return [record.id for record in found.records], found.has_more

        if backwards and calls:
            seen = [calls[-1].id]
            has_more = True
            while has_more:
                ids, has_more = page(before=seen[0])
                seen = ids + seen
        else:
            seen, has_more = page()
            while has_more:
                ids, has_more = page(after=seen[-1])
                seen += ids

        assert [call.id for call in calls] == seen


async def test_a_page_between_two_calls_is_bounded_by_both(
    recorded: RecordedCalls, reader: Reader
) -> None:
    calls = [recorded.add() for _ in range(6)]

    assert await numbers(reader, after=calls[5].id, before=calls[2].id) == [5, 4]


def plan_of(recorded: RecordedCalls, pairs: list[tuple[str, str]]) -> list[str]:
    """How SQLite looks for a list's calls in one window."""
    filters = read_filters(pairs)
    wanted = Wanted(conditions=filters.conditions, ascending=filters.ascending)
    values = {**filters.values, "low": 1, "high": 1000, "most": 51}
    names = ", ".join(f"names_{n} (name) AS (VALUES ('gpt'))" for n in range(len(filters.globs)))
    sql = f"EXPLAIN QUERY PLAN {names and f'WITH {names}'} {statement(wanted, columns(CallRow))}"
    return [row[3] for row in recorded.connection.execute(sql, values)]


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("order", "asc")],
        [("status", "queued")],
        [("status", "queued,running")],
        [("status", "failed")],
        [("model", "gpt*"), ("tag", "team:search")],
        [("since", "2026-09-21T14:13:23Z")],
        [("status", "running"), ("order", "asc")],
    ],
)
async def test_no_list_sorts_or_touches_a_body(
    recorded: RecordedCalls, pairs: list[tuple[str, str]]
) -> None:
    recorded.add()
    plan = plan_of(recorded, pairs)

    assert not any("TEMP B-TREE" in step or "parts" in step for step in plan), plan
    assert not any("attempts" in step or "requests" in step for step in plan), plan


async def test_lists_of_open_calls_use_their_indexes(recorded: RecordedCalls) -> None:
    plan = plan_of(recorded, [("status", "queued,running")])

    assert "SCAN calls" not in plan, plan
    assert any("calls_queued" in step for step in plan), plan
    assert any("calls_running" in step for step in plan), plan


async def test_a_list_has_headers_and_attempts_only_when_expanded(
    recorded: RecordedCalls, reader: Reader
) -> None:
    recorded.answer()
    (narrow,) = (await reader.calls(Filters())).records
    (wide,) = (await reader.calls(Filters(expand=True))).records

    assert narrow.request is None
    assert narrow.attempts == ()
    assert wide == await reader.call(narrow.id)
    assert wide.request is not None
    assert [attempt.number for attempt in wide.attempts] == [1]


async def test_replays_are_found_from_the_call_and_in_lists(
    recorded: RecordedCalls, reader: Reader
) -> None:
    original = recorded.add()
    first = recorded.add(replay_of=original.id)
    second = recorded.add(replay_of=original.id)
    page = await reader.calls(Filters(ascending=True))
    record = await reader.call(original.id)

    assert record is not None
    assert (first.id, second.id) == record.replays == await reader.replays(original.id)
    assert [record.replays, (), ()] == [listed.replays for listed in page.records]
    assert await reader.replays(first.id) == ()


async def test_somebody_elses_call_is_not_there(recorded: RecordedCalls, reader: Reader) -> None:
    mine = recorded.add(client="key:mine")
    other = recorded.add(client="key:other")
    page = await reader.calls(Filters(), owner="key:mine")

    assert [mine.id] == [record.id for record in page.records]
    assert await reader.call(mine.id, owner="key:mine") is not None
    assert await reader.call(other.id, owner="key:mine") is None
    with pytest.raises(BadRequest):
        await reader.calls(Filters(after=other.id), owner="key:mine")


async def test_a_search_that_runs_out_of_time_says_how_far_it_came_and_goes_on_from_there(
    recorded: RecordedCalls,
) -> None:
    recorded.connection.execute("BEGIN")
    rare = recorded.add(options=Options(priority=1))
    for _ in range(4999):
        recorded.add()
    recorded.connection.execute("COMMIT")
    filters = read_filters([("q", "priority:1")])
    async with open_reader(recorded.path, list_within_s=0) as reader:
        page = await reader.calls(filters)
        first = page.cursor
        looked_at = page.searched_to_ms
        pages = 1
        while not page.records:
            page = await reader.calls(replace(filters, cursor=page.cursor))
            pages += 1

    assert first == Cursor(5000 - FIRST_CALLS + 1, upwards=False)
    assert looked_at == int((T0 + first.seq) * 1000)
    assert [record.id for record in page.records] == [rare.id]
    assert not page.has_more
    assert pages == 5


@pytest.mark.parametrize("order", ["desc", "asc"])
async def test_a_client_is_told_by_its_own_calls_how_far_a_search_came(
    recorded: RecordedCalls, order: str
) -> None:
    """A number would tell how many calls all clients make together."""
    recorded.connection.execute("BEGIN")
    own = {0: 1, 700: 0, 1500: 0, 2800: 1}  # number of the call: its priority
    made = [
        recorded.add(
            client="key:mine" if number in own else "key:other",
            options=Options(priority=own.get(number, 1)),
        )
        for number in range(3300)
    ]
    recorded.connection.execute("COMMIT")
    filters = read_filters([("q", "priority:1"), ("order", order)])
    found, told = [], []
    async with open_reader(recorded.path, list_within_s=0) as reader:
        while True:
            page = await reader.calls(filters, owner="key:mine")
            found += [record.seq for record in page.records]
            if not page.has_more:
                break
            assert page.cursor is not None
            told.append((page.cursor.text(), page.searched_to_ms))
            filters = replace(filters, cursor=Cursor.read(page.cursor.text()))
        with pytest.raises(BadRequest):
            await reader.calls(
                replace(filters, cursor=Cursor(None, False, made[1].id)), owner="key:mine"
            )

    ours = [made[number] for number in own]
    assert found == [each.seq for each in (ours[0], ours[3])][:: 1 if order == "asc" else -1]
    assert told
    known = {f"{order[0]}{each.id}": int(each.created_at * 1000) for each in ours}
    assert [(text, known[text]) for text, _ in told] == told


async def test_all_calls_that_filters_choose_are_met_however_little_time_there_is(
    recorded: RecordedCalls,
) -> None:
    recorded.connection.execute("BEGIN")
    for number in range(4000):
        recorded.add(options=Options(priority=number % 1000 // 999))
    recorded.connection.execute("COMMIT")
    for order in ("asc", "desc"):
        selection = read_selection([("q", "priority:1"), ("order", order)])
        async with open_reader(recorded.path, list_within_s=0) as reader:
            pages = [page async for page in reader.pages(selection, page_calls=1)]
            count = await reader.count(selection.filters, most=100, within_s=None)

        assert [record.seq for page in pages for record in page] == sorted(
            [1000, 2000, 3000, 4000], reverse=order == "desc"
        )
        assert count == (4, False)


async def test_a_body_comes_back_byte_for_byte_from_any_offset(
    recorded: RecordedCalls, reader: Reader
) -> None:
    body = bytes(range(256)) * (5 * PART_BYTES // 256) + b"end"
    call = recorded.answer(body)

    assert len(body) == await reader.body_bytes(call.seq, 1)
    for start in (0, 1, PART_BYTES - 1, PART_BYTES, 5 * PART_BYTES + 1, len(body), len(body) + 9):
        pieces = [piece async for piece in reader.body(call.seq, 1, start)]
        assert body[start:] == b"".join(pieces), start
        assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces), start


async def test_a_body_ends_at_a_gap(recorded: RecordedCalls, reader: Reader) -> None:
    call = recorded.answer(b"x" * (3 * PART_BYTES))
    recorded.connection.execute("DELETE FROM parts WHERE start = ?", (PART_BYTES,))

    assert b"".join([piece async for piece in reader.body(call.seq, 1)]) == b"x" * PART_BYTES
    assert [piece async for piece in reader.body(call.seq, 1, PART_BYTES)] == []


async def test_bodies_of_a_call_are_kept_apart(recorded: RecordedCalls, reader: Reader) -> None:
    recorded.add(request=b"before")
    call = recorded.add(
        request=b"asked",
        attempts=[answered(1, status=503, body=b"busy"), answered(2, body=b"done")],
        answer=2,
    )
    recorded.add(request=b"behind")

    assert [
        b"".join([piece async for piece in reader.body(call.seq, attempt)]) for attempt in (0, 1, 2)
    ] == [b"asked", b"busy", b"done"]


async def test_a_purged_body_is_not_there(recorded: RecordedCalls, reader: Reader) -> None:
    call = recorded.answer(b"answer")
    recorded.purge(call)

    assert await reader.body_bytes(call.seq, 1) == 0
    assert [piece async for piece in reader.body(call.seq, 1)] == []


async def test_the_times_of_a_streams_pieces_are_kept(
    recorded: RecordedCalls, reader: Reader
) -> None:
    call = recorded.answer()
    for start, chunks in ((10, "[[5,3],[9,4]]"), (17, "[[20,1]]")):
        recorded.connection.execute(
            "INSERT INTO parts VALUES (?, 2, ?, x'00', ?)", (call.seq, start, chunks)
        )

    assert await reader.chunks(call.seq, 2) == [(5, 3), (9, 4), (20, 1)]
    assert await reader.chunks(call.seq, 1) == []


async def test_a_request_is_read_back_without_what_was_redacted(
    recorded: RecordedCalls, reader: Reader
) -> None:
    call = recorded.add(
        request=b"body",
        request_headers=((b"X-One", b"caf\xe9"), (b"Cookie", b"secret"), (b"x-one", b"two")),
    )
    call.request.body, call.request.headers = None, ()
    request = await reader.request(call)

    assert request.body == b"body"
    assert request.headers == ((b"X-One", b"caf\xe9"), (b"x-one", b"two"))
    recorded.purge(call)
    with pytest.raises(Gone):
        await reader.request(call)


async def test_a_reader_sees_what_is_committed_while_it_is_open(
    recorded: RecordedCalls, reader: Reader
) -> None:
    assert await numbers(reader) == []
    recorded.connection.execute("BEGIN IMMEDIATE")
    recorded.add()
    assert await numbers(reader) == []
    recorded.connection.execute("COMMIT")
    assert await numbers(reader) == [1]


async def test_a_reading_that_nobody_waits_for_any_more_is_not_done(reader: Reader) -> None:
    """Else whoever asks and hangs up, again and again, has the thread for itself."""
    go_on, statements = threading.Event(), list[str]()
    await in_thread(reader._lists, lambda raw: raw.set_trace_callback(statements.append))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(in_thread(reader._lists, lambda _: go_on.wait(10)))
        left = tasks.create_task(reader.calls(Filters()))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait([left])
        tasks.create_task(reader.calls(Filters()))
        await asyncio.sleep(0)
        go_on.set()

    assert statements.count("BEGIN") == 1


async def test_a_reader_never_writes_nor_holds_a_checkpoint_up(
    recorded: RecordedCalls, reader: Reader
) -> None:
    call = recorded.answer(b"x" * (2 * PIECE_BYTES))
    pieces = reader.body(call.seq, 1)
    await anext(pieces)
    await reader.calls(Filters())

    assert recorded.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    await pieces.aclose()


async def test_a_stopped_gateways_file_can_be_read(recorded: RecordedCalls) -> None:
    call = recorded.answer(b"kept")
    recorded.close()
    async with open_reader(recorded.path) as reader:
        record = await reader.call(call.id)

    assert record is not None
    assert Status.SUCCEEDED is record.status
    assert record.attempts[0].outcome == Outcome.ANSWERED


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "cannot be opened"),
        (lambda path: path.write_bytes(b""), "is not a journal"),
        (lambda path: path.write_bytes(b"something else" * 100), "cannot be"),
        (
            lambda path: (
                sqlite3.connect(path).execute("PRAGMA user_version = 999").connection.close()
            ),
            "newer gateway",
        ),
    ],
)
async def test_a_file_that_is_no_journal_is_told_so(tmp_path: Path, make: Any, reason: str) -> None:
    path = tmp_path / "x.db"
    make(path)
    with pytest.raises(JournalDamaged, match=reason):
        async with open_reader(path):
            pass


async def test_damage_met_while_reading_is_an_error_of_the_journal(
    recorded: RecordedCalls, reader: Reader
) -> None:
    recorded.connection.execute("DROP TABLE attempts")
    call = recorded.add()

    with pytest.raises(JournalUnavailable, match="cannot be read"):
        await reader.call(call.id)
