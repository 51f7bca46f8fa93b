"""The gateway as a process that will die, and one round: play, die, start again, drain, check."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import configuration
from tests.client import PATIENCE_S, GatewayClient
from tests.counted_calls import counted
from tests.crash import scenario
from tests.crash.checker import Journal, Run, findings, read_journal, read_wreck
from tests.crash.histories import Sent, UpstreamLog
from tests.forked import start
from tests.scripted_upstream import ScriptedUpstream

GATEWAY = (sys.executable, "-m", "gateway")
ROOT = Path(__file__).parents[2]  # from where `tests` can be imported
IN_FLIGHT = 12


def configure(path: Path, upstream: ScriptedUpstream, durability: str) -> Path:
    """Write the config: one upstream with a few slots, one with a single one."""
    tables: dict[str, Any] = {
        "openai": {"max_in_flight": IN_FLIGHT, "retry": {"max_attempts": 8}},
        "single": {"max_in_flight": 1, "base_url": f"{upstream.url}/v1/single"},
    }
    return configuration.write(
        path, f"{upstream.url}/v1", journal={"durability": durability}, upstreams=tables
    )


@dataclass(eq=False)
class Dying(GatewayClient):
    """A client of a gateway process that some fault will end."""

    process: asyncio.subprocess.Process | None = None
    lock: Path | None = None

    async def kill(self) -> None:
        """End it as a crash would, also where a tracer stands between."""
        assert self.process is not None
        assert self.lock is not None
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(self.lock.read_text())["pid"], signal.SIGKILL)
        await self.dead()

    async def dead(self) -> None:
        """Return when it has ended, its tracer included."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE_S):
            await self.process.wait()


@asynccontextmanager
async def running(config: Path, command: tuple[str, ...] = GATEWAY) -> AsyncIterator[Dying | None]:
    """Run `gateway run` by *command*; None where it died before it listened."""
    errors = (config.parent / "stderr.txt").open("ab")
    with errors:
        arguments = ("run", "--config", str(config), "--port", "0")
        if command is GATEWAY:
            process = await start(*arguments, stderr=errors)
        else:
            process = await asyncio.create_subprocess_exec(
                *(*command, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
            )
    assert process.stdout is not None
    async with asyncio.timeout(2 * PATIENCE_S):
        banner = (await process.stdout.readline()).decode()
    if not banner:
        await process.wait()
        yield None
        return
    lock = config.with_name("gateway.db.lock")
    gateway = Dying("127.0.0.1", int(banner.rpartition(":")[2]), process=process, lock=lock)
    try:
        yield gateway
    finally:
        gateway.close()
        await gateway.kill()


@dataclass(eq=False)
class Journey:
    """One journal, the gateways that lived and died on it, and what everybody was told."""

    config: Path
    upstream: ScriptedUpstream
    rng: random.Random
    log: UpstreamLog = field(default_factory=UpstreamLog)
    sent: list[Sent] = field(default_factory=list)
    deaths: list[tuple[Journal, int]] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.upstream.choose = scenario.obedient(self.log)

    @property
    def journal(self) -> Path:
        return self.config.with_name("gateway.db")

    async def play(self, gateway: Dying, count: int, doom: Awaitable[None]) -> None:
        """Play *count* requests and kill the gateway when *doom* returns, at the latest at the end."""
        requests = scenario.requests(len(self.sent), count, self.rng)
        self.sent += requests
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(scenario.play(gateway, requests))
            dooming = tasks.create_task(_wait(doom))
            await asyncio.wait([playing, dooming], return_when=asyncio.FIRST_COMPLETED)
            dooming.cancel()
            await gateway.kill()
        self.deaths.append((read_wreck(self.journal), self.log.count))

    async def settle(self, gateway: GatewayClient) -> None:
        """Let a new gateway do what is left, and check everything."""
        await scenario.send_again(gateway, self.sent)
        for status in ("queued", "running"):
            while calls := await gateway.calls(status=status, limit=1):
                await gateway.api("GET", f"/-/calls/{calls[0]['id']}?wait=5")
        journal = read_journal(self.journal)
        for sent in self.sent:
            for call_id in sent.accepted & journal.keys():
                await scenario.fetch(gateway, sent, call_id)
        now = time.time()  # noqa: TID251 - the gateway's
        run = Run(self.sent, self.log, journal, self.deaths, counted(self.journal, now=now))
        self.found += findings(run)

    async def first_accepted(self) -> None:
        """Return as soon as a client was told 202."""
        while not any(sent.accepted for sent in self.sent):  # noqa: ASYNC110 - looked at, not told
            await asyncio.sleep(0.001)

    async def after(self, hits: int, pause_s: float) -> None:
        """Return *pause_s* after the upstream has seen *hits* more requests."""
        await self.upstream.wait_hits(self.upstream.hits + hits)
        await asyncio.sleep(pause_s)


async def _wait(doom: Awaitable[None]) -> None:
    await doom
