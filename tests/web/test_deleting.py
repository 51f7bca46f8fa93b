"""`DELETE /-/calls/{id}`: afterwards there is no such call, and its key is free."""

import pytest

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
