"""`DELETE /-/calls/{id}`, and many at once: afterwards there is no such call, and its key is free."""

import asyncio
import sqlite3

import pytest

from gateway.journal.reader import Reader
from gateway.journal.retention import Retention
from tests.client import PATIENCE_S
from tests.running_journal import committed
from tests.security.keys import REQUIRED, by, make_key, token
from tests.steps import Answer, Gate, held


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/request"),
        ("GET", "/response"),
        ("GET", "/response?follow=true"),
        ("POST", "/cancel"),
        ("POST", "/replay"),
        ("DELETE", ""),
    ],
)
async def test_every_path_of_a_deleted_call_is_404(gateway, upstream, method, path):
    async with gateway() as gw:
        answer = await gw.chat()
        kept = await gw.chat()
        deleted = await gw.request("DELETE", f"/-/calls/{answer.call_id}")
        gone = await gw.request(method, f"/-/calls/{answer.call_id}{path}")
        calls = await gw.calls()

    assert (deleted.status, deleted.body) == (204, b"")
    assert (gone.status, gone.code) == (404, "not_found")
    assert [call["id"] for call in calls] == [kept.call_id]


async def test_a_call_that_is_not_final_is_not_deleted(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        refused = await gw.request("DELETE", f"/-/calls/{call['id']}")
        gate.open()
        answer = await sent.read()

    assert (refused.status, refused.code) == (409, "conflict")
    assert answer.status == 200


async def test_its_idempotency_key_is_free(gateway, upstream):
    key = [("Idempotency-Key", "once")]
    upstream.script = [Answer(body=b"1"), Answer(body=b"2")]
    async with gateway() as gw:
        first = await gw.chat(headers=key)
        await gw.request("DELETE", f"/-/calls/{first.call_id}")
        again = await gw.chat(headers=key)

    assert (again.body, again.header("idempotent-replayed")) == (b"2", None)
    assert again.call_id != first.call_id


async def test_an_sdks_retry_does_not_join_it(gateway, upstream):
    gate = Gate()
    upstream.script = [held(gate, Answer(body=b"1")), Answer(body=b"2")]
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        sent.hang_up()
        (call,) = await gw.calls()
        gate.open()
        await gw.final(call["id"])
        await gw.request("DELETE", f"/-/calls/{call['id']}")
        again = await gw.chat(headers=[("x-stainless-retry-count", "1")])

    assert again.body == b"2"


async def test_the_original_forgets_a_deleted_replay(gateway, upstream):
    async with gateway() as gw:
        old = await gw.chat()
        new = await gw.api("POST", f"/-/calls/{old.call_id}/replay", expect=202)
        await gw.final(new["id"])
        await gw.request("DELETE", f"/-/calls/{new['id']}")

        assert (await gw.call(old.call_id))["replays"] == []


# -- many at once


def bytes_of(gw):
    """Return all that the journal's files hold."""
    return b"".join(path.read_bytes() for path in gw.db.parent.glob("gateway.db*"))


async def wait_tidy(gw):
    """Return once the search index holds no words of calls that are gone."""
    untidy = "SELECT count(*) FROM volumes WHERE removed > 0 OR state = 'dropped'"
    async with asyncio.timeout(PATIENCE_S):
        while committed(gw.db, untidy) != [(0,)]:
            await gw.request("GET", "/-/healthy")


async def test_everything_of_one_key_is_purged_for_good_and_nothing_of_another(gateway, upstream):
    upstream.answer = Answer(body=b"zebrafinch answers")
    async with gateway(auth=REQUIRED) as gw:
        gone, kept = await make_key(gw), await make_key(gw)
        host, once = by(token(gw)), ("Idempotency-Key", "once")
        purged = [
            await gw.chat(
                headers=[*by(gone["key"]), once], json={"model": "m", "say": "kingfisher"}
            ),
            await gw.chat(headers=by(gone["key"]), json={"model": "m", "say": "kingfisher"}),
        ]
        other = await gw.chat(headers=by(kept["key"]), json={"model": "m", "say": "nightjar"})
        found = await gw.api("GET", "/-/calls?q=kingfisher", headers=host)
        before = bytes_of(gw)
        counted = await gw.api(
            "POST", f"/-/calls/delete?key={gone['id']}&dry_run=true", headers=host
        )
        done = await gw.api("POST", f"/-/calls/delete?key={gone['id']}", headers=host)
        missing = [
            await gw.request("GET", f"/-/calls/{each.call_id}/response", headers=host)
            for each in purged
        ]
        left = await gw.api("GET", "/-/calls", headers=host)
        still = await gw.request("GET", f"/-/calls/{other.call_id}/request", headers=host)
        words = await gw.api("GET", "/-/calls?q=kingfisher", headers=host)
        stats = await gw.api("GET", "/-/stats?window=5m", headers=host)
        trail = await gw.api("GET", "/-/audit?limit=2", headers=host)
        upstream.answer = Answer(body=b"another")
        again = await gw.chat(headers=[*by(gone["key"]), once])
        await wait_tidy(gw)
    after = bytes_of(gw)

    assert counted == {"object": "bulk", "matched": 2, "done": 0, "refused": []}
    assert done == {"object": "bulk", "matched": 2, "done": 2, "refused": []}
    assert [each.code for each in missing] == ["not_found"] * 2
    assert [call["id"] for call in left["data"]] == [other.call_id]
    assert still.json()["say"] == "nightjar"
    assert (len(found["data"]), words["data"]) == (2, [])
    assert stats["totals"]["calls"] == 3  # what was counted stays counted
    assert [each["action"] for each in trail["data"]] == ["calls.deleted"] * 2
    assert trail["data"][0]["target"] == gone["id"]
    assert (again.body, again.header("idempotent-replayed")) == (b"another", None)
    assert b"kingfisher" in before
    assert b"nightjar" in after
    assert b"kingfisher" not in after


async def test_open_calls_are_refused_and_go_on(gateway, upstream):
    gate = Gate()
    async with gateway() as gw:
        ended = await gw.chat()
        upstream.answer = held(gate)
        sent = await gw.send_chat()
        await upstream.wait_hits(2)
        open_call = (await gw.calls(status="running"))[0]["id"]
        done = await gw.api("POST", "/-/calls/delete?all=true")
        gate.open()
        answer = await sent.read()
        gone = await gw.request("GET", f"/-/calls/{ended.call_id}")

    assert done == {
        "object": "bulk", "matched": 2, "done": 1,
        "refused": [{"id": open_call, "code": "conflict"}],
    }  # fmt: skip
    assert (answer.status, gone.status) == (200, 404)


@pytest.mark.parametrize(
    "query",
    ["", "limit=5", "q=", "order=asc", "dry_run=true", "all=false", "all=yes", "all=true&all=true",
     "all=true&status=failed", "status=odd", "nonsense=1", "after=call_1"],
)  # fmt: skip
async def test_nothing_is_deleted_that_was_not_chosen(gateway, upstream, query):
    async with gateway() as gw:
        await gw.chat()
        refused = await gw.request("POST", f"/-/calls/delete?{query}")
        calls = await gw.calls()

    assert (refused.status, refused.code) == (400, "bad_request")
    assert len(calls) == 1


async def test_limit_bounds_how_many_go_the_oldest_first_page_by_page(
    gateway, upstream, monkeypatch
):
    monkeypatch.setitem(Reader.pages.__kwdefaults__, "page_calls", 2)
    async with gateway() as gw:
        ids = [(await gw.chat()).call_id for _ in range(6)]
        done = await gw.api("POST", "/-/calls/delete?status=succeeded&limit=5")
        left = await gw.calls()

    assert (done["matched"], done["done"]) == (5, 5)
    assert [call["id"] for call in left] == ids[5:]


async def test_a_key_deletes_its_own_whatever_filters_say(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        mine, theirs = await make_key(gw), await make_key(gw)
        reader = await make_key(gw, "relay", "read-all")
        for key in (mine, theirs):
            await gw.chat(headers=by(key["key"]))
        of_others = await gw.api(
            "POST", f"/-/calls/delete?key={theirs['id']}", headers=by(mine["key"])
        )
        own = await gw.api("POST", "/-/calls/delete?all=true", headers=by(mine["key"]))
        denied = await gw.request("POST", "/-/calls/delete?all=true", headers=by(reader["key"]))
        left = await gw.api("GET", "/-/calls", headers=by(token(gw)))

    assert (of_others["matched"], own["matched"], own["done"]) == (0, 1, 1)
    assert denied.status == 403
    assert [call["key"] for call in left["data"]] == [theirs["id"]]


async def test_a_journal_that_cannot_be_written_says_so(gateway, upstream, monkeypatch):
    def fail(*_):
        raise sqlite3.OperationalError("disk I/O error")

    async with gateway() as gw:
        await gw.chat()
        monkeypatch.setattr("gateway.journal.deletion.remove_calls", fail)
        refused = await gw.request("POST", "/-/calls/delete?all=true")

    assert (refused.status, refused.code) == (503, "journal_unavailable")


async def test_where_nothing_was_deleted_nothing_is_tidied(gateway, upstream, monkeypatch):
    asked: list[Retention] = []

    def soon(retention: Retention) -> None:
        asked.append(retention)

    monkeypatch.setattr(Retention, "soon", soon)
    async with gateway() as gw:
        await gw.chat()
        nothing = await gw.api("POST", "/-/calls/delete?status=failed")
        after_nothing = len(asked)
        something = await gw.api("POST", "/-/calls/delete?status=succeeded")

    assert (nothing["done"], after_nothing) == (0, 0)
    assert (something["done"], len(asked)) == (1, 1)
