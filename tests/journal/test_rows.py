"""What is stored of a call."""

import json
import sqlite3

import pytest

from gateway.call import Failure, Options, Part, Usage
from gateway.journal import rows
from gateway.journal.migrate import load_migrations, migrate
from tests.running_journal import NOW, begin_attempt, end_attempt, end_call, make_call

ROOM = {"room"}  # means nothing


@pytest.fixture
def columns():
    """Names of the columns of a table."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, load_migrations())
    yield lambda table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    connection.close()


def ended_call():
    call = make_call(7, options=Options(tags={"team": "search"}, priority=2))
    begin_attempt(call)
    end_attempt(call, failure=Failure(code="upstream_broken", message="cut"), backoff_s=0.5)
    end_call(call)
    call.usage = Usage(input_tokens=1, output_tokens=2, total_tokens=3)
    return call


def test_every_column_is_written_and_every_row_fits_its_names(columns):
    call = ended_call()

    assert columns("calls") - ROOM == {*rows.CALL.names, *rows.STATE.names}
    assert columns("requests") == set(rows.REQUEST.names)
    assert columns("attempts") == set(rows.ATTEMPT.names)
    assert columns("parts") == set(rows.PART.names)
    assert len(rows.new_call(call)) == len(rows.CALL.names)
    assert len(rows.state(call)) == len(rows.STATE.names)
    assert len(rows.request(call)) == len(rows.REQUEST.names)
    assert len(rows.attempt(call, call.attempts[0])) == len(rows.ATTEMPT.names)
    assert len(rows.part(call, Part(attempt=1, start=0, data=b""))) == len(rows.PART.names)


def test_a_row_says_what_the_call_says():
    call = ended_call()
    new = dict(zip(rows.CALL.names, rows.new_call(call), strict=True))
    state = dict(zip(rows.STATE.names, rows.state(call), strict=True))
    attempt = dict(zip(rows.ATTEMPT.names, rows.attempt(call, call.attempts[0]), strict=True))

    assert new["created_ms"] == NOW * 1000
    assert json.loads(new["tags"]) == {"team": "search"}
    assert (new["priority"], new["on_disconnect"], new["stream"]) == (2, "finish", 0)
    assert tuple(state[name] for name in ("status", "answer", "http_status", "complete")) == (
        "succeeded",
        1,
        200,
        1,
    )
    assert tuple(state[f"{kind}_tokens"] for kind in ("input", "output", "total")) == (1, 2, 3)
    assert tuple(
        attempt[name] for name in ("outcome", "error_code", "error_message", "backoff_s")
    ) == ("answered", "upstream_broken", "cut", 0.5)


def test_the_open_attempt_is_in_the_calls_own_row():
    call = make_call(1)
    begin_attempt(call)

    new = dict(zip(rows.CALL.names, rows.new_call(call), strict=True))

    assert (
        new["status"],
        new["open_attempt"],
        new["open_started_ms"],
    ) == ("running", 1, (NOW + 1) * 1000)


def test_a_cut_body_is_never_called_complete():
    call = ended_call()

    assert rows.state(call, cut=True)[rows.STATE.names.index("complete")] == 0
    assert rows.attempt(call, call.attempts[0], cut=True)[rows.ATTEMPT.names.index("complete")] == 0


def test_bytes_that_are_not_utf_8_are_stored_as_what_they_mean():
    """aiohttp hands them over as lone surrogates, which SQLite's text cannot hold."""
    stray = b"/caf\xe9/\xc3\xbc".decode("utf-8", "surrogateescape")

    new = dict(
        zip(rows.CALL.names, rows.new_call(make_call(1, path=stray, target=stray)), strict=True)
    )

    assert (new["path"], new["target"]) == ("/caf%E9/ü", "/caf%E9/ü")
