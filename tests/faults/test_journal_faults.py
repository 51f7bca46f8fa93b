"""The Nth write to the journal fails, for every N: nothing is lost, doubled or left hanging.

A fault comes before the transaction, or after its commit, when only the writer does not know that
it is in the file.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from gateway.journal import file
from tests.steps import Answer, stall, stream

EVENTS = [b'data: {"n":1}\n\n', b"data: [DONE]\n\n"]


class Faults:
    """Fails the Nth write, once; `writes` counts them all."""

    def __init__(self, nth: int, when: str, code: int) -> None:
        self.nth, self.when, self.code = nth, when, code
        self.writes = 0

    def around(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """Return *write* with the fault in it; it runs in the connection's thread."""

        def faulty(*arguments: Any) -> Any:
            self.writes += 1
            is_due = self.writes == self.nth
            if is_due and self.when == "before":
                raise self._error()
            result = write(*arguments)
            if is_due:
                raise self._error()
            return result

        return faulty

    def _error(self) -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("an injected fault")
        error.sqlite_errorcode = self.code
        error.sqlite_errorname = "INJECTED"
        return error


async def scenario(gw: Any, upstream: Any) -> dict[str, Any]:
    """Make one call of each kind; return who was told what."""
    upstream.script = []
    upstream.choose = lambda request: {
        "/v1/plain": Answer(body=b"plain"),
        "/v1/stream": stream(EVENTS),
        "/v1/again": Answer(503) if upstream.hits % 2 else Answer(body=b"again"),
        "/v1/later": Answer(body=b"later"),
        "/v1/long": stall(5),
    }[request.target]
    later = [("Prefer", "respond-async")]
    told = {
        "plain": await gw.request("POST", "/v1/plain", body=b"{}"),
        "stream": await gw.request("POST", "/v1/stream", json={"stream": True}),
        "again": await gw.request("POST", "/v1/again", body=b"{}"),
        "later": await gw.request("POST", "/v1/later", body=b"{}", headers=later),
        "long": await gw.request("POST", "/v1/long", body=b"{}", headers=later),
    }
    if told["long"].status == 202:
        await gw.request("POST", f"/-/calls/{told['long'].json()['id']}/cancel")
    return told


async def one_run(gateway: Any, upstream: Any, faults: Faults, monkeypatch: Any) -> None:
    monkeypatch.setattr(file, "write", faults.around(file.write))
    async with gateway() as gw:
        told = await scenario(gw, upstream)
        async with asyncio.timeout(10):
            while (await gw.request("GET", "/-/ready")).status != 200:
                pass
        await gw.wait_calls(0, status="queued,running")
        calls = {call["id"]: call for call in await gw.calls()}
        after = await gw.request("POST", "/v1/plain", body=b"{}")
        stats = await gw.api("GET", "/-/stats?window=5m")
        slots = gw.service.admission.statistics()
        path = gw.db
    monkeypatch.undo()

    assert after.status == 200 or faults.writes <= faults.nth + 3, "it was met by the last call"
    assert (slots.in_flight, slots.queued, slots.open_calls) == (0, 0, 0)
    known = set()
    for name, answer in told.items():
        if answer.status == 503 and answer.header("x-gateway-call-id") is None:
            assert answer.code == "journal_unavailable"
            continue
        call_id = answer.json()["id"] if answer.status == 202 else answer.call_id
        known.add(call_id)
        assert calls[call_id]["status"] == ("cancelled" if name == "long" else "succeeded"), name
        if answer.status == 200:
            assert answer.complete
            assert recorded_body(path, call_id) == answer.body
    assert calls.keys() == known, "no call that nobody was told of"
    assert stats["totals"]["calls"] == len(calls) + (after.status == 200)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for each in path.parent.glob("gateway.db*"):
        each.unlink()  # the next run begins with none


def recorded_body(path: Any, call_id: str) -> bytes:
    """The recorded answer of a call."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT p.data FROM parts p JOIN calls c ON c.seq = p.seq AND c.answer = p.attempt"
            " WHERE c.id = ? ORDER BY p.start",
            (call_id,),
        ).fetchall()
    return b"".join(row[0] for row in rows)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 13))
async def test_one_failed_write_costs_nothing_that_was_accepted(
    gateway, upstream, monkeypatch, nth, when
):
    faults = Faults(nth, when, sqlite3.SQLITE_FULL if nth % 2 else sqlite3.SQLITE_IOERR)
    await one_run(gateway, upstream, faults, monkeypatch)

    assert faults.writes >= nth, "the fault was met"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_whichever_write_fails(gateway, upstream, monkeypatch, when):
    nth, met = 1, True
    while met:
        faults = Faults(nth, when, sqlite3.SQLITE_IOERR)
        await one_run(gateway, upstream, faults, monkeypatch)
        met = faults.writes >= nth
        nth += 1

    assert nth > 12
