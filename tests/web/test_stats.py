"""What `/-/stats` tells of calls that really were made."""

import pytest

from tests.steps import Answer, Gate, held

SEVEN = ("object", "in_flight", "queued", "queued_detached", "open_calls", "recovered", "at")
USAGE = b'{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}'


async def test_calls_are_told_as_they_ended(gateway, upstream):
    upstream.script = [
        Answer(body=USAGE), 429, Answer(body=USAGE), Answer(400, body=b"{}"),
    ]  # fmt: skip
    async with gateway() as gw:
        for _ in range(3):
            await gw.chat()
        told = await gw.api("GET", "/-/stats?window=5m")

    totals = told["totals"]
    assert told.keys() >= set(SEVEN)
    assert (totals["calls"], totals["succeeded"], totals["failed"]) == (3, 2, 1)
    assert (totals["attempts"], totals["retried"], totals["rate_limited"]) == (4, 1, 1)
    assert totals["errors"] == {"upstream_error": 1}
    assert (totals["input_tokens"], totals["output_tokens"], totals["total_tokens"]) == (20, 10, 30)
    assert totals["cost_usd"] is None
    duration = totals["duration_ms"]
    assert duration["count"] == 3
    assert 0 < duration["p50"] <= duration["p95"] <= duration["p99"] <= duration["max"]
    assert told["upstreams"]["openai"] == totals
    assert told["previous"]["calls"] == 0


async def test_the_series_is_the_window_in_steps(gateway, upstream):
    async with gateway() as gw:
        await gw.chat()
        told = await gw.api("GET", "/-/stats?window=15m&step=1m")

    series = told["series"]
    assert (told["window_s"], told["step_s"], len(series)) == (900, 60, 15)
    assert series[0]["at"] == told["since"] < told["at"] < told["until"]
    assert sum(step["calls"] for step in series) == 1
    assert series[0].keys() - told["totals"].keys() == {
        "at", "in_flight", "in_flight_max", "queued", "queued_max", "limit",
    }  # fmt: skip


async def test_what_is_in_flight_and_queued_shows_at_once(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        calls = [await gw.send("POST", "/v1/chat/completions") for _ in range(2)]
        await upstream.wait_hits(1)
        while not (told := await gw.api("GET", "/-/stats?window=5m"))["series"][-1]["queued_max"]:
            assert told["in_flight"] <= 1
        gate.open()
        for call in calls:
            await call.read()

    now = told["series"][-1]
    assert (told["in_flight"], told["queued"], told["open_calls"]) == (1, 1, 2)
    assert (now["in_flight_max"], now["queued_max"]) == (1, 1)
    assert 0 < now["in_flight"] <= 1


async def test_statistics_outlive_calls_and_restarts(gateway, upstream):
    async with gateway() as gw:
        call = (await gw.chat()).call_id
        await gw.chat()
        await gw.request("DELETE", f"/-/calls/{call}")
    async with gateway() as gw:
        told = await gw.api("GET", "/-/stats?window=1h")

    assert told["totals"]["calls"] == 2


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("window=1m", "from 5m to 30d"),
        ("window=2w", "such as 90s or 6h"),
        ("window=30d&step=10", "a multiple of 3600s"),
        ("step=7", "a multiple of 10s"),
        ("from=yesterday", "window, step, upstream, key"),
    ],
)
async def test_a_window_that_cannot_be_told_is_refused_with_what_can(gateway, query, told):
    async with gateway() as gw:
        answer = await gw.request("GET", f"/-/stats?{query}")

    assert answer.status == 400
    assert told in answer.json()["detail"]


async def test_an_upstream_or_a_key_without_calls_has_zeros(gateway, upstream):
    async with gateway() as gw:
        await gw.chat()
        of_upstream = await gw.api("GET", "/-/stats?upstream=gone")
        of_key = await gw.api("GET", "/-/stats?key=key_1")

    assert of_upstream["totals"]["calls"] == of_key["totals"]["calls"] == 0
    assert list(of_upstream["upstreams"]) == ["gone"]
