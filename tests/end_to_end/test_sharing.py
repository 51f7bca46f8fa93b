"""Who gets the next slot, and which requests are the same call: with real sockets."""

import socket

import pytest

from tests.steps import Answer, Gate, hang

BODY = b'{"model": "m", "messages": []}'


def named(request) -> str:
    return next(value for name, value in request.headers if name.lower() == "x-name")


async def test_a_flood_delays_anothers_single_call_by_about_one_turn(gateway, upstream):
    gate = Gate()
    upstream.answer = Answer(gate=gate)
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        for number in range(40):
            await gw.send_chat(
                headers=[("Authorization", "Bearer flood"), ("x-name", f"flood{number}")]
            )
        await gw.wait_calls(39, status="queued")
        single = await gw.send_chat(
            headers=[("Authorization", "Bearer other"), ("x-name", "single")]
        )
        await gw.wait_calls(40, status="queued")
        gate.open()
        await single.read()
        order = [named(request) for request in upstream.requests]

    assert order.index("single") <= 2


async def test_a_retry_of_an_sdk_joins_the_call_it_left_behind(gateway, upstream):
    gate = Gate()
    upstream.answer = Answer(gate=gate)
    async with gateway() as gw:
        first = await gw.send_chat(headers=[("x-stainless-retry-count", "0")])
        await upstream.wait_hits(1)
        first.hang_up()
        (call,) = await gw.wait_calls(1, status="running")
        while not (await gw.call(call["id"]))["client_gone"]:
            pass
        retry = await gw.send_chat(headers=[("x-stainless-retry-count", "1")])
        gate.open()
        await retry.read()

    assert retry.status == 200
    assert retry.call_id == call["id"]
    assert upstream.hits == 1


async def test_without_a_call_left_behind_a_retry_is_a_call_of_its_own(gateway, upstream):
    async with gateway() as gw:
        first = await gw.chat(headers=[("x-stainless-retry-count", "0")])
        second = await gw.chat(headers=[("x-stainless-retry-count", "1")])

    assert first.call_id != second.call_id
    assert upstream.hits == 2


async def test_a_hundred_requests_with_one_idempotency_key_are_one_call(gateway, upstream):
    gate = Gate()
    upstream.answer = Answer(gate=gate)
    async with gateway() as gw:
        sent = [await gw.send_chat(headers=[("Idempotency-Key", "once")]) for _ in range(100)]
        await upstream.wait_hits(1)
        gate.open()
        for each in sent:
            await each.read()
        again = await gw.chat(headers=[("Idempotency-Key", "once")])

    assert {each.call_id for each in sent} == {again.call_id}
    assert again.header("Idempotent-Replayed") == "true"
    assert upstream.hits == 1


@pytest.mark.parametrize(
    "other",
    [{"json": {"n": 2}}, {"path": "/v1/completions"}, {"path": "/v1/chat/completions?x=1"}],
    ids=["body", "path", "query"],
)
async def test_one_idempotency_key_for_two_requests_is_refused(gateway, upstream, other):
    once = [("Idempotency-Key", "once")]
    async with gateway() as gw:
        first = await gw.chat(headers=once)
        refused = await gw.chat(headers=once, **other)
        elsewhere = await gw.chat(headers=[*once, ("Authorization", "Bearer another")], **other)

    assert (first.status, elsewhere.status) == (200, 200)
    assert (refused.status, refused.code) == (422, "idempotency_mismatch")
    assert refused.header("x-gateway-call-id") is None
    assert upstream.hits == 2


async def test_a_replayed_conflict_stops_the_clients_own_retries_too(gateway, upstream):
    upstream.answer = Answer(409, headers=(("x-should-retry", "true"),), body=b"taken")
    async with gateway() as gw:
        answers = [await gw.chat(headers=[("Idempotency-Key", "once")]) for _ in range(2)]

    again = answers[1]
    assert (again.status, again.body) == (409, b"taken")
    assert again.header("Idempotent-Replayed") == "true"
    assert [each.values("x-should-retry") for each in answers] == [["false"]] * 2
    assert all("total;dur=" in (each.header("Server-Timing") or "") for each in answers)
    assert again.call_id == answers[0].call_id


async def test_a_pause_outlives_the_process(gateway, upstream):
    async with gateway() as gw:
        await gw.api("PATCH", "/-/upstreams/openai", json={"paused": True})
    async with gateway() as gw:
        paused = await gw.api("GET", "/-/upstreams/openai")
        await gw.api("PATCH", "/-/upstreams/openai", json={"paused": False})
        answer = await gw.chat()

    assert paused["paused"] is True
    assert answer.status == 200


async def test_a_request_for_another_host_is_told_so_in_its_dialect(gateway, upstream):
    async with gateway() as gw:
        relayed = await gw.request("POST", "/v1/messages", headers=[("Host", "evil.example")])
        own = await gw.request("GET", "/-/calls", headers=[("Host", "evil.example")])

    assert (relayed.status, relayed.json()["type"]) == (421, "error")
    assert (own.status, own.json()["code"]) == (421, "bad_host")
    assert upstream.hits == 0


async def test_a_detached_call_expires_when_its_sender_bounded_its_wait(gateway, upstream):
    upstream.answer = hang()
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        await gw.send_chat()
        await upstream.wait_hits(1)
        bounded = [("Prefer", "respond-async"), ("x-gateway-queue-timeout-s", "0.02")]
        sent = await gw.chat(headers=bounded)
        call = await gw.api("GET", f"/-/calls/{sent.call_id}?wait=5")

    assert (call["status"], call["error"]["code"]) == ("expired", "queue_timeout")


async def test_a_start_that_finds_its_port_taken_sends_nothing_again(gateway, upstream):
    upstream.answer = hang()
    async with gateway() as gw:
        await gw.chat(headers=[("Prefer", "respond-async")])
        await upstream.wait_hits(1)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="cannot listen"),
    ):
        async with gateway(server={"port": taken.getsockname()[1]}):
            pass

    assert upstream.hits == 1
