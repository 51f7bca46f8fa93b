"""A call's whole life against a model of a few lines: real relay, real journal, any order of events.

The model knows of each call whether it is open and else how it ended; which call has a slot is the
relay's business, how many have one is not. A crash is what a killed process leaves: the writer and
every task end where they stand, and the file is opened again.
"""

import asyncio
import json
import random
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway import config
from gateway.call import Attempt, Call, Failure, OnDisconnect, Options, Outcome, Status
from gateway.errors import IdempotencyMismatch
from gateway.journal.reader import open_reader
from gateway.journal.writer import open_journal
from gateway.relay.admission import Admission
from gateway.relay.relay import Relay
from gateway.telemetry.metrics import Metrics
from tests.running_journal import make_call

NOW = 1_800_000_000.0
MAX_ATTEMPTS = 3
EXPIRES_S = 0.02
SETTLE_S = 5.0  # what is to happen happens at once


@dataclass(eq=False)
class Known:
    """A call as the model knows it."""

    id: str
    n: int
    detached: bool
    key: str | None
    used: int = 0  #: attempts that count
    status: Status | None = None  #: None: open
    answered: int | None = None  #: the status of its answer

    @property
    def comes_back(self) -> bool:
        return self.detached or self.key is not None

    @property
    def holds_its_key(self) -> bool:
        """Sent again under its Idempotency-Key, the request is this call."""
        return self.status is None or (self.answered is not None and self.answered < 500)


class Client:
    """Waits for ever."""

    def has_its_answer(self) -> bool:
        return False


class HeldUpstream:
    """An upstream whose attempts end when the test says so."""

    def __init__(self, table: config.Upstream) -> None:
        self.settings = table
        self.held: dict[int, asyncio.Future[int]] = {}  # n of the call → the status it gets
        self.hits: list[int] = []

    @property
    def waiting(self) -> list[int]:
        """Of which calls an attempt waits to be answered."""
        return sorted(n for n, status in self.held.items() if not status.done())

    async def attempt(
        self, attempt: Attempt, request: Any, target: str, recording: Any, **said: Any
    ) -> None:
        n = json.loads(request.body)["n"]
        assert n not in self.held, "two attempts of one call at once"
        self.held[n] = asyncio.get_running_loop().create_future()
        self.hits.append(n)
        assert len(self.held) <= self.settings.max_in_flight, "more in flight than the limit"
        try:
            async with asyncio.timeout(said["within_s"]):
                status = await self.held[n]
        except TimeoutError:
            attempt.outcome = Outcome.TIMED_OUT
            attempt.failure = Failure(code="deadline_exceeded", message="late")
        except asyncio.CancelledError:
            attempt.outcome = Outcome.CANCELLED
            raise
        else:
            attempt.first_byte_at = said["now"]()
            recording.begin(status=status, reason=None, headers=(), declared=2, is_bodyless=False)
            said["on_head"]()
            await recording.append(b"{}")
            attempt.outcome = Outcome.ANSWERED
        finally:
            del self.held[n]
            recording.end(complete=attempt.outcome is Outcome.ANSWERED)


class Gateway:
    """One life of relay and journal on a file."""

    async def start(self, path: Path, upstream: HeldUpstream) -> None:
        loop = asyncio.get_running_loop()
        self.upstream = upstream
        self._opened = AsyncExitStack()
        opening = open_journal(path, durability="process", now=self.now)
        self.journal = await self._opened.enter_async_context(opening)
        self.reader = await self._opened.enter_async_context(open_reader(path))
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._writer = self._tasks.create_task(self.journal.run())
        self.admission = Admission(now=loop.time)
        self.relay = Relay(
            journal=self.journal, reader=self.reader, admission=self.admission, metrics=Metrics(),
            tasks=self._tasks, now=self.now, rng=random.Random(1),
        )  # fmt: skip
        self.configure(upstream.settings)
        for call in await self.journal.open_calls():
            self.relay.recover(call)

    def now(self) -> float:
        return NOW + asyncio.get_running_loop().time()

    def configure(self, table: config.Upstream) -> None:
        self.upstream.settings = table
        self.relay.upstreams = {"openai": self.upstream}
        self.admission.configure(self.relay.limits, {"openai": table})

    async def crash(self) -> None:
        """End everything where it stands."""
        self._writer.cancel()
        for live in self.relay.calls.values():
            for running in filter(None, (live.task, live.timer)):
                running.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._opened.aclose()

    async def stop(self) -> None:
        """End as `gateway run` does when its time is up."""
        self.relay.draining = True
        await self.relay.give_all_back()
        self.journal.close()
        await self._tasks.__aexit__(None, None, None)
        await self._opened.aclose()


