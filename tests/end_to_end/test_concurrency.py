"""Slots: never one too many at the upstream, never one lost, and nobody waits to be told no."""

import asyncio

import pytest

from tests.steps import Gate, hang, held, stall


def upstreams(max_in_flight, **more):
    return {"openai": {"max_in_flight": max_in_flight, **more}}


async def test_never_more_than_the_limit_in_flight_at_an_upstream(gateway, upstream):
    upstream.answer = stall(0.002)
    async with gateway(upstreams=upstreams(4)) as gw:
        answers = await asyncio.gather(*(gw.chat() for _ in range(50)))

    assert [answer.status for answer in answers] == [200] * 50
    assert (upstream.peak, upstream.hits) == (4, 50)


async def test_never_more_than_the_limit_in_flight_in_all(gateway, upstream):
    upstream.answer = stall(0.002)
    tables = {"a": {"max_in_flight": 10}, "b": {"max_in_flight": 10}}
    async with gateway(upstreams=tables, limits={"max_in_flight": 3}) as gw:
        answers = await asyncio.gather(
            *(gw.chat(path=f"/{name}/x") for name in "ab" for _ in range(15))
        )

    assert {answer.status for answer in answers} == {200}
    assert upstream.peak == 3


async def test_a_hundred_slow_calls_run_at_once(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = [await gw.send_chat() for _ in range(100)]
        await upstream.wait_hits(100)
        gate.open()
        answers = await asyncio.gather(*(exchange.read() for exchange in sent))

    assert upstream.peak == 100
    assert {answer.status for answer in answers} == {200}


async def test_a_full_queue_turns_clients_away_at_once(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams=upstreams(2), limits={"max_queued": 3}) as gw:
        sent = [await gw.send_chat() for _ in range(5)]
        await gw.wait_calls(5)
        refused = await asyncio.gather(*(gw.chat() for _ in range(7)))
        assert upstream.in_flight == 2

        gate.open()
        answers = await asyncio.gather(*(exchange.read() for exchange in sent))
        calls = await gw.calls()

    assert [(answer.status, answer.code) for answer in refused] == [(503, "queue_full")] * 7
    assert [answer.status for answer in answers] == [200] * 5
    assert (len(calls), upstream.hits) == (5, 5)


async def test_the_queue_is_worked_off_in_order(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams=upstreams(1)) as gw:
        sent = []
        for number in range(6):
            sent.append(await gw.send("GET", f"/v1/{number}"))
            await gw.wait_calls(number + 1)
        gate.open()
        await asyncio.gather(*(exchange.read() for exchange in sent))

    assert [request.target for request in upstream.requests] == [f"/v1/{n}" for n in range(6)]


async def test_a_queued_call_says_what_it_waits_for_and_its_place(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams=upstreams(1)) as gw:
        first = await gw.send_chat()
        await upstream.wait_hits(1)
        second = await gw.send_chat()
        await gw.wait_calls(1, status="queued")
        third = await gw.send_chat()
        behind, ahead = await gw.wait_calls(2, status="queued")
        (running,) = await gw.calls(status="running")
        gate.open()
        for exchange in (first, second, third):
            assert (await exchange.read()).status == 200
        call = await gw.call(behind["id"])

    assert [call["wait_reason"] for call in (running, ahead, behind)] == [None, "slot", "slot"]
    assert [call["queue_position"] for call in (running, ahead, behind)] == [None, 1, 2]
    assert call["queued_ms"] > 0


async def test_priorities_overtake(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams=upstreams(1)) as gw:
        sent = [await gw.send("GET", "/v1/running")]
        await upstream.wait_hits(1)
        for number, priority in enumerate([9, 5, 0, 5], 1):
            field = [("x-gateway-priority", str(priority))]
            sent.append(await gw.send("GET", f"/v1/{priority}-{number}", headers=field))
            await gw.wait_calls(number, status="queued")
        gate.open()
        await asyncio.gather(*(exchange.read() for exchange in sent))

    order = [request.target.removeprefix("/v1/") for request in upstream.requests]
    assert order == ["running", "0-3", "5-2", "5-4", "9-1"]


@pytest.mark.parametrize("how", ["patch", "reload"])
async def test_a_higher_limit_takes_effect_at_once(gateway, upstream, how):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams=upstreams(1)) as gw:
        sent = [await gw.send_chat() for _ in range(5)]
        await gw.wait_calls(4, status="queued")
        await change(gw, how, 4)
        await upstream.wait_hits(4)
        assert upstream.in_flight == 4

        gate.open()
        await asyncio.gather(*(exchange.read() for exchange in sent))

    assert (upstream.peak, upstream.hits) == (4, 5)


@pytest.mark.parametrize("how", ["patch", "reload"])
async def test_a_lower_limit_breaks_off_nothing_and_holds_from_then_on(gateway, upstream, how):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams=upstreams(4)) as gw:
        sent = [await gw.send_chat() for _ in range(8)]
        await gw.wait_calls(4, status="queued")
        await change(gw, how, 2)
        assert upstream.in_flight == 4

        gate.release(3)
        for hits in (5, 6, 7, 8):
            await upstream.wait_until(lambda hits=hits: upstream.hits == hits)
            assert upstream.in_flight == 2
            gate.release()
        gate.open()
        answers = await asyncio.gather(*(exchange.read() for exchange in sent))

    assert {answer.status for answer in answers} == {200}


async def change(gw, how, max_in_flight):
    if how == "patch":
        limit = {"max_in_flight": max_in_flight}
        changed = await gw.api("PATCH", "/-/upstreams/openai", json=limit)
        assert changed["max_in_flight"] == max_in_flight
    else:
        gw.configure(upstreams=upstreams(max_in_flight))
        await gw.api("POST", "/-/reload")


async def test_a_paused_upstream_starts_nothing_until_it_goes_on(gateway, upstream):
    async with gateway() as gw:
        await gw.api("PATCH", "/-/upstreams/openai", json={"paused": True})
        sent = await gw.send_chat()
        (call,) = await gw.wait_calls(1, status="queued")
        assert (call["wait_reason"], upstream.hits) == ("paused", 0)

        await gw.api("PATCH", "/-/upstreams/openai", json={"paused": False})
        answer = await sent.read()

    assert answer.status == 200


async def test_no_slot_leaks_whatever_ends_a_call(gateway, upstream):
    """Disconnects, deadlines, refusals and timeouts in a row leave every slot free."""
    ways = [hang(), 503, stall(0.001), hang(), 200]
    upstream.choose = lambda request: ways[request.number % len(ways)]
    table = upstreams(3, timeouts={"first_byte_s": 0.03}, on_disconnect="cancel")
    async with gateway(upstreams=table) as gw:
        sent = []
        for number in range(40):
            deadline = [("x-gateway-timeout-s", "0.02")] if number % 3 == 0 else []
            sent.append(await gw.send_chat(headers=deadline))
            if number % 4 == 0:
                await gw.wait_calls(len(sent))
                sent[number // 2].hang_up()
        await gw.wait_calls(0, status="queued,running")
        await upstream.wait_idle()
        (openai,) = (await gw.api("GET", "/-/upstreams"))["data"]
        assert (openai["in_flight"], openai["queued"]) == (0, 0)

        gate = Gate()
        upstream.choose, upstream.answer, before = None, held(gate), upstream.hits
        last = [await gw.send_chat() for _ in range(3)]
        await upstream.wait_hits(before + 3)
        gate.open()
        answers = [await exchange.read() for exchange in last]

    assert [answer.status for answer in answers] == [200] * 3
    assert upstream.peak == 3
