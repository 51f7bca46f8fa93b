"""A client that leaves: its call's policy decides, never chance."""

import pytest

from tests.steps import Answer, Gate, held, stream

FINISH = [("x-gateway-on-disconnect", "finish")]
CANCEL = [("x-gateway-on-disconnect", "cancel")]


@pytest.mark.parametrize(
    ("table", "headers"),
    [({}, []), ({"on_disconnect": "cancel"}, FINISH)],
    ids=["default", "asked"],
)
async def test_a_plain_call_is_finished_and_its_answer_kept(gateway, upstream, table, headers):
    gate = Gate()
    upstream.answer = held(gate, Answer(body=b"worth keeping"))
    async with gateway(upstreams={"openai": table}) as gw:
        sent = await gw.send_chat(headers=headers)
        await upstream.wait_hits(1)
        sent.hang_up()
        (call,) = await gw.wait_calls(1)
        gate.open()
        call = await gw.final(call["id"])
        kept = await gw.request("GET", f"/-/calls/{call['id']}/response")

    assert (call["status"], call["client_gone"]) == ("succeeded", True)
    assert kept.body == b"worth keeping"


@pytest.mark.parametrize(
    ("table", "headers"),
    [({"on_disconnect": "cancel"}, []), ({}, CANCEL)],
    ids=["configured", "asked"],
)
async def test_a_plain_call_is_cancelled_where_that_is_the_policy(
    gateway, upstream, table, headers
):
    upstream.answer = held(Gate())
    async with gateway(upstreams={"openai": table}) as gw:
        sent = await gw.send_chat(headers=headers)
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        await cancelled_at_once(gw, upstream, sent, call["id"])


async def test_a_stream_is_cancelled_by_default(gateway, upstream):
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", b"data: 2\n\n"], gate)
    async with gateway() as gw:
        sent = await gw.send_chat(stream=True)
        gate.release()
        await sent.read_until(b"1\n\n")
        await cancelled_at_once(gw, upstream, sent, sent.call_id)
        call = await gw.call(sent.call_id)
        kept = await gw.request("GET", f"/-/calls/{sent.call_id}/response?attempt=1")

    assert (call["attempts"][0]["outcome"], call["client_gone"]) == ("cancelled", True)
    assert (kept.body, kept.complete) == (b"data: 1\n\n", False)


async def cancelled_at_once(gw, upstream, sent, call_id):
    """Hang up; the upstream is let go within 100 ms and the call is cancelled."""
    left_at = upstream.loop.time()
    sent.hang_up()
    assert await upstream.wait_closed(upstream.requests[0]) - left_at < 0.1
    call = await gw.final(call_id)
    answer = await gw.request("GET", f"/-/calls/{call_id}/response")
    assert (call["status"], call["client_gone"]) == ("cancelled", True)
    assert (answer.status, answer.code) == (410, "cancelled")


@pytest.mark.parametrize(
    ("table", "headers"),
    [({"on_disconnect_stream": "finish"}, []), ({}, FINISH)],
    ids=["configured", "asked"],
)
async def test_a_stream_is_finished_where_that_is_the_policy(gateway, upstream, table, headers):
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", b"data: 2\n\n"], gate)
    async with gateway(upstreams={"openai": table}) as gw:
        sent = await gw.send_chat(stream=True, headers=headers)
        gate.release()
        await sent.read_until(b"1\n\n")
        sent.hang_up()
        while not (await gw.call(sent.call_id))["client_gone"]:
            pass
        gate.open()
        call = await gw.final(sent.call_id)
        kept = await gw.request("GET", f"/-/calls/{sent.call_id}/response")

    assert (call["status"], call["client_gone"]) == ("succeeded", True)
    assert (kept.body, kept.complete) == (b"data: 1\n\ndata: 2\n\n", True)


