"""The scenario that the gateway dies in: calls of every kind at once, against an obedient upstream.

A request says what its upstream is to do: `{"n": 17, "latency_s": 0.02, "refuse": 1, "chunks": 3}`.
Each answer names `n` and which request of `n` it answers, so no two answers are equal.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

from tests import http1
from tests.client import Exchange, GatewayClient
from tests.crash.histories import Sent, UpstreamLog
from tests.steps import JSON, SSE, Answer, Request, Step

AT_ONCE = 40  # requests of the client in flight
LARGE_BYTES = 300_000  # more than one row of the journal holds
GONE = http1.BROKEN

#: How often each kind occurs among 20 requests.
KINDS = (
    *("plain",) * 5,
    *("detached",) * 4,
    *("in order",) * 3,
    *("keyed",) * 2,
    "keyed twice",
    "detached and keyed",
    *("stream",) * 2,
    "stream hung up",
    "cancelled",
)


def requests(first: int, count: int, rng: random.Random) -> list[Sent]:
    """The requests numbered from *first*."""
    kinds = [KINDS[at % len(KINDS)] for at in range(count)]
    rng.shuffle(kinds)
    return [_request(first + at, kind, rng) for at, kind in enumerate(kinds)]


def _request(n: int, kind: str, rng: random.Random) -> Sent:
    does = {"n": n, "latency_s": round(rng.uniform(0.005, 0.04), 4), "refuse": 0}
    if kind == "in order":
        return Sent(n, kind, json.dumps(does | {"latency_s": 0.004}).encode(), "/single/chat")
    does["refuse"] = rng.choice((0, 0, 0, 1, 2))
    if kind.startswith("stream"):
        does |= {"stream": True, "chunks": 4}
    if rng.random() < 0.05:
        does["large"] = True
    key = f"key-{n}" if "keyed" in kind else None
    return Sent(n, kind, json.dumps(does).encode(), key=key)


def obedient(log: UpstreamLog) -> Callable[[Request], Step]:
    """The upstream's `choose`: do what the request says, and write it down."""

    def choose(request: Request) -> Step:
        does = request.json()
        n, refused = does["n"], len(log.hits[does["n"]]) < does["refuse"]
        text = f"answer {len(log.hits[n]) + 1} to {n} "
        if refused:
            body = json.dumps({"error": {"message": text}}).encode()
            log.add(n, request.target, 503, body)
            return _late(does["latency_s"], Answer(503, body=body))
        if chunks := does.get("chunks"):
            pieces = [f"data: {text} piece {at}\n\n".encode() for at in range(chunks)]
            pieces.append(b"data: [DONE]\n\n")
            log.add(n, request.target, 200, b"".join(pieces))
            return _trickled(does["latency_s"], pieces)
        body = json.dumps({"text": text * (LARGE_BYTES // 10 if does.get("large") else 1)}).encode()
        log.add(n, request.target, 200, body)
        return _late(does["latency_s"], Answer(200, JSON, body))

    return choose


def _late(seconds: float, answer: Answer) -> Step:
    async def play(request: Request) -> None:
        await asyncio.sleep(seconds)
        await answer(request)

    return play


def _trickled(seconds: float, pieces: list[bytes]) -> Step:
    async def play(request: Request) -> None:
        await request.write(Answer(200, SSE, chunks=()).head())
        for piece in pieces:
            await asyncio.sleep(seconds / len(pieces))
            await request.write(http1.chunk(piece))
        await request.write(http1.chunk(b""))

    return play


async def play(gateway: GatewayClient, sent: list[Sent]) -> None:
    """Make every request of *sent*; what a dying gateway does to them only goes into their log."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(request: Sent) -> None:
        async with places:
            try:
                await _ACTS[request.kind](gateway, request)
            except GONE:
                return

    async with asyncio.TaskGroup() as tasks:
        for request in sent:
            tasks.create_task(one(request))


async def send_again(gateway: GatewayClient, sent: list[Sent]) -> None:
    """Send again, as a careful client would, what has an Idempotency-Key and got no answer."""
    for request in sent:
        if request.key and not request.answers:
            await _waited(gateway, request)


async def _waited(gateway: GatewayClient, sent: Sent) -> None:
    await _read(sent, await _send(gateway, sent))


async def _twice(gateway: GatewayClient, sent: Sent) -> None:
    both = [await _send(gateway, sent), await _send(gateway, sent)]
    for exchange in both:
        await _read(sent, exchange)


async def _detached(gateway: GatewayClient, sent: Sent) -> None:
    """Told to come back; comes back once."""
    call_id = await _accepted(gateway, sent)
    if call_id is None:
        return
    sent.told_status(await gateway.api("GET", f"/-/calls/{call_id}?wait=2"))
    await fetch(gateway, sent, call_id)


async def _cancelled(gateway: GatewayClient, sent: Sent) -> None:
    call_id = await _accepted(gateway, sent)
    if call_id is None:
        return
    sent.cancel_asked = True
    sent.told_status(await gateway.api("POST", f"/-/calls/{call_id}/cancel"))


async def _hung_up(gateway: GatewayClient, sent: Sent) -> None:
    exchange = await (await _send(gateway, sent)).read_head()
    if exchange.status != 200:
        return  # refused: there is no call to leave
    await exchange.read_until(b"\n\n")
    sent.hung_up = True
    exchange.hang_up()


async def _accepted(gateway: GatewayClient, sent: Sent) -> str | None:
    exchange = await (await _send(gateway, sent, ("Prefer", "respond-async"))).read()
    if exchange.complete and exchange.status == 202:
        sent.accepted.add(exchange.call_id)
        return exchange.call_id
    return None


async def fetch(gateway: GatewayClient, sent: Sent, call_id: str) -> None:
    """Ask for the answer of a call."""
    answer = await gateway.request("GET", f"/-/calls/{call_id}/response")
    if answer.complete and answer.status != 202 and answer.header("x-gateway-attempts"):
        sent.told_answer(call_id, answer.status, answer.body)


async def _send(gateway: GatewayClient, sent: Sent, *fields: tuple[str, str]) -> Exchange:
    sent.times += 1
    headers = [("Content-Type", "application/json"), *fields]
    if sent.key:
        headers.append(("Idempotency-Key", sent.key))
    return await gateway.send("POST", sent.path, headers=headers, body=sent.body)


async def _read(sent: Sent, exchange: Exchange) -> None:
    await exchange.read()
    if exchange.complete and not exchange.header("proxy-status"):
        sent.told_answer(exchange.call_id, exchange.status, exchange.body)


_ACTS: dict[str, Callable[[GatewayClient, Sent], Awaitable[None]]] = {
    "plain": _waited,
    "keyed": _waited,
    "keyed twice": _twice,
    "stream": _waited,
    "stream hung up": _hung_up,
    "detached": _detached,
    "in order": _detached,
    "detached and keyed": _detached,
    "cancelled": _cancelled,
}
