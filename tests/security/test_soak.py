"""Everything at once for half an hour: faults, leaving clients, streams, reloads. P25, P65, P66.

GATEWAY_SOAK_S says how many seconds (1800). With `-s` each sample is told as it is taken.
"""

import asyncio
import json
import os
import random
import re
import signal
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import http1
from tests.client import GatewayClient
from tests.faults.fault_proxy import Fault, FaultProxy
from tests.gateway_process import GatewayProcess
from tests.running_journal import committed
from tests.steps import SSE, Answer, Request

DURATION_S = float(os.environ.get("GATEWAY_SOAK_S", "1800"))
IN_FLIGHT, CLIENTS = 200, 240
CALL_S = (2.0, 8.0)
LEAVING = 0.3
SAMPLES = 120
GROWTH = {"rss_mb": 12.0, "descriptors": 40.0, "threads": 4.0}  # from the second third to the last
WAL_MB = 64.0
BUSY = {
    "gateway_open_calls", "gateway_in_flight", "gateway_retries_in_flight", "gateway_queue_length",
    "gateway_journal_pending_posts", "gateway_queued_body_bytes",
}  # fmt: skip
FAULTS = [
    *[Fault()] * 6, Fault(delay_s=0.5), Fault(piece_bytes=7), Fault(piece_bytes=40, pause_s=0.05),
    *[Fault(after=after, then=then) for after in (0, 30, 300) for then in ("cut", "reset", "garbage")],
    Fault(after=20, then="stall"), Fault(after=200, then="half_close"),
]  # fmt: skip


@dataclass
class Told:
    """What the clients saw, by the number in their requests."""

    sent: set[int] = field(default_factory=set)
    accepted: dict[int, str] = field(default_factory=dict)  #: the id of the call
    refused: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def answering(rng: random.Random):
    """Return how the upstream answers: late, in pieces or at once, with the request's own number."""

    async def play(request: Request) -> None:
        latency = rng.uniform(*CALL_S)
        if b'"stream": true' not in request.body:
            await asyncio.sleep(latency)
            await Answer(body=json.dumps({"target": request.target}).encode())(request)
            return
        await request.write(Answer(headers=SSE, chunks=[]).head())
        for n in range(10):
            await asyncio.sleep(latency / 10)
            event = json.dumps({"target": request.target, "n": n})
            await request.write(http1.chunk(f"data: {event}\n\n".encode()))
        await request.write(http1.chunk(b"data: [DONE]\n\n") + http1.chunk(b""))

    return lambda _: play


async def one_call(gw: GatewayClient, number: int, told: Told, rng: random.Random) -> None:
    """Send one request; stay for the answer, or leave at some time."""
    said = {"stream": True} if rng.random() < 0.4 else {}
    headers = [("Prefer", "respond-async")] if rng.random() < 0.1 else []
    name = rng.choice(["good", "spoiled"])
    exchange = await gw.send(
        "POST", f"/{name}/x?n={number}", json={"model": "m", **said}, headers=headers
    )
    gw.exchanges.remove(exchange)
    told.sent.add(number)
    try:
        async with asyncio.timeout(rng.uniform(0.3, 6.0) if rng.random() < LEAVING else 120.0):
            await exchange.read_head()
            async for piece in exchange._pieces:
                exchange.body += piece
    except (*http1.BROKEN, TimeoutError):
        pass
    exchange.hang_up()
    call_id = exchange.header("x-gateway-call-id")
    if call_id is None:
        if exchange.status:
            told.refused.add(number)
        return
    told.accepted[number] = call_id
    if {int(found) for found in re.findall(rb'\?n=(\d+)"', exchange.body)} - {number}:
        told.wrong.append(f"{number}: {exchange.body!r}")


