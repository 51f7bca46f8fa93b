"""Each phase of an attempt has its own bound and its own code; a deadline bounds all of it."""

import asyncio
import socket

import pytest

from tests.steps import Answer, Gate, Request, as_play, hang, held, stream

ONE_TRY = {"max_attempts": 1}
SHORT_S = 0.05


def upstreams(retry=None, **timeouts):
    return {"openai": {"timeouts": timeouts, "retry": retry or ONE_TRY}}


async def trickle(request: Request) -> None:
    """Send a byte every few milliseconds, for ever."""
    await request.write(Answer(headers=[("Content-Length", "100000")]).head())
    while True:
        await request.write(b"x")
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("step", "timeouts", "code"),
    [
        (hang(), {"first_byte_s": SHORT_S}, "first_byte_timeout"),
        (stream([b"x", b"y"], Gate(), []), {"idle_s": SHORT_S}, None),
        (Answer(body=b"xy", gate=Gate()), {"idle_s": SHORT_S}, "idle_timeout"),
        (trickle, {"total_s": SHORT_S}, "total_timeout"),
        (hang(), {"total_s": SHORT_S}, "total_timeout"),
    ],
    ids=["no head", "silent stream", "silent body", "trickle", "total without head"],
)
async def test_each_phase_has_its_own_code(gateway, upstream, step, timeouts, code):
    upstream.answer = step
    async with gateway(upstreams=upstreams(**timeouts)) as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)
        await upstream.wait_closed(upstream.requests[0])

    if code:
        assert (answer.status, answer.code) == (504, code)
        assert answer.header("x-should-retry") == "false"
    else:
        assert (answer.status, answer.complete) == (200, False)
    (attempt,) = call["attempts"]
    assert call["error"]["code"] == attempt["error"]["code"] == (code or "idle_timeout")
    assert (call["status"], attempt["outcome"]) == ("failed", "timed_out")


async def test_a_connection_that_does_not_come_about_has_its_own_code(gateway):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]  # fill the backlog: no SYN is answered now
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        table = {
            "base_url": f"http://127.0.0.1:{address[1]}",
            "timeouts": {"connect_s": SHORT_S},
            "retry": ONE_TRY,
        }
        async with gateway(upstreams={"openai": table}) as gw:
            answer = await gw.chat()
            call = await gw.call(answer.call_id)
        for sock in waiting:
            sock.close()

    assert (answer.status, answer.code) == (504, "connect_timeout")
    assert call["attempts"][0]["outcome"] == "timed_out"


async def test_a_timeout_before_the_first_byte_is_tried_again(gateway, upstream):
    upstream.script = [hang(), 200]
    async with gateway(upstreams=upstreams({"max_attempts": 2}, first_byte_s=SHORT_S)) as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.header("x-gateway-attempts")) == (200, "2")
    assert [attempt["outcome"] for attempt in call["attempts"]] == ["timed_out", "answered"]


async def test_a_stream_that_falls_silent_ends_with_an_error_event(gateway, upstream):
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", b"data: 2\n\n"], gate)
    gate.release()
    async with gateway(upstreams=upstreams(idle_s=SHORT_S)) as gw:
        answer = await gw.chat(stream=True)

    assert (answer.status, answer.complete) == (200, False)
    assert answer.body.startswith(b'data: 1\n\ndata: {"error":')
    assert b"idle_timeout" in answer.body
    assert b"[DONE]" not in answer.body


async def test_a_stream_that_keeps_talking_is_never_idle(gateway, upstream):
    async def talk(request: Request) -> None:
        await request.write(stream([]).head())
        for _ in range(20):
            await request.write(b"9\r\ndata: x\n\n\r\n")
            await asyncio.sleep(0.01)
        await request.write(b"0\r\n\r\n")

    upstream.answer = talk
    async with gateway(upstreams=upstreams(idle_s=0.1, first_byte_s=0.1)) as gw:
        answer = await gw.chat(stream=True)

    assert (answer.complete, answer.body) == (True, b"data: x\n\n" * 20)


# -- deadlines


async def expires(gw, upstream, exchange):
    """Return call and answer of *exchange* after checking that its time ran out."""
    answer = await exchange.read()
    call = await gw.call(answer.call_id)
    assert (answer.status, answer.code) == (504, "deadline_exceeded")
    assert (call["status"], call["error"]["code"]) == ("expired", "deadline_exceeded")
    assert call["deadline_at"] is not None
    return call


DEADLINE = [("x-gateway-timeout-s", str(SHORT_S))]


async def test_a_deadline_ends_an_attempt_in_flight(gateway, upstream):
    upstream.answer = hang()
    async with gateway() as gw:
        ample = [("x-gateway-timeout-s", "1.5")]  # to be on its way when it passes
        call = await expires(gw, upstream, await gw.send_chat(headers=ample))
        await upstream.wait_closed(upstream.requests[0])

    assert len(call["attempts"]) == upstream.hits == 1


async def test_a_deadline_ends_the_wait_for_a_slot_unsent(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        first = await gw.send_chat()
        await upstream.wait_hits(1)
        call = await expires(gw, upstream, await gw.send_chat(headers=DEADLINE))
        gate.open()
        await first.read()

    assert (call["attempts"], upstream.hits) == ([], 1)


async def test_a_deadline_counts_retries_too(gateway, upstream):
    upstream.script = [503]
    upstream.answer = hang()
    async with gateway() as gw:
        call = await expires(gw, upstream, await gw.send_chat(headers=DEADLINE))

    assert [attempt["number"] for attempt in call["attempts"]] == [1, 2]


async def test_a_deadline_cuts_a_stream_that_began(gateway, upstream):
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", b"data: 2\n\n"], gate)
    gate.release()
    async with gateway() as gw:
        answer = await gw.chat(stream=True, headers=[("x-gateway-timeout-s", "0.1")])
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.complete) == (200, False)
    assert b"deadline_exceeded" in answer.body
    assert call["status"] == "expired"


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_call_that_gets_no_slot_in_time_expires_unsent(gateway, upstream, by_header):
    gate = Gate()
    upstream.answer = held(gate)
    headers = [("x-gateway-queue-timeout-s", str(SHORT_S))] if by_header else []
    limits = {} if by_header else {"queue_timeout_s": SHORT_S}
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}, limits=limits) as gw:
        first = await gw.send_chat()
        await upstream.wait_hits(1)
        answer = await gw.chat(headers=headers)
        call = await gw.call(answer.call_id)
        gate.open()
        assert (await first.read()).status == 200

    assert (answer.status, answer.code) == (504, "queue_timeout")
    assert (call["status"], call["attempts"], call["started_at"]) == ("expired", [], None)
    assert call["queued_ms"] == call["duration_ms"] >= SHORT_S * 1000
    assert upstream.hits == 1


async def test_the_queue_timeout_is_over_once_the_call_was_sent(gateway, upstream):
    upstream.script = [503, 503, as_play(200)]
    wait = [("x-gateway-queue-timeout-s", "0.001")]
    async with gateway(upstreams={"openai": {"retry": {"backoff_s": 0.01}}}) as gw:
        answer = await gw.chat(headers=wait)

    assert (answer.status, upstream.hits) == (200, 3)
