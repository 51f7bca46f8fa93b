"""`stream_ping_s`: a silent stream is kept alive, in the form its dialect's clients survive."""

import asyncio

import pytest

from tests.steps import SSE, Answer, Gate, hang, held, stall, stream

FIRST, SECOND = b'data: {"n": 1}\n\n', b"data: [DONE]\n\n"
PINGS = {
    "openai": b": ping\n\n",
    "anthropic": b'event: ping\ndata: {"type": "ping"}\n\n',
    "gemini": b"\n",
}


def pinging(dialect: str = "openai", **more) -> dict:
    return {"openai": {"stream_ping_s": 0.02, "dialect": dialect, **more}}


@pytest.mark.parametrize("dialect", PINGS)
async def test_a_silent_stream_is_pinged_between_its_events(gateway, upstream, dialect):
    gate = Gate()
    upstream.answer = stream([FIRST, SECOND], gate=gate)
    async with gateway(upstreams=pinging(dialect)) as gw:
        sent = await gw.send_chat(stream=True)
        gate.release(1)
        await sent.read_until(FIRST + PINGS[dialect] * 2)
        gate.open()
        await sent.read()
        call = await gw.call(sent.call_id)
        kept = await gw.request("GET", f"/-/calls/{sent.call_id}/response")

    assert sent.complete
    assert sent.body.endswith(SECOND)
    assert kept.body == FIRST + SECOND
    assert (call["status"], call["response"]["bytes"]) == ("succeeded", len(FIRST + SECOND))


async def test_a_ping_never_stands_inside_an_event(gateway, upstream):
    gate = Gate()
    upstream.answer = stream([FIRST[:7], FIRST[7:] + SECOND], gate=gate)
    async with gateway(upstreams=pinging()) as gw:
        sent = await gw.send_chat(stream=True)
        gate.release(1)
        await sent.read_until(FIRST[:7])
        gate.open()
        await sent.read()

    assert sent.body.endswith(FIRST + SECOND)


async def test_while_it_waits_for_its_head_a_stream_is_pinged_too(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate, stream([FIRST, SECOND]))
    async with gateway(upstreams=pinging(max_in_flight=1)) as gw:
        sent = await gw.send_chat(stream=True)
        await sent.read_until(PINGS["openai"])
        gate.open()
        await sent.read()

    assert (sent.status, sent.complete) == (200, True)
    assert sent.body.endswith(FIRST + SECOND)


async def test_a_failure_after_pings_is_one_error_event(gateway, upstream):
    upstream.answer = hang()
    slow = pinging(timeouts={"first_byte_s": 0.1}, retry={"max_attempts": 1})
    async with gateway(upstreams=slow) as gw:
        sent = await gw.send_chat(stream=True)
        await sent.read()

    assert not sent.complete
    assert b"first_byte_timeout" in sent.body


async def test_plain_calls_get_no_pings(gateway, upstream):
    gate = Gate()
    upstream.answer = Answer(gate=gate)
    async with gateway(upstreams=pinging()) as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        gate.open()
        await sent.read()

    assert sent.body == Answer().body


async def test_a_stream_that_flows_gets_none(gateway, upstream):
    """Bytes every 10 ms for five times the silence that would be pinged."""

    async def flow(request) -> None:
        await request.write(Answer(headers=[*SSE, ("Connection", "close")]).head())
        for _ in range(100):
            await request.write(FIRST)
            await asyncio.sleep(0.01)
        request.connection.close()

    upstream.answer = flow
    slow = {"openai": {"stream_ping_s": 0.2}}
    async with gateway(upstreams=slow) as gw:
        sent = await gw.send_chat(stream=True)
        await sent.read()

    assert sent.body.count(FIRST) == 100
    assert sent.body.count(PINGS["openai"]) <= 2  # the machine may stall once or twice


