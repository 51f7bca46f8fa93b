"""A relay on a fake clock: everything around it is in memory, everything inside it is real."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway import config
from gateway.call import Attempt, Call, Failure, OnDisconnect, Options, Outcome, Request, Status
from gateway.errors import Refused
from gateway.relay.admission import Admission
from gateway.relay.recording import Recording
from gateway.relay.relay import Relay
from gateway.telemetry.metrics import Metrics
from tests.relay.memory_journal import MemoryJournal

NOW = 1_800_000_000.0
METRICS = Metrics()  # nobody looks at them, and a registry is the dearest thing in a world
SSE = ((b"Content-Type", b"text/event-stream"),)


@dataclass(frozen=True)
class Step:
    """What the upstream does with an attempt: a status after *after_s*, whole or cut, or silence."""

    status: int | None = 200  #: None: the connection breaks
    after_s: float = 10.0
    chunks: int = 0  #: > 0: an event stream, a chunk a second
    cut: bool = False


@dataclass(eq=False)
class FakeUpstream:
    """An upstream as relay sees it, which counts what is in flight and minds the limit."""

    settings: config.Upstream
    choose: Callable[[int], Step]
    limit: int
    in_flight: int = 0
    peak: int = 0
    began: list[float] = field(default_factory=list)

    async def attempt(
        self,
        attempt: Attempt,
        request: Request,
        target: str,
        recording: Recording,
        *,
        within_s: float | None,
        now: Callable[[], float],
        on_head: Callable[[], None],
    ) -> None:
        assert request.body is not None
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        assert self.in_flight <= self.limit, "an attempt began above the limit"
        self.began.append(asyncio.get_running_loop().time())
        try:
            step = self.choose(len(self.began))
            async with asyncio.timeout(within_s):
                await self._answer(step, attempt, recording, now, on_head)
        except TimeoutError:
            attempt.outcome = Outcome.TIMED_OUT
            attempt.failure = Failure(code="deadline_exceeded", message="late")
        except ConnectionError:
            attempt.outcome = Outcome.BROKEN
            attempt.failure = Failure(code="upstream_broken", message="broken")
        except asyncio.CancelledError:
            attempt.outcome = Outcome.CANCELLED
            raise
        finally:
            self.in_flight -= 1
            recording.end(complete=attempt.outcome is Outcome.ANSWERED)

    async def _answer(
        self,
        step: Step,
        attempt: Attempt,
        recording: Recording,
        now: Callable[[], float],
        on_head: Callable[[], None],
    ) -> None:
        await asyncio.sleep(step.after_s)
        if step.status is None:
            raise ConnectionResetError
        attempt.first_byte_at = now()
        recording.begin(
            status=step.status,
            reason=None,
            headers=SSE if step.chunks else (),
            declared=None if step.chunks else 2,
            is_bodyless=False,
        )
        on_head()
        for _ in range(step.chunks):
            await recording.append(b"data: {}\n\n")
            await asyncio.sleep(1)
        if step.cut:
            raise ConnectionResetError
        if not step.chunks:
            await recording.append(b"{}")
        attempt.outcome = Outcome.ANSWERED


@dataclass(eq=False)
class Client:
    """Somebody who asks, waits, and may go away: cancel the task that runs `ask`."""

    recording: Recording | None = None  #: what it was given to read
    at_s: float | None = None  #: loop clock, when it knew

    def has_its_answer(self) -> bool:
        recording = self.recording
        return recording is not None and recording.ended and recording.attempt.complete


@dataclass(eq=False)
class World:
    """The relay and what stands around it."""

    relay: Relay
    admission: Admission
    journal: MemoryJournal
    upstream: FakeUpstream
    limits: config.Limits

    def call(self, **said: Any) -> Call:
        seq = self.journal.next_seq()
        body = said.pop("body", b"{}")
        timeout_s = said.pop("timeout_s", None)
        created_at = NOW + asyncio.get_running_loop().time()
        names = (set(Options.__slots__) & said.keys()) - {"on_disconnect"}
        options = Options(**{name: said.pop(name) for name in names})
        return Call(
            **{
                "seq": seq,
                "id": f"call_{seq}",
                "request": Request(
                    method="POST", path="/v1/x", query="", headers=(), body=body,
                    body_bytes=len(body), sha256="",
                ),
                "options": options,
                "client": "",
                "address": "127.0.0.1",
                "upstream": "openai",
                "target": "/x",
                "model": None,
                "stream": False,
                "on_disconnect": OnDisconnect.FINISH,
                "max_attempts": self.upstream.settings.retry.max_attempts,
                "created_at": created_at,
                "deadline_at": None if timeout_s is None else created_at + timeout_s,
                "fingerprint": "same",
                "detached": options.detached,
                **said,
            }
        )  # fmt: skip

    async def ask(self, call: Call, client: Client | None = None) -> str:
        """Follow a call like a client: what it is told in the end, a status or an error's code."""
        client = client or Client()
        try:
            live = await self.relay.take_on(call, client)
        except Refused as refused:
            return refused.code
        if isinstance(live, str):
            return "replayed"
        try:
            recording = client.recording = await live.wait_answer()
            await live.wait_over()
        except asyncio.CancelledError:
            self.relay.left(live, client)
            raise
        client.at_s = asyncio.get_running_loop().time()
        if recording is None:
            return live.outcome.code if live.outcome is not None else "internal"
        return str(recording.attempt.status) if recording.attempt.complete else "cut"

    def set_limit(self, limit: int) -> None:
        granted = self.admission.statistics().in_flight  # these go on, some are about to be sent
        self.upstream.limit = max(limit, granted)
        self.admission.set_max_in_flight("openai", limit)

    def check_at_rest(self) -> None:
        """Nothing leaks: no slot, no waiter, no open call; each call ended once."""
        now = self.admission.statistics()
        held = (now.in_flight, now.queued, now.queued_detached, now.queued_bytes, now.open_calls)
        assert held == (0, 0, 0, 0, 0)
        assert (self.relay.calls, self.upstream.in_flight) == ({}, 0)
        assert self.relay._twins._keyed == {}
        self.journal.check()

    def status(self, call: Call) -> Status:
        return self.journal.records[call.seq].status


@asynccontextmanager
async def open_world(
    choose: Callable[[int], Step] = lambda _: Step(),
    *,
    limits: dict[str, Any] | None = None,
    commit_s: float = 0.0,
    upstream: Any = None,
    seed: int = 1,
    now: Callable[[], float] | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """Run a relay before *upstream*, or a fake one that does what *choose* says with attempt N."""
    table = config.Upstream(**{"name": "openai", "base_url": "http://api.example", **settings})
    fake = FakeUpstream(table, choose, table.max_in_flight)
    loop = asyncio.get_running_loop()
    admission = Admission(now=loop.time, call_at=loop.call_at)
    journal = MemoryJournal(commit_s=commit_s)
    bounds = config.Limits(**(limits or {}))
    async with asyncio.TaskGroup() as tasks:
        relay = Relay(
            journal=journal, reader=journal, admission=admission, metrics=METRICS, tasks=tasks,
            now=now or (lambda: NOW + loop.time()), rng=random.Random(seed),
        )  # fmt: skip
        relay.upstreams = {"openai": upstream or fake}
        relay.limits = bounds
        admission.configure(bounds, {"openai": table})
        posting = tasks.create_task(relay.run())
        yield World(relay, admission, journal, fake, bounds)
        posting.cancel()
