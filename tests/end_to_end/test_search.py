"""Search through the running gateway: what was just said is found, and what is gone is not."""

import json
from urllib.parse import quote

import pytest

from tests.steps import Answer, Gate, held


def asking(words, model="gpt-4o"):
    return {"model": model, "messages": [{"role": "user", "content": words}]}


def saying(words):
    message = {"role": "assistant", "content": words}
    return Answer(body=json.dumps({"choices": [{"index": 0, "message": message}]}).encode())


async def found(gw, q, **more):
    """Return the ids that `q` finds."""
    return [call["id"] for call in await gw.calls(q=q, **more)]


async def test_a_call_is_found_by_what_was_asked_and_answered_as_soon_as_it_ends(gateway, upstream):
    upstream.answer = saying("The capital of Peru is Lima.")
    async with gateway() as gw:
        one = await gw.chat(json=asking("What is the capital of Perú?"))
        other = await gw.chat(json=asking("unrelated"))

        assert await found(gw, "peru what lima") == [one.call_id]
        assert await found(gw, '"capital of peru"') == [other.call_id, one.call_id]
        assert await found(gw, "unrel*") == [other.call_id]
        assert await found(gw, "capital -what") == [other.call_id]
        assert await found(gw, "nothing") == []
        (call, _) = await gw.calls(q="model:gpt-4* OR what")
        assert call["preview"] == {"request": "unrelated", "answer": "The capital of Peru is Lima."}


async def test_an_open_call_is_found_by_its_request(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = await gw.send_chat(json=asking("a slow question"))
        await upstream.wait_hits(1)
        (call,) = await gw.wait_calls(1, q="slow status:running")
        gate.open()
        await sent.read()
        (ended,) = await gw.calls(q="slow status:succeeded")

    assert call["preview"] == {"request": "a slow question", "answer": None}
    assert ended["id"] == call["id"]


async def test_bulk_and_count_and_export_take_the_same_query(gateway, upstream):
    async with gateway() as gw:
        for words in ("red apple", "green apple", "green pear"):
            await gw.chat(json=asking(words))
        counted = await gw.api("GET", f"/-/calls/count?q={quote('green apple OR red')}")
        bulk = await gw.api("POST", "/-/calls/replay?dry_run=true&q=apple")
        exported = await gw.request("GET", "/-/calls/export?q=pear")

    assert counted == {"object": "count", "count": 2, "capped": False}
    assert bulk["matched"] == 2
    assert exported.body.count(b"\n") == 1
    assert b"green pear" in exported.body


@pytest.mark.parametrize(
    ("q", "position"), [('a "b', 2), ("(a", 0), ("a status:faild", 9), ("dur:>10q", 4), ("!!", 0)]
)
async def test_what_cannot_be_understood_says_where(gateway, q, position):
    async with gateway() as gw:
        problem = await gw.api("GET", f"/-/calls?q={quote(q)}", expect=400)

    assert (problem["code"], problem["position"]) == ("bad_request", position)
    assert "hint" in problem


async def test_a_deleted_call_is_found_no_more_and_its_words_leave_the_file(gateway, upstream):
    upstream.answer = saying("xylophonic answer")
    async with gateway() as gw:
        gone = await gw.chat(json=asking("quixotically asked"))
        kept = await gw.chat(json=asking("kept question"))
        assert await found(gw, "xylophonic") == [kept.call_id, gone.call_id]
        await gw.request("DELETE", f"/-/calls/{gone.call_id}")

        assert await found(gw, "quixotically") == []
        assert await found(gw, "xylophonic") == [kept.call_id]
        await gw.api("POST", "/-/prune")
        assert await found(gw, "kept xylophonic") == [kept.call_id]
    assert b"quixotically" not in gw.db.read_bytes()
    assert b"xylophonic" in gw.db.read_bytes()


async def test_what_a_killed_process_had_not_indexed_is_found_after_the_next_start(
    gateway_process, upstream
):
    upstream.answer = saying("before the crash")
    async with gateway_process() as process:
        asked = await process.chat(json=asking("remember me"))
        process.kill()
    async with gateway_process() as process:
        calls = await process.wait_calls(1, q="remember crash")

    assert [call["id"] for call in calls] == [asked.call_id]