async def test_the_call_is_still_tried_again_while_only_pings_were_sent(gateway, upstream):
    gate = Gate()
    upstream.script = [held(gate, 503), stream([FIRST, SECOND])]
    async with gateway(upstreams=pinging()) as gw:
        sent = await gw.send_chat(stream=True)
        await sent.read_until(PINGS["openai"])
        gate.open()
        await sent.read()
        call = await gw.call(sent.call_id)

    assert (sent.status, sent.complete) == (200, True)
    assert sent.body.endswith(FIRST + SECOND)
    assert [attempt["status"] for attempt in call["attempts"]] == [503, 200]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, body=b'{"error":{"message":"no"}}'),
        Answer(200),
        stream([FIRST], headers=[*SSE, ("Content-Encoding", "gzip")]),
    ],
    ids=["refusal", "plain", "compressed"],
)
async def test_an_answer_that_cannot_follow_pings_is_one_error_event(gateway, upstream, answer):
    gate = Gate()
    upstream.answer = held(gate, answer)
    async with gateway(upstreams=pinging()) as gw:
        sent = await gw.send_chat(stream=True)
        await sent.read_until(PINGS["openai"])
        gate.open()
        await sent.read()
        call = await gw.final(sent.call_id)

    assert not sent.complete
    event = sent.body.replace(PINGS["openai"], b"")
    assert b"upstream_error" in event
    assert (event.startswith(b"data: {"), event.count(b"\n\n")) == (True, 1)
    assert call["attempts"][0]["status"] == answer.status  # the record has it as it was


async def test_a_stream_that_cannot_follow_pings_is_not_left_running(gateway, upstream):
    gate = Gate()
    packed = stream([FIRST, SECOND], gate, headers=[*SSE, ("Content-Encoding", "gzip")])
    upstream.answer = stall(0.1, packed)
    async with gateway(upstreams=pinging()) as gw:
        sent = await gw.send_chat(stream=True)
        await sent.read()
        await upstream.wait_closed(upstream.request)
        call = await gw.final(sent.call_id)

    assert (call["status"], call["client_gone"]) == ("cancelled", True)


async def test_pings_do_not_keep_a_silent_upstream_alive(gateway, upstream):
    upstream.answer = stream([FIRST, SECOND], gate := Gate())
    slow = pinging(timeouts={"idle_s": 0.1})
    async with gateway(upstreams=slow) as gw:
        sent = await gw.send_chat(stream=True)
        gate.release()
        await sent.read()

    assert not sent.complete
    assert b"idle_timeout" in sent.body


async def test_geminis_json_array_gets_no_head_of_ours(gateway, upstream):
    upstream.answer = stall(0.1, Answer(body=b"[{}]"))
    path = "/v1beta/models/m:streamGenerateContent"
    async with gateway(upstreams=pinging("gemini")) as gw:
        array = await gw.request("POST", path, json={})
        events = await gw.request("POST", f"{path}?alt=sse", json={})

    assert (array.status, array.body) == (200, b"[{}]")
    assert events.header("content-type") == "text/event-stream"


async def test_the_head_of_ours_says_which_call_it_is_and_how_it_stands(gateway, upstream):
    upstream.answer = held(gate := Gate(), stream([SECOND]))
    async with gateway(upstreams=pinging(max_in_flight=1)) as gw:
        first = await gw.send_chat(stream=True)
        await upstream.wait_hits(1)
        queued = await gw.send_chat(stream=True)
        heads = [await sent.read_head() for sent in (first, queued)]
        gate.open()
        for sent in heads:
            await sent.read()

    assert [sent.header("x-gateway-attempts") for sent in heads] == ["1", "0"]
    assert all(sent.header("server-timing") for sent in heads)
    assert heads[0].call_id != heads[1].call_id


async def test_a_client_that_leaves_a_pinged_stream_cancels_it(gateway, upstream):
    upstream.answer = hang()
    async with gateway(upstreams=pinging()) as gw:
        sent = await gw.send_chat(stream=True)
        await sent.read_until(PINGS["openai"])
        sent.hang_up()
        await upstream.wait_closed(upstream.request)
        call = await gw.final(sent.call_id)

    assert (call["status"], call["client_gone"]) == ("cancelled", True)
