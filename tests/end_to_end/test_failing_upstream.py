"""An upstream that fails for a while: left alone, tried, trusted again; calls wait and none fails."""

import asyncio
from datetime import datetime

from tests.client import PATIENCE_S
from tests.steps import Gate, held, stall
from tests.web.sse import watch


def upstreams(**breaker):
    patient = {"max_attempts": 50}
    breaker = {"enabled": True, "min_attempts": 8, **breaker}
    return {"openai": {"max_in_flight": 8, "retry": patient, "breaker": breaker}}


async def shown_when(gw, claim):
    """Return the upstream as the API shows it as soon as *claim* holds of that."""
    async with asyncio.timeout(PATIENCE_S):
        while not claim(openai := await gw.api("GET", "/-/upstreams/openai")):
            pass
    return openai


async def test_calls_wait_until_a_failing_upstream_is_well_and_none_fails(gateway, upstream):
    upstream.answer = 503
    table = upstreams(pause_s=0.02, pause_max_s=0.02, ramp_s=0.1)
    async with gateway(upstreams=table) as gw:
        sent = [await gw.send_chat() for _ in range(40)]
        await shown_when(gw, lambda openai: openai["breaker"]["opens_total"] >= 3)
        upstream.answer = 200
        answers = await asyncio.gather(*(exchange.read() for exchange in sent))
        await shown_when(gw, lambda openai: openai["breaker"]["state"] == "closed")
        calls = await gw.calls(limit=100)

    assert [answer.status for answer in answers] == [200] * 40
    assert {call["status"] for call in calls} == {"succeeded"}
    assert upstream.peak <= 8


async def test_an_open_breaker_says_so_everywhere_until_a_person_says_go(gateway, upstream):
    upstream.answer = 503
    async with gateway(upstreams=upstreams(pause_s=30)) as gw, watch(gw) as viewer:
        before = await gw.api("GET", "/-/upstreams/openai")
        sent = [await gw.send_chat() for _ in range(20)]
        told = (await viewer.until(lambda event: event.name == "upstream")).data
        await gw.wait_calls(20, status="queued")
        openai = await shown_when(gw, lambda openai: openai["in_flight"] == 0)
        calls, metrics, hits = await gw.calls(), await gw.metrics(), upstream.hits
        assert before["breaker"] == {"state": "closed", "opens_total": 0, "retry_at": None}
        assert (openai["breaker"]["state"], openai["breaker"]["opens_total"]) == ("open", 1)
        assert told.keys() == openai.keys()
        assert told["breaker"]["state"] == "open"
        assert (openai["limit"], openai["max_in_flight"], openai["paused"]) == (0, 8, False)
        assert openai["recent"]["failed"] == openai["recent"]["attempts"] == hits
        retry_at = datetime.fromisoformat(openai["breaker"]["retry_at"])
        first_at = datetime.fromisoformat(calls[-1]["created_at"])
        assert 30 <= (retry_at - first_at).total_seconds() < 60
        assert {call["wait_reason"] for call in calls} <= {"paused", "backoff"}
        assert {call["eta_s"] for call in calls} == {None}
        assert metrics['gateway_upstream_breaker_open{upstream="openai"}'] == 1
        assert metrics['gateway_upstream_limit{upstream="openai"}'] == 0

        upstream.answer = 200
        openai = await gw.api("PATCH", "/-/upstreams/openai", json={"paused": False})
        answers = await asyncio.gather(*(exchange.read() for exchange in sent))

    assert openai["breaker"] == {"state": "closed", "opens_total": 1, "retry_at": None}
    assert openai["limit"] == 8
    assert {answer.status for answer in answers} == {200}


async def test_a_call_that_waits_for_a_breaker_keeps_its_own_times(gateway, upstream):
    upstream.script = [503] * 8
    async with gateway(upstreams=upstreams(pause_s=30)) as gw:
        await asyncio.gather(
            *(gw.chat(headers=[("x-gateway-max-attempts", "1")]) for _ in "12345678")
        )
        await shown_when(gw, lambda openai: openai["breaker"]["state"] == "open")
        impatient, late = await asyncio.gather(
            gw.chat(headers=[("x-gateway-queue-timeout-s", "0.05")]),
            gw.chat(headers=[("x-gateway-timeout-s", "0.05")]),
        )

    assert (impatient.status, impatient.code) == (504, "queue_timeout")
    assert (late.status, late.code) == (504, "deadline_exceeded")
    assert upstream.hits == 8


async def test_a_reload_turns_a_breaker_off_and_what_waits_goes_on(gateway, upstream):
    gate = Gate()
    upstream.script, upstream.answer = [503] * 8, held(gate)
    async with gateway(upstreams=upstreams(pause_s=30)) as gw:
        sent = [await gw.send_chat() for _ in range(8)]
        await shown_when(gw, lambda openai: openai["breaker"]["state"] == "open")
        gw.configure(upstreams={"openai": {"max_in_flight": 8}})
        await gw.api("POST", "/-/reload")
        await upstream.wait_hits(9)
        openai = await gw.api("GET", "/-/upstreams/openai")
        gate.open()
        answers = await asyncio.gather(*(exchange.read() for exchange in sent))

    assert (openai["breaker"], openai["limit"]) == (None, 8)
    assert {answer.status for answer in answers} == {200}


async def test_a_limit_gives_way_to_refusals(gateway, upstream):
    upstream.choose = lambda _: 429 if upstream.in_flight > 2 else stall(0.02)
    table = {"openai": {"max_in_flight": 20, "adaptive": True, "retry": {"max_attempts": 100}}}
    async with gateway(upstreams=table) as gw:
        answers = await asyncio.gather(*(gw.chat() for _ in range(60)))
        openai = await gw.api("GET", "/-/upstreams/openai")

    assert {answer.status for answer in answers} == {200}
    assert (openai["max_in_flight"], openai["breaker"]) == (20, None)
    assert 1 <= openai["limit"] < 20
