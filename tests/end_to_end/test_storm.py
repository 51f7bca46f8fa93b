"""Everything at once: whatever races, the books balance.

Clients that wait and clients that leave, answers, refusals, resets, cuts, silence, retries,
deadlines and changes of the limit, in an order that the seed decides. Afterwards every call has one
final status, the upstream saw exactly the attempts in the journal, and no slot is missing.
"""

import asyncio
import random

import pytest

from tests.client import Exchange
from tests.http1 import BROKEN
from tests.steps import Answer, Gate, cut, hang, held, reset, stall, stream

CALLS = 150
STEPS = [
    *[200, 200, stall(0.002), 503, 429, 400, reset(), hang()],
    Answer(body=b"x" * 400_000),
    cut(Answer(body=b"0123456789"), after=5),
    stream([b"data: 1\n\n", b"data: [DONE]\n\n"]),
    cut(stream([b"data: 1\n\n"]), after=9),
]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_books_balance_after_a_storm(gateway, upstream, seed):
    rng = random.Random(seed)
    upstream.choose = lambda request: rng.choice(STEPS)
    table = {"max_in_flight": 8, "timeouts": {"first_byte_s": 0.02}, "retry": {"max_attempts": 3}}
    answers: list[Exchange] = []

    async def client(gw):
        await asyncio.sleep(rng.random() * 0.3)
        policy = ("x-gateway-on-disconnect", rng.choice(["finish", "cancel"]))
        deadline = ("x-gateway-timeout-s", rng.choice(["0.01", "0.05", "30"]))
        sent = await gw.send_chat(stream=rng.random() < 0.3, headers=[policy, deadline])
        try:
            if rng.random() < 0.3:
                async with asyncio.timeout(rng.random() * 0.02):
                    await sent.read()
            answers.append(await sent.read())
        except (TimeoutError, *BROKEN):
            sent.hang_up()

    async def tune(gw):
        for limit in (4, 8, 2, 8):
            await asyncio.sleep(0.06)
            await gw.api("PATCH", "/-/upstreams/openai", json={"max_in_flight": limit})

    async with gateway(upstreams={"openai": table}, limits={"max_queued": 60}) as gw:
        await asyncio.gather(tune(gw), *(client(gw) for _ in range(CALLS)))
        await gw.wait_calls(0, status="queued,running")
        await upstream.wait_idle()
        calls = await gw.calls(limit=1000, expand="all")
        openai = await gw.api("GET", "/-/upstreams/openai")
        gate = Gate()
        upstream.choose, upstream.answer, before = None, held(gate), upstream.hits
        last = [await gw.send_chat() for _ in range(8)]
        await upstream.wait_hits(before + 8)
        gate.open()
        last = [await exchange.read() for exchange in last]

    attempts = [attempt for call in calls for attempt in call["attempts"]]
    unsent = [one for one in attempts if one["outcome"] == "cancelled" and not one["first_byte_at"]]
    late = [one for one in attempts if (one["error"] or {}).get("code") == "deadline_exceeded"]
    assert {call["status"] for call in calls} <= {"succeeded", "failed", "cancelled", "expired"}
    assert all(one["outcome"] and one["finished_at"] for one in attempts)
    assert before <= len(attempts) <= before + len(unsent) + len(late)
    assert (openai["in_flight"], openai["queued"], openai["open_calls"]) == (0, 0, 0)
    assert upstream.peak <= 8
    final = {call["id"]: call["status"] for call in calls}
    for answer in answers:
        if answer.status != 503 or answer.header("x-gateway-call-id"):
            assert (final[answer.call_id] == "succeeded") == (
                answer.status == 200 and answer.complete
            )
    assert [answer.status for answer in last] == [200] * 8
