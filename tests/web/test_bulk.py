"""The same to many calls: chosen by the list's filters, counted first, told one by one."""

import sqlite3
from contextlib import closing

import pytest

from gateway.journal.reader import Reader
from tests.steps import Gate, held

ASYNC = ("Prefer", "respond-async")
ONE_SLOT = {"openai": {"max_in_flight": 1}}


async def queue(gw, count, *headers):
    """Queue calls that nobody waits for; their ids, oldest first."""
    return [(await gw.chat(headers=[ASYNC, *headers])).json()["id"] for _ in range(count)]


async def test_open_calls_under_filters_are_cancelled_and_no_other(gateway, upstream):
    upstream.answer = held(Gate())
    async with gateway(upstreams=ONE_SLOT) as gw:
        await queue(gw, 1)
        await upstream.wait_hits(1)
        mine = await queue(gw, 3, ("x-gateway-tags", "run=7"))
        await queue(gw, 2, ("x-gateway-tags", "run=8"))
        counted = await gw.api("POST", "/-/calls/cancel?tag=run:7&dry_run=true")
        untouched = await gw.calls(status="cancelled")
        done = await gw.api("POST", "/-/calls/cancel?tag=run:7")
        cancelled = await gw.calls(status="cancelled")
        rest = await gw.api("POST", "/-/calls/cancel")
        again = await gw.api("POST", "/-/calls/cancel")

    assert counted == {"object": "bulk", "matched": 3, "done": 0, "refused": []}
    assert untouched == []
    assert done == {"object": "bulk", "matched": 3, "done": 3, "refused": []}
    assert {call["id"] for call in cancelled} == set(mine)
    assert (rest["matched"], rest["done"]) == (3, 3)
    assert again["matched"] == 0
    assert upstream.hits == 1  # none of the waiting took the place of the cancelled one


async def test_replays_queue_in_the_order_of_the_originals(gateway, upstream, monkeypatch):
    monkeypatch.setitem(Reader.pages.__kwdefaults__, "page_calls", 2)
    async with gateway(upstreams=ONE_SLOT) as gw:
        for number in range(5):
            await gw.chat(json={"model": "gpt-4o-mini", "n": number})
        counted = await gw.api("POST", "/-/calls/replay?status=succeeded&dry_run=true")
        done = await gw.api("POST", "/-/calls/replay?status=succeeded")
        calls = await gw.wait_calls(10, status="succeeded")

    assert counted == {"object": "bulk", "matched": 5, "done": 0, "refused": []}
    assert done == {"object": "bulk", "matched": 5, "done": 5, "refused": []}
    assert [request.json()["n"] for request in upstream.requests[5:]] == [0, 1, 2, 3, 4]
    assert [call["replay_of"] for call in calls[:5]] == [call["id"] for call in calls[5:]]


async def test_replays_are_changed_alike(gateway, upstream):
    async with gateway() as gw:
        for _ in range(2):
            await gw.chat()
        done = await gw.api("POST", "/-/calls/replay", json={"model": "o3"})
        await gw.wait_calls(2, model="o3", status="succeeded")

    assert done["done"] == 2
    assert [request.json()["model"] for request in upstream.requests[2:]] == ["o3", "o3"]


async def test_what_cannot_be_replayed_is_told_one_by_one(gateway, upstream):
    gate = Gate()
    async with gateway() as gw:
        good = await gw.chat()
        purged = await gw.chat()
        secret = await gw.chat(headers=[("Authorization", "Bearer own")])
        upstream.answer = held(gate)
        (running,) = await queue(gw, 1)
        with closing(sqlite3.connect(gw.db)) as connection, connection:
            connection.execute(
                "DELETE FROM parts WHERE seq = (SELECT seq FROM calls WHERE id = ?)",
                (purged.call_id,),
            )
        done = await gw.api("POST", "/-/calls/replay")
        gate.open()

    assert (done["matched"], done["done"]) == (4, 1)
    assert done["refused"] == [
        {"id": purged.call_id, "code": "gone"},
        {"id": secret.call_id, "code": "conflict"},
        {"id": running, "code": "conflict"},
    ]
    assert good.status == 200


async def test_a_full_queue_refuses_the_rest(gateway, upstream):
    gate = Gate()
    async with gateway(upstreams=ONE_SLOT, limits={"max_queued_detached": 1}) as gw:
        for _ in range(4):
            await gw.chat()
        upstream.answer = held(gate)
        done = await gw.api("POST", "/-/calls/replay")
        gate.open()

    assert (done["matched"], done["done"]) == (4, 2)
    assert [refused["code"] for refused in done["refused"]] == ["queue_full", "queue_full"]


async def test_limit_bounds_how_many(gateway, upstream):
    async with gateway() as gw:
        for _ in range(3):
            await gw.chat()
        counted = await gw.api("POST", "/-/calls/replay?limit=2&dry_run=true")
        done = await gw.api("POST", "/-/calls/replay?limit=2")

    assert counted["matched"] == done["matched"] == done["done"] == 2


@pytest.mark.parametrize("action", ["cancel", "replay"])
@pytest.mark.parametrize(
    "query", ["nonsense=1", "status=odd", "after=call_1", "dry_run=maybe", "dry_run=true&dry_run="]
)
async def test_a_malformed_query_does_nothing(gateway, upstream, action, query):
    async with gateway() as gw:
        await gw.chat()
        refused = await gw.request("POST", f"/-/calls/{action}?{query}")
        calls = await gw.calls()

    assert (refused.status, refused.code) == (400, "bad_request")
    assert len(calls) == 1


async def test_an_unknown_upstream_replays_nothing(gateway, upstream):
    async with gateway() as gw:
        await gw.chat()
        refused = await gw.request("POST", "/-/calls/replay", json={"upstream": "nowhere"})

    assert (refused.status, refused.code) == (404, "unknown_upstream")
