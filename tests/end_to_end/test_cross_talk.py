"""Every answer belongs to its request, whatever is cancelled between them (P43, S12)."""

import asyncio
import json
import random
from typing import Any

import aiohttp
import pytest

from tests.steps import Answer, Request, stream


def echo(request: Request) -> Any:
    """Answer with what was asked, in one of three framings."""
    nonce = request.json()["messages"]
    kind = sum(nonce.encode()) % 3
    body = json.dumps({"echo": nonce, "padding": "x" * (sum(nonce.encode()) % 900)}).encode()
    if kind == 0:
        return Answer(body=body)
    pieces = [body[at : at + 37] for at in range(0, len(body), 37)]
    return Answer(chunks=pieces) if kind == 1 else stream([b"data: " + body + b"\n\n"])


async def storm(gateway: Any, upstream: Any, *, calls: int, seed: int) -> tuple[int, int]:
    """Make *calls* on 32 kept connections, a third hung up on at random; count answers and hang-ups."""
    upstream.choose = echo
    rng = random.Random(seed)
    numbers = iter(range(calls))
    ids: set[str] = set()
    answered = left = 0

    async def client(session: aiohttp.ClientSession, url: str) -> None:
        nonlocal answered, left
        for number in numbers:
            nonce = f"{seed}-{number}-{rng.random()}"
            body = {"model": "m", "messages": nonce, "stream": bool(number % 2)}
            patience = rng.random() * 0.02 if rng.random() < 1 / 3 else None
            try:
                async with asyncio.timeout(patience), session.post(url, json=body) as answer:
                    text = await answer.read()
            except TimeoutError:
                left += 1
                continue
            assert nonce.encode() in text, f"{nonce} was answered with {text[:200]!r}"
            assert answer.status == 200
            assert answer.headers["x-gateway-call-id"] not in ids
            ids.add(answer.headers["x-gateway-call-id"])
            answered += 1

    table = {"max_in_flight": 24, "on_disconnect_stream": "cancel", "on_disconnect": "cancel"}
    async with gateway(upstreams={"openai": table}) as gw:
        url = f"{gw.url}/v1/chat/completions"
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(32):
                tasks.create_task(client(session, url))
        await gw.wait_calls(0, status="queued,running")
        slots = gw.service.admission.statistics()
        assert (slots.in_flight, slots.queued, slots.open_calls) == (0, 0, 0)
    return answered, left


async def test_no_answer_reaches_another_request(gateway, upstream):
    answered, left = await storm(gateway, upstream, calls=600, seed=1)

    assert answered + left == 600
    assert answered > 200
    assert left > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_no_answer_reaches_another_request_in_100_000_calls(gateway, upstream):
    answered, left = await storm(gateway, upstream, calls=100_000, seed=2)

    assert answered + left == 100_000
    assert left > 1_000
