"""A client that asked not to wait: its call is nobody's to lose, whatever happens to the client."""

import asyncio

from tests.steps import Gate, held

WAITING = [("Prefer", "respond-async, wait=30")]


async def test_a_call_outlives_the_client_that_waited_for_it_a_while(gateway, upstream):
    """A stream is cancelled when its client leaves; not where that client would have come back."""
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = await gw.send_chat(stream=True, headers=WAITING)
        await upstream.wait_hits(1)
        sent.hang_up()
        (call,) = await gw.calls()
        while gw.service.relay.calls[call["id"]].clients:
            await gw.call(call["id"])
        gate.open()
        call = await gw.final(call["id"])

    assert call["status"] == "succeeded"


async def test_a_crash_does_not_end_a_call_whose_client_would_have_come_back(
    gateway_process, upstream
):
    upstream.answer = held(Gate())
    async with gateway_process() as gw:
        await gw.send_chat(headers=WAITING)
        await upstream.wait_hits(1)
        gw.kill()
    upstream.answer = 200
    async with gateway_process() as gw:
        (call,) = await gw.calls()
        call = await gw.final(call["id"])

    assert call["status"] == "succeeded"
    assert [each["outcome"] for each in call["attempts"]] == ["interrupted", "answered"]


async def test_a_stop_gives_a_client_that_would_come_back_its_202(gateway_process, upstream):
    upstream.answer = held(Gate())
    async with gateway_process(server={"drain_s": 0.1}) as gw:
        sent = await gw.send_chat(headers=WAITING)
        await upstream.wait_hits(1)
        gw.terminate()
        answer = await sent.read()
        await gw.wait()
    upstream.answer = 200
    async with gateway_process() as gw:
        call = await gw.final(answer.call_id)

    assert answer.status == 202
    assert call["status"] == "succeeded"


async def test_work_that_expired_while_the_gateway_was_down_is_never_sent(
    gateway_process, upstream
):
    upstream.answer = held(Gate())
    one_slot = {"openai": {"max_in_flight": 1}}
    soon = [("Prefer", "respond-async"), ("x-gateway-timeout-s", "0.5")]
    async with gateway_process(upstreams=one_slot) as gw:
        await gw.send_chat()
        await upstream.wait_hits(1)
        answer = await gw.chat(headers=soon)
        gw.kill()
        await gw.wait()
    upstream.answer = 200
    await asyncio.sleep(0.5)  # its time is up while nobody is there
    async with gateway_process(upstreams=one_slot) as gw:
        call = await gw.final(answer.call_id)

    assert (call["status"], call["error"]["code"]) == ("expired", "deadline_exceeded")
    assert call["attempts"] == []
    assert upstream.hits == 1
