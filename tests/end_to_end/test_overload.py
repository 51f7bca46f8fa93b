"""At ten times what it can carry the gateway carries what it can, and says no to the rest at once."""

import asyncio
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from tests.client import GatewayClient
from tests.steps import stall

SLOTS, LATENCY_S = 8, 0.2
CAPACITY = SLOTS / LATENCY_S  # calls a second


async def offer(gw: GatewayClient, *, rate: float, seconds: float) -> tuple[list[Any], list[float]]:
    """Send *rate* calls a second; return the answers and how long each refusal took."""
    loop = asyncio.get_running_loop()
    answers: list[Any] = []
    refusal_s: list[float] = []

    async def call() -> None:
        sent = loop.time()
        answer = await gw.chat()
        answers.append(answer)
        if answer.status == 503:
            refusal_s.append(loop.time() - sent)

    async with asyncio.TaskGroup() as tasks:
        began = loop.time()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            tasks.create_task(call())
    return answers, refusal_s


async def goodput(gw: GatewayClient, *, rate: float, seconds: float) -> tuple[float, Any, Any]:
    """Return calls succeeded a second, the answers, and the refusals' times."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers, refusal_s = await offer(gw, rate=rate, seconds=seconds)
    succeeded = sum(answer.status == 200 for answer in answers)
    return succeeded / (loop.time() - began), answers, refusal_s


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_ten_times_the_load_costs_no_goodput(gateway_process, upstream):
    upstream.answer = stall(LATENCY_S)
    tables = {"limits": {"max_queued": 8}, "upstreams": {"openai": {"max_in_flight": SLOTS}}}
    async with gateway_process(**tables) as gw:
        full, _, _ = await goodput(gw, rate=1.5 * CAPACITY, seconds=4)
        watched: dict[str, list[int]] = {"/-/healthy": [], "/-/calls": [], "/-/ui/": []}

        async def watch(path: str, enough: Callable[[], bool]) -> None:
            while not enough():
                watched[path].append((await gw.request("GET", path)).status)
                await asyncio.sleep(0.1)

        over = False
        async with asyncio.TaskGroup() as tasks:
            for path in watched:
                tasks.create_task(watch(path, lambda: over))
            flooded, answers, refusal_s = await goodput(gw, rate=10 * CAPACITY, seconds=6)
            over = True
        _, recovered, _ = await goodput(gw, rate=0.5 * CAPACITY, seconds=2)

    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refused} == {503}
    assert all(int(answer.header("retry-after")) >= 1 for answer in refused)
    assert all(answer.code == "queue_full" for answer in refused)
    assert flooded >= 0.9 * full, f"{flooded:.0f} a second of {full:.0f}"
    assert statistics.median(refusal_s) < LATENCY_S, "a refusal waits for nothing"
    assert all(set(seen) == {200} and len(seen) > 5 for seen in watched.values())
    assert all(answer.status == 200 for answer in recovered)