@pytest.mark.parametrize(
    ("dialect", "last"),
    [
        ("openai", b"data: [DONE]\n\n"),
        ("openai", b"data:[DONE]\r\n\r\n"),
        ("openai", b'event: response.completed\ndata: {"type":"response.completed"}\n\n'),
        ("openai", b'event: response.failed\ndata: {"type":"response.failed"}\n\n'),
        ("openai", b'event: response.incomplete\ndata: {"type":"response.incomplete"}\n\n'),
        ("anthropic", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    ],
)
async def test_a_client_that_leaves_after_the_last_event_has_its_answer(
    gateway, upstream, dialect, last
):
    """Official SDKs hang up there, before the stream's own end."""
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", last[:9], last[9:]], gate)
    async with gateway(upstreams={"openai": {"dialect": dialect}}) as gw:
        sent = await gw.send_chat(stream=True)
        gate.release(3)
        await sent.read_until(last)
        sent.hang_up()
        await gw.request("GET", "/-/healthy")  # by its answer the gateway has seen it leave
        gate.open()
        call = await gw.final(sent.call_id)

    assert (call["status"], call["client_gone"]) == ("succeeded", False)
    assert call["response"]["complete"] is True
    assert call["response"]["bytes"] == len(b"data: 1\n\n" + last)


@pytest.mark.parametrize(
    "text",
    [b'data: {"text":"data: [DONE]"}\n\n', b'data: {"t":"\\n\\nevent: message_stop\\n"}\n\n'],
)
async def test_the_words_of_a_last_event_inside_another_are_not_one(gateway, upstream, text):
    gate = Gate()
    upstream.answer = stream([text, b"data: [DONE]\n\n"], gate)
    async with gateway() as gw:
        sent = await gw.send_chat(stream=True)
        gate.release()
        await sent.read_until(text)
        sent.hang_up()
        call = await gw.final(sent.call_id)

    assert call["status"] == "cancelled"


async def test_a_queued_call_whose_client_leaves_is_never_sent(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        first = await gw.send_chat()
        await upstream.wait_hits(1)
        second = await gw.send_chat(headers=CANCEL)
        (call,) = await gw.wait_calls(1, status="queued")
        second.hang_up()
        call = await gw.final(call["id"])
        gate.open()
        assert (await first.read()).status == 200
        assert (await gw.chat()).status == 200

    assert (call["status"], call["attempts"]) == ("cancelled", [])
    assert upstream.hits == 2


async def test_a_queued_call_under_finish_keeps_its_place(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        first = await gw.send_chat()
        await upstream.wait_hits(1)
        second = await gw.send_chat()
        (call,) = await gw.wait_calls(1, status="queued")
        second.hang_up()
        while not (call := await gw.call(call["id"]))["client_gone"]:
            pass
        gate.open()
        await first.read()

    assert (call["status"], call["wait_reason"]) == ("queued", "slot")


async def test_a_client_that_leaves_while_it_uploads_makes_no_call(gateway, upstream):
    async with gateway() as gw:
        sent = await gw.send("POST", "/v1/x", headers=[("Content-Length", "100")])
        await sent.write(b"half")
        sent.hang_up()
        answer = await gw.chat()
        calls = await gw.calls()

    assert answer.status == 200
    assert [call["id"] for call in calls] == [answer.call_id]


async def test_a_slow_reader_does_not_hold_the_upstream(gateway, upstream):
    """The upstream is read to its end while the client has taken next to nothing."""
    body = b"x" * 16_000_000
    upstream.answer = Answer(body=body)
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        await upstream.wait_idle()
        while (await gw.api("GET", "/-/upstreams/openai"))["in_flight"]:
            pass
        await sent.read()

    assert sent.complete
    assert sent.body == body


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
async def test_a_call_that_may_be_answered_later_outlives_its_client(gateway, upstream, is_stream):
    """Whatever the policy says: the client asked for an answer to come back for."""
    gate = Gate()
    upstream.answer = held(gate)
    later = ("Prefer", "respond-async, wait=60")
    async with gateway() as gw:
        sent = await gw.send_chat(stream=is_stream, headers=[later, *CANCEL])
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        sent.hang_up()
        while not (left := await gw.call(call["id"]))["client_gone"]:
            pass
        gate.open()
        call = await gw.final(call["id"])

    assert (left["status"], left["survives_restart"]) == ("running", True)
    assert (call["status"], call["client_waited"]) == ("succeeded", True)
