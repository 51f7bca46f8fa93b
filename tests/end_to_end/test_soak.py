"""At exactly the load it is made for, nothing grows: not the wait for a slot, not the memory."""

import asyncio
from pathlib import Path

import pytest

from tests.steps import stall

CALLS_PER_S, CALL_S, DURATION_S, SLOTS = 10, 9.9, 120, 100
WARM_S = 30  # all slots are taken by then, and all code has run
GROWTH_KB = 8_000
WAIT_MS = 250  # a turn comes every 100 ms


def resident_kb(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_minutes_at_the_limit_leave_wait_and_memory_flat(gateway_process, upstream):
    upstream.answer = stall(CALL_S)
    resident, answers, call_ids = [], [], []
    async with gateway_process(upstreams={"openai": {"max_in_flight": SLOTS}}) as gw:
        loop = asyncio.get_running_loop()
        started = loop.time()

        async def one(number):
            detached = [("Prefer", "respond-async")] if number % 2 else []
            answer = await (await gw.send_chat(headers=detached)).read()
            call_ids.append(answer.call_id)
            answers.append(answer.status)

        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLS_PER_S * DURATION_S):
                await asyncio.sleep(started + number / CALLS_PER_S - loop.time())
                tasks.create_task(one(number))
                if number % CALLS_PER_S == 0:
                    resident.append(resident_kb(gw.process.pid))
        calls = [await gw.final(call_id) for call_id in sorted(call_ids)]

    half = len(answers) // 2
    assert [answers.count(200), answers.count(202)] == [half, half]
    assert {call["status"] for call in calls} == {"succeeded"}
    assert upstream.peak <= SLOTS
    waits = [call["queued_ms"] for call in calls[CALLS_PER_S * WARM_S :]]
    assert sorted(waits)[len(waits) * 95 // 100] < WAIT_MS
    assert max(resident[-10:]) - min(resident[WARM_S : WARM_S + 10]) < GROWTH_KB
