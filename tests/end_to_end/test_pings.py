"""`stream_ping_s`: a silent stream is kept alive, in the form its dialect's clients survive."""

import pytest

from tests.steps import Answer, Gate, hang, held, stream

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
