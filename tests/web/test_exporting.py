"""`GET /-/calls/export`: what was chosen, a line each, every byte of it."""

import asyncio
import base64
import json

import pytest

from tests.steps import Answer, Gate, held

TEXT = 'caf\u00e9 "quoted" \u2028\u2029\x85 \x00 \U0001f600 '


def lines(answer):
    return [json.loads(line) for line in answer.body.decode().splitlines()]


async def test_calls_come_with_their_bodies(gateway, upstream):
    body = json.dumps({"model": "m", "text": TEXT}, ensure_ascii=False).encode()
    upstream.script = [Answer(body=TEXT.encode()), Answer(body=b"\xff\x00\xfe"), Answer(body=b"")]
    async with gateway() as gw:
        first = await gw.chat(json=None, body=body)
        await gw.chat(json=None, body=b"\xff")
        await gw.request("GET", "/v1/models")
        answer = await gw.request("GET", "/-/calls/export?order=asc")
        shown = await gw.call(first.call_id)

    assert (answer.status, answer.complete) == (200, True)
    assert answer.header("content-type") == "application/x-ndjson"
    text, binary, empty = lines(answer)
    assert {name: text[name] for name in shown} == shown
    assert (text["request_body"], text["request_body_encoding"]) == (body.decode(), "utf-8")
    assert (text["response_body"], text["response_body_encoding"]) == (TEXT, "utf-8")
    assert (binary["request_body"], binary["request_body_encoding"]) == ("/w==", "base64")
    assert base64.b64decode(binary["response_body"]) == b"\xff\x00\xfe"
    assert (empty["request_body"], empty["response_body"]) == ("", "")


@pytest.mark.parametrize("tail", [b"", b"\xff"], ids=["text", "binary"])
async def test_a_large_body_is_whole(gateway, upstream, tail):
    """Pieces end within characters and within groups of base64."""
    body = "x\u20ac".encode() * 700_000 + tail
    upstream.answer = Answer(body=body)
    async with gateway() as gw:
        await gw.chat()
        (call,) = lines(await gw.request("GET", "/-/calls/export"))

    text = call["response_body"]
    assert (base64.b64decode(text) if tail else text.encode()) == body


async def test_filters_and_limit_choose(gateway, upstream):
    async with gateway() as gw:
        for number in range(3):
            await gw.chat(headers=[("x-gateway-tags", f"run={number % 2}")])
        tagged = lines(await gw.request("GET", "/-/calls/export?tag=run:0"))
        bounded = lines(await gw.request("GET", "/-/calls/export?limit=1"))
        calls = await gw.calls()

    assert [call["id"] for call in tagged] == [calls[0]["id"], calls[2]["id"]]
    assert [call["id"] for call in bounded] == [calls[0]["id"]]


async def test_nothing_chosen_is_an_empty_whole_answer(gateway, upstream):
    async with gateway() as gw:
        answer = await gw.request("GET", "/-/calls/export?status=failed")

    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


async def test_what_is_not_here_is_null(gateway, upstream):
    upstream.answer = held(Gate())
    async with gateway() as gw:
        await gw.send_chat()
        await upstream.wait_hits(1)
        (call,) = lines(await gw.request("GET", "/-/calls/export"))

    assert call["status"] == "running"
    assert (call["response_body"], call["response_body_encoding"]) == (None, None)


@pytest.mark.parametrize("query", ["nonsense=1", "limit=0", "after=call_1"])
async def test_a_malformed_query_is_refused(gateway, upstream, query):
    async with gateway() as gw:
        refused = await gw.request("GET", f"/-/calls/export?{query}")

    assert (refused.status, refused.code) == (400, "bad_request")


async def test_a_client_that_stands_still_holds_no_transaction(gateway, upstream):
    """A checkpoint gets through while somebody has stopped reading in the middle."""
    upstream.answer = Answer(body=b"x" * 30_000_000)
    async with gateway() as gw:
        await gw.chat()
        slow = await gw.send("GET", "/-/calls/export")
        await slow.read_until(b"request_body")
        checkpoint = asyncio.get_running_loop().create_future()

        def step(connection):
            row = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            checkpoint.get_loop().call_soon_threadsafe(checkpoint.set_result, row)
            return True

        await gw.service.journal.work(step)
        busy, _, _ = await checkpoint
        answer = await slow.read()

    assert busy == 0
    assert answer.complete