def look(gw: GatewayProcess, db: Path) -> dict[str, float]:
    """Return what the process holds now."""
    process = Path(f"/proc/{gw.process.pid}")
    lines = (process / "status").read_text().splitlines()
    wal = db.with_name(f"{db.name}-wal")
    return {
        "rss_mb": int(next(x for x in lines if x.startswith("VmRSS:")).split()[1]) / 1024,
        "descriptors": float(len(list((process / "fd").iterdir()))),
        "threads": float(len(list((process / "task").iterdir()))),
        "wal_mb": wal.stat().st_size / 2**20 if wal.exists() else 0.0,
    }


async def until_at_rest(gw: GatewayProcess) -> dict[str, float]:
    """Return the metrics once no call is open and everything is written."""
    async with asyncio.timeout(120):
        while True:
            metrics = await gw.metrics()
            if not any(v for k, v in metrics.items() if k.partition("{")[0] in BUSY):
                return metrics
            await asyncio.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(DURATION_S + 400)
async def test_nothing_grows_and_every_request_has_one_final_record(
    gateway_process, upstream, tmp_path
):
    rng = random.Random(5)
    upstream.choose = answering(rng)
    told, samples = Told(), []
    numbers = iter(range(10**9))
    timeouts = {"connect_s": 2, "first_byte_s": 20, "idle_s": 5, "total_s": 40}
    limits = {"max_in_flight": IN_FLIGHT, "queue_timeout_s": 60}
    async with FaultProxy(upstream.port) as proxy:
        upstreams: dict[str, Any] = {
            "good": {"max_in_flight": IN_FLIGHT, "timeouts": timeouts},
            "spoiled": {"base_url": f"{proxy.url}/v1", "max_in_flight": IN_FLIGHT,
                        "timeouts": timeouts},
        }  # fmt: skip
        async with gateway_process(upstreams=upstreams, limits=limits) as gw:
            end = asyncio.get_running_loop().time() + DURATION_S

            async def client() -> None:
                while asyncio.get_running_loop().time() < end:
                    proxy.script.append(rng.choice(FAULTS))
                    await one_call(gw, next(numbers), told, rng)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(CLIENTS):
                    tasks.create_task(client())
                for n in range(SAMPLES):
                    await asyncio.sleep(DURATION_S / SAMPLES)
                    samples.append(look(gw, tmp_path / "gateway.db"))
                    held = ", ".join(f"{name} {value:.1f}" for name, value in samples[-1].items())
                    print(f"{n + 1}/{SAMPLES}: {len(told.sent)} requests, {held}", flush=True)  # noqa: T201
                    if n % 10 == 0:
                        gw.process.send_signal(signal.SIGHUP)
            rest = await until_at_rest(gw)
            gw.terminate()
            code = await gw.wait()

    rows = committed(
        tmp_path / "gateway.db", "SELECT id, query, status, finished_ms IS NOT NULL FROM calls"
    )
    by_number: dict[int, list[Any]] = {}
    for call_id, query, status, over in rows:
        by_number.setdefault(int(query.partition("=")[2]), []).append((call_id, status, over))
    thirds = [samples[n * SAMPLES // 3 : (n + 1) * SAMPLES // 3] for n in (1, 2)]
    means = [{k: statistics.median(each[k] for each in third) for k in GROWTH} for third in thirds]

    assert told.wrong == []
    assert {number: len(found) for number, found in by_number.items() if len(found) != 1} == {}
    assert {status for _, _, status, _ in rows} <= {"succeeded", "failed", "cancelled", "expired"}
    assert all(over for *_, over in rows)
    for number, call_id in told.accepted.items():
        assert by_number[number][0][0] == call_id
    assert not told.refused & by_number.keys()
    unseen = told.sent - by_number.keys() - told.refused  # they left before they were read
    assert len(unseen) <= len(told.sent) / 50
    for name, most in GROWTH.items():
        assert means[1][name] - means[0][name] <= most, (name, means)
    assert max(each["wal_mb"] for each in samples) <= WAL_MB
    assert rest['gateway_retries_in_flight{upstream="spoiled"}'] == 0
    assert rest["gateway_client_connections"] <= 2
    assert not any(v for k, v in rest.items() if k.startswith("gateway_background_crashes_total"))
    assert code == 0