def table(limit: int, on_interrupted: str) -> config.Upstream:
    return config.Upstream(
        name="openai", base_url="http://api.example", max_in_flight=limit,
        on_interrupted=on_interrupted,
        retry=config.Retry(max_attempts=MAX_ATTEMPTS, backoff_s=0.001, backoff_max_s=0.001),
    )  # fmt: skip


class CallMachine(RuleBasedStateMachine):
    calls = Bundle("calls")

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.known: list[Known] = []
        self.upstream = HeldUpstream(table(2, "retry"))
        self._start()

    def _start(self) -> None:
        self.gateway = Gateway()
        self.runner.run(self.gateway.start(self.directory / "gateway.db", self.upstream))

    def teardown(self) -> None:
        if not hasattr(self, "gateway"):
            return
        try:
            self.runner.run(self._check_journal())
        finally:
            self.runner.run(self.gateway.crash())
            self.runner.close()
            shutil.rmtree(self.directory)

    # -- what happens

    @rule(
        target=calls,
        kind=st.sampled_from(["plain", "detached", "keyed", "detached and keyed"]),
        large=st.booleans(),
    )
    def submit(self, kind: str, large: bool) -> Known:
        n = len(self.known)
        key = f"key-{n}" if "keyed" in kind else None
        found = self.runner.run(self._take_on(n, "detached" in kind, key, large=large))
        assert isinstance(found, Known)
        return found

    @rule(known=calls)
    def send_again(self, known: Known) -> None:
        """Under an Idempotency-Key it is the same call; one whose call ended badly is made anew."""
        if known.key is None:
            return
        newest = next(each for each in reversed(self.known) if each.key == known.key)
        found = self.runner.run(self._take_on(known.n, known.detached, known.key))
        if newest.holds_its_key:
            assert found == newest.id
        else:
            assert isinstance(found, Known)

    @rule(known=calls)
    def send_another_under_its_key(self, known: Known) -> None:
        if known.key is None:
            return
        newest = next(each for each in reversed(self.known) if each.key == known.key)
        if newest.holds_its_key:
            with pytest.raises(IdempotencyMismatch):
                self.runner.run(self._take_on(known.n, known.detached, known.key, other=True))

    @precondition(lambda self: self.upstream.waiting)
    @rule(status=st.sampled_from([200, 200, 400, 503]), at=st.integers(0, 9))
    def answer(self, status: int, at: int) -> None:
        waiting = self.upstream.waiting
        n = waiting[at % len(waiting)]
        self.upstream.held[n].set_result(status)
        known = self._open(n)
        known.used += 1
        if status == 503 and known.used < MAX_ATTEMPTS:
            return
        known.status = Status.SUCCEEDED if status == 200 else Status.FAILED
        known.answered = status

    @rule(known=calls)
    def cancel(self, known: Known) -> None:
        cancelled = self.runner.run(self.gateway.relay.cancel_call(known.id))
        assert cancelled == (known.status is None)
        if cancelled:
            known.status = Status.CANCELLED

    @rule(detached=st.booleans())
    def submit_what_expires(self, detached: bool) -> None:
        n = len(self.known)
        known = self.runner.run(self._take_on(n, detached, None, timeout_s=EXPIRES_S))
        self.runner.run(self.gateway.relay.standing.wait_final(known.id, SETTLE_S))
        known.status = Status.EXPIRED

    @rule(limit=st.integers(1, 3), on_interrupted=st.sampled_from(["retry", "fail"]))
    def reload(self, limit: int, on_interrupted: str) -> None:
        self.gateway.configure(table(limit, on_interrupted))

    @rule()
    def crash(self) -> None:
        self._end(self.gateway.crash(), counts=True)

    @rule()
    def stop(self) -> None:
        self._end(self.gateway.stop(), counts=False)

    # -- what must hold

    @invariant()
    def slots_are_used_and_ends_are_recorded(self) -> None:
        if hasattr(self, "gateway"):
            self.runner.run(self._settle())

    async def _settle(self) -> None:
        async with asyncio.timeout(SETTLE_S):
            while not await self._is_settled():  # noqa: ASYNC110 - the file is written by a thread
                await asyncio.sleep(0.001)

    async def _is_settled(self) -> bool:
        still_open = [known for known in self.known if known.status is None]
        in_flight, limit = len(self.upstream.waiting), self.upstream.settings.max_in_flight
        if in_flight != min(len(still_open), limit) and in_flight <= limit:
            return False
        for known in self.known:
            record = await self.gateway.reader.call(known.id)
            assert record is not None, f"{known.id} is lost"
            if record.status.is_final and known.status is None:
                pytest.fail(f"{known.id} ended as {record.status}, {record.row.error_code}")
            if known.status not in (None, record.status):
                return False
        return True

    async def _check_journal(self) -> None:
        """Attempts are what the upstream saw, and calls began in the order of acceptance."""
        await self._settle()
        began = []
        attempts: dict[int, int] = {}
        for known in self.known:
            record = await self.gateway.reader.call(known.id)
            assert record is not None
            open_attempt = record.row.open_attempt is not None
            attempts[known.n] = attempts.get(known.n, 0) + len(record.attempts) + open_attempt
            for attempt in record.attempts:
                assert bool(attempt.ambiguous) == (attempt.outcome == Outcome.INTERRUPTED)
            if record.row.started_ms is not None:
                began.append((record.seq, record.row.started_ms))
        for n, number in attempts.items():
            assert self.upstream.hits.count(n) <= number
        starts = [started_ms for _, started_ms in sorted(began)]
        assert starts == sorted(starts)

    # -- how

    def _open(self, n: int) -> Known:
        (known,) = [each for each in self.known if each.n == n and each.status is None]
        return known

    def _end(self, ending: Any, *, counts: bool) -> None:
        """The process ends and another begins; the model knows what that does to each call."""
        fails = self.upstream.settings.on_interrupted == "fail"
        for known in self.known:
            if known.status is not None:
                continue
            cut = known.n in self.upstream.waiting
            if cut and counts:
                known.used += 1
            spent = counts and known.used >= MAX_ATTEMPTS
            if not known.comes_back or (cut and (fails or spent)):
                known.status = Status.FAILED
        self.runner.run(ending)
        self._start()

    async def _take_on(
        self,
        n: int,
        detached: bool,
        key: str | None,
        *,
        timeout_s: float | None = None,
        large: bool = False,
        other: bool = False,
    ) -> Known | str:
        call = self._call(n, detached, key, timeout_s, large, other)
        found = await self.gateway.relay.take_on(call, Client())
        if isinstance(found, str):
            return found
        if found.call is not call:
            return found.call.id
        await found.wait_accepted()
        known = Known(call.id, n, detached, key)
        self.known.append(known)
        return known

    def _call(
        self,
        n: int,
        detached: bool,
        key: str | None,
        timeout_s: float | None,
        large: bool,
        other: bool,
    ) -> Call:
        now = self.gateway.now()
        body = json.dumps({"n": n, "x": "x" * (300_000 if large else 1)}).encode()
        return make_call(
            self.gateway.journal.next_seq(),
            body=body,
            options=Options(detached=detached, idempotency_key=key, timeout_s=timeout_s),
            detached=detached,
            created_at=now,
            deadline_at=None if timeout_s is None else now + timeout_s,
            max_attempts=MAX_ATTEMPTS,
            on_disconnect=OnDisconnect.FINISH,
            fingerprint=f"{n} {other}",
        )


CallMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCallMachine = CallMachine.TestCase
