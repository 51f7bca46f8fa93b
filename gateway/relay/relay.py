"""What the gateway does with a call, from acceptance to its end. Read `_live` top to bottom.

Every call runs by itself, in a task of its own; while it waits for a slot it needs none. Clients
only follow its recording. Invariants:
no upstream sees a byte, and no client a 202, before the call and the attempt are in the journal;
no answer ends before its record does; a slot is held from the start of an attempt to its end and
not a moment longer; a call reaches exactly one final status, whatever races.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from gateway import config
from gateway.call import (
    PART_BYTES,
    Attempt,
    Call,
    Failure,
    OnDisconnect,
    Outcome,
    Status,
    WaitReason,
)
from gateway.errors import Draining, JournalUnavailable
from gateway.journal.reader import Reader
from gateway.journal.records import CallRecord
from gateway.journal.writer import Journal
from gateway.relay.admission import Admission, Place
from gateway.relay.live_call import Client, Ended, LiveCall
from gateway.relay.pace import sign_of
from gateway.relay.parking import is_parked, park
from gateway.relay.recorder import Recorder
from gateway.relay.report import Report
from gateway.relay.restart import cut_by_crash, end_at_start, end_at_stop, survives_restart
from gateway.relay.retry import Again, Final, may_repeat, next_step, retry_after_s
from gateway.relay.standing import Standing
from gateway.relay.twins import Twins
from gateway.relay.upstream import Upstream
from gateway.relay.watching import Watch
from gateway.telemetry.metrics import Metrics

log = structlog.get_logger()

ABANDONED_S = 60.0  # a call not yet sent keeps its place so long, for a retry to join it


class Relay:
    """Accepts calls, runs them, and lets clients follow, leave and cancel them."""

    def __init__(
        self,
        *,
        journal: Journal,
        reader: Reader,
        admission: Admission,
        metrics: Metrics,
        tasks: asyncio.TaskGroup,
        now: Callable[[], float],
        rng: random.Random,
        on_end: Sequence[Callable[[Call], None]] = (),
        watch: Watch | None = None,
    ) -> None:
        self._journal = journal
        self._reader = reader
        self._admission = admission
        admission.on_grant = self._go_on
        self._tasks = tasks
        self._now = now
        self._rng = rng
        self._on_end = on_end  #: told of each call that is final
        self._watch = watch or Watch(admission)
        self._twins = Twins(reader)
        self._monotonic = asyncio.get_running_loop().time
        self._recorder = Recorder(journal, reader, self._monotonic)
        self._report = Report(metrics)
        admission.on_breaker = self._report.breaker_changed
        self._epoch = self._monotonic() - now()  #: wall time 0 on the loop's clock
        self.upstreams: Mapping[str, Upstream] = {}
        self.limits = config.Limits()
        self.calls: dict[str, LiveCall] = {}
        self.standing = Standing(self.calls, admission)
        self.draining = False
        #: what the start found open: still queued; in flight and to go again; ended
        self.recovered = {"queued": 0, "retried": 0, "failed": 0}

    # 1 -- acceptance

    async def take_on(self, call: Call, client: Client) -> LiveCall | str:
        """Join the call that *call* repeats, else accept it as a new one.

        Returns: the call to follow, or the id of a final one whose recorded answer is given again
        Raises:  IdempotencyMismatch, and what `accept` raises
        """
        twin = await self._twins.find(call)
        if isinstance(twin, str):
            return twin
        if twin is None:
            return self.accept(call, client)
        twin.clients.append(client)
        twin.call.client_gone = False
        if twin.abandoned is not None:
            twin.abandoned.cancel()
        self._changed(twin)
        log.info("call_joined", call_id=twin.call.id, retry_count=call.options.retry_count)
        return twin

    def accept(self, call: Call, client: Client | None) -> LiveCall:
        """Take *call* on as a new one; it is durable once `accepted` resolves.

        Raises: Draining, QueueFull, KeyLimit, JournalUnavailable - at once, and then there is no call
        """
        if self.draining:
            raise Draining
        if not self._journal.available:
            raise JournalUnavailable
        place = self._enter(call)
        call.wait_reason = None if place.granted else place.reason
        live = LiveCall(call, place=place, now=self._now())
        if client is not None:
            live.clients.append(client)
        self._start(live)
        return live

    def recover(self, call: Call) -> None:
        """Take up *call* as the last process left it, or end it where nobody can come back for it."""
        cut = call.open_attempt
        if cut is not None:
            cut_by_crash(cut, self._now())
        upstream = self.upstreams.get(call.upstream)
        ended = end_at_start(call, upstream.settings if upstream else None, was_cut=cut is not None)
        if ended is not None:
            call.duration_ms = (self._now() - call.created_at) * 1000
            if not call.attempts:
                call.queued_ms = call.duration_ms
            self._close(call, ended)
            self._journal.update(call, ended=[cut] if cut else [])
            self._announce(call)
            self.recovered["failed"] += 1
            return
        if (call.status, call.wait_reason) != (Status.QUEUED, WaitReason.SLOT):
            call.status, call.wait_reason = Status.QUEUED, WaitReason.SLOT
            self._journal.update(call, ended=[cut] if cut else [])
        live = LiveCall(call, place=self._enter(call, recovered=True), now=self._now())
        live.since = min(live.began, self._epoch + call.created_at)
        live.accepted.set_result(None)
        self._start(live)
        if call.client_gone and not call.detached:
            self._expect_retry(live)
        self.recovered["retried" if cut else "queued"] += 1

    def _enter(self, call: Call, *, retry: bool = False, recovered: bool = False) -> Place:
        since = self._monotonic()
        if retry or recovered:
            # By one constant: reading both clocks anew would put calls of one millisecond in the
            # order in which the process happened to be interrupted.
            since = min(since, self._epoch + call.created_at)
        return self._admission.enter(
            call.upstream, flow=call.flow, priority=call.options.priority, since=since,
            body_bytes=0 if is_parked(call) else call.request.body_bytes, detached=call.detached,
            retry=retry, recovered=recovered, key_id=call.key_id,
        )  # fmt: skip

    def _start(self, live: LiveCall) -> None:
        self.calls[live.call.id] = live
        self._twins.opened(live)
        self._admission.opened(live.call.upstream)
        if live.accepted.done() and not live.place.granted:
            self._wait(live)
        else:
            self._go_on(live)

    def _go_on(self, live: LiveCall) -> None:
        if live.timer is not None:
            live.timer.cancel()
        live.task = self._tasks.create_task(self._live(live), name=live.call.id)

    # 2 -- the life of a call

    async def _live(self, live: LiveCall) -> None:
        """Run *live* to its end, or until it has to wait: every way out is one `Ended`, or None."""
        task = asyncio.current_task()
        assert task is not None
        live.started = True
        if live.stopping is not None:
            task.cancel()  # it was stopped before this first step
        try:
            ended = await self._run(live)
        except JournalUnavailable as error:
            if not live.accepted.done():
                live.accepted.set_exception(error)
                live.accepted.exception()  # nobody has to look: its client may have left
                live.place.release()
                self._forget(live)
                return
            ended = Ended(Status.FAILED, Failure(code=error.code, message=error.message))
        except asyncio.CancelledError:
            if live.stopping is None:
                raise
            task.uncancel()
            ended = live.stopping
        except Exception:  # noqa: BLE001, RUF100 - a bug met by one call must not end all the others
            log.exception("call_crashed", call_id=live.call.id)
            message = "the gateway failed while it carried this call"
            ended = Ended(Status.FAILED, Failure(code="internal", message=message))
        if ended is not None:
            live.place.release()
            await self._finish(live, ended)

    async def _run(self, live: LiveCall) -> Ended | None:
        call = live.call
        if not live.accepted.done():
            if live.place.granted:
                self._begin_attempt(live)
            await self._journal.accept(call)
            live.accepted.set_result(None)
            if not live.place.granted and is_parked(call):
                park(call)
            self._changed(live)
        while live.place.granted:
            if call.open_attempt is None:
                if self._deadline_in(live) == 0.0:
                    return Ended(Status.EXPIRED, _deadline_passed())
                self._begin_attempt(live)
                while not await self._journal.update(call):
                    await self._journal.wait_available()
                self._changed(live)
            await self._attempt(live)
            live.place.release()
            step = self._next_step(live)
            if not isinstance(step, Again):
                return self._answered(live)
            await self._pause(live, step)
            live.place = self._enter(call, retry=True)
        self._wait(live)
        return None

    def _wait(self, live: LiveCall) -> None:
        """Let *live* stand in the queue until it is granted a slot, stopped, or its time is up."""
        call, place = live.call, live.place
        call.status, call.wait_reason = Status.QUEUED, place.reason
        if call.attempts:
            self._changed(live)
        live.task, live.started = None, False
        place.owner = live
        self._mind_time(live)

    def _mind_time(self, live: LiveCall) -> None:
        allowed = (self._deadline_in(live), self._queue_in(live))
        if within_s := [each for each in allowed if each is not None]:
            loop = asyncio.get_running_loop()
            live.timer = loop.call_later(min(within_s), self._time_is_up, live)

    def _time_is_up(self, live: LiveCall) -> None:
        if self._deadline_in(live) == 0:
            self._stop(live, Ended(Status.EXPIRED, _deadline_passed()))
        elif self._queue_in(live) == 0:
            message = f"no slot at {live.call.upstream} became free in time"
            self._stop(live, Ended(Status.EXPIRED, Failure(code="queue_timeout", message=message)))
        else:
            self._mind_time(live)  # it was detached meanwhile, and may wait on

    def _begin_attempt(self, live: LiveCall) -> None:
        call = live.call
        attempt = Attempt(
            number=len(call.attempts) + 1, upstream=call.upstream, started_at=self._now()
        )
        if not call.attempts:
            call.started_at = attempt.started_at
            call.queued_ms = (self._monotonic() - live.since) * 1000
        call.attempts.append(attempt)
        call.status, call.wait_reason = Status.RUNNING, None

    async def _attempt(self, live: LiveCall) -> None:
        """One try: the answer is recorded, and offered as soon as it can no longer be replaced."""
        call, attempt = live.call, live.call.attempts[-1]
        upstream = self.upstreams[call.upstream]
        recording = live.recording = self._recorder.record(call, attempt)
        request = call.request
        if request.body is None:
            request = await self._reader.request(call)
        elif request.body_bytes > PART_BYTES:
            call.request = replace(request, body=None)  # only this attempt still holds it

        def on_head() -> None:
            call.first_byte_at = call.first_byte_at or attempt.first_byte_at
            held = may_repeat(
                attempt, used=call.attempts_used, allowed=call.max_attempts,
                policy=upstream.settings.retry,
            )  # fmt: skip
            if not held and not recording.is_given_whole:
                call.answer, live.offer = attempt, recording
                live.changed()
            self._changed(live)

        try:
            await upstream.attempt(
                attempt, request, call.target, recording,
                within_s=self._deadline_in(live), now=self._now, on_head=on_head,
            )  # fmt: skip
        finally:
            attempt.finished_at = self._now()
            live.place.sign = sign_of(attempt)
            self._report.attempt_ended(attempt)

    def _next_step(self, live: LiveCall) -> Final | Again:
        call, attempt = live.call, live.call.attempts[-1]
        recording = live.recording
        assert recording is not None
        step = next_step(
            attempt, used=call.attempts_used, allowed=call.max_attempts, given=live.given,
            policy=self.upstreams[call.upstream].settings.retry, now=self._now(),
            within_s=self._deadline_in(live), body=recording.whole() or b"",
            rng=self._rng, hopeless=attempt.failure is not None and attempt.failure.hopeless,
        )  # fmt: skip
        attempt.retry_after_s = retry_after_s(attempt.headers, self._now())
        if isinstance(step, Again):
            attempt.backoff_s = step.after_s
        return step

    async def _pause(self, live: LiveCall, step: Again) -> None:
        """Wait before the next attempt, without a slot."""
        call, attempt, recording = live.call, live.call.attempts[-1], live.recording
        assert recording is not None
        call.status, call.wait_reason = Status.QUEUED, WaitReason.BACKOFF
        call.answer = live.offer = None
        self._journal.update(call, ended=[attempt], parts=recording.take_parts())
        self._report.attempt_failed(call, attempt)
        live.changed()  # whoever follows this attempt learns that it is not the answer
        self._changed(live)
        await asyncio.sleep(step.after_s)

    # 3 -- its end

    def _answered(self, live: LiveCall) -> Ended:
        """The last attempt is the call's: a whole answer below 400 is success."""
        call, attempt = live.call, live.call.attempts[-1]
        whole = attempt.outcome is Outcome.ANSWERED
        call.answer = attempt if whole or live.given else None
        if not whole:
            failure = attempt.failure
            late = failure is not None and failure.code == "deadline_exceeded"
            return Ended(Status.EXPIRED if late else Status.FAILED, failure)
        if attempt.status is not None and attempt.status >= 400:
            message = f"{call.upstream} answered {attempt.status}"
            return Ended(Status.FAILED, Failure(code="upstream_error", message=message))
        return Ended(Status.SUCCEEDED)

    async def _finish(self, live: LiveCall, ended: Ended) -> None:
        """Record the end, durably, then tell everybody."""
        call, recording = live.call, live.recording
        live.finishing = True
        attempt = call.attempts[-1] if call.attempts else None
        if attempt is not None and attempt.outcome in (None, Outcome.CANCELLED):
            self._mark_cut(attempt, ended)
        if recording is not None and recording.ended and recording.attempt is call.answer:
            call.usage = recording.usage()
        if ended.status.is_final:
            call.duration_ms = (self._monotonic() - live.since) * 1000
            if not call.attempts:
                call.queued_ms = call.duration_ms  # it did nothing but wait
        self._close(call, ended)
        parts = recording.take_parts() if recording is not None else []
        ended_attempts = [attempt] if attempt is not None and attempt.outcome else []
        recorded = False
        with contextlib.suppress(JournalUnavailable):  # closed: the next start knows the call
            while not (
                recorded := await self._journal.update(call, ended=ended_attempts, parts=parts)
            ):
                if not call.detached:
                    break  # its client waits: the answer goes out, the record follows on recovery
                await self._journal.wait_available()
        live.outcome = ended.failure
        if live.stopping is None:
            live.offer = recording if call.answer is not None else None
        self._forget(live)
        if call.status.is_final:
            self._report.call_ended(call)
            self._announce(call)
        self._tell_end(live, recorded=recorded)

    def _changed(self, live: LiveCall) -> None:
        """Let those see it who watch."""
        if self._watch.active:
            self._watch.call(live)

    def _tell_end(self, live: LiveCall, *, recorded: bool) -> None:
        """The same, once that end is in the file."""
        if self._watch.active and recorded:
            self._watch.call(live, recorded=True)
        elif self._watch.active:  # its record waits in RAM
            self._tasks.create_task(self._tell_recorded(live))

    async def _tell_recorded(self, live: LiveCall) -> None:
        with contextlib.suppress(JournalUnavailable):
            await self._journal.wait_available()
            if self._watch.active:
                self._watch.call(live, recorded=True)

    def _mark_cut(self, attempt: Attempt, ended: Ended) -> None:
        attempt.finished_at = attempt.finished_at or self._now()
        if ended.failure is not None and ended.failure.code == "interrupted":
            attempt.outcome, attempt.ambiguous, attempt.counts = Outcome.INTERRUPTED, True, False
        else:
            attempt.outcome = Outcome.CANCELLED
        attempt.failure = ended.failure

    def _close(self, call: Call, ended: Ended) -> None:
        call.status, call.failure = ended.status, ended.failure
        call.wait_reason = None
        if not ended.status.is_final:
            call.failure, call.wait_reason = None, WaitReason.SLOT
            return
        call.finished_at = self._now()

    def _announce(self, call: Call) -> None:
        for told in self._on_end:
            told(call)

    def _forget(self, live: LiveCall) -> None:
        live.over = True
        if not live.accepted.done():  # stopped while it was being accepted
            live.accepted.set_result(None)
        if live.abandoned is not None:
            live.abandoned.cancel()
        if live.timer is not None:
            live.timer.cancel()
        # Without these two a call is a reference cycle, and finding 60 objects of garbage a call took
        # the collector 14 % of the loop's time under load.
        live.task = None
        live.clients.clear()
        self.calls.pop(live.call.id, None)
        self._twins.closed(live)
        self._admission.closed(live.call.upstream)
        live.changed()

    # 4 -- clients that leave, cancels, stops

    def left(self, live: LiveCall, client: Client) -> None:
        """*client* went away; the last one to go decides by the call's policy."""
        if client in live.clients:
            live.clients.remove(client)
        call = live.call
        if live.clients or live.over or client.has_its_answer():
            return
        self._twins.left(live)
        if live.finishing:
            return  # its end is being written as it stands: final for ever
        call.client_gone = True
        self._changed(live)
        if call.detached:  # it outlives its client, whatever the policy says
            self._journal.update(call)
            return
        if call.on_disconnect is OnDisconnect.CANCEL:
            self.cancel(live, "its client left")
            return
        self._journal.update(call)
        self._expect_retry(live)

    def _expect_retry(self, live: LiveCall) -> None:
        """A call that was not sent yet keeps its place for a while, for a retry to join it."""
        if not live.call.attempts:
            loop = asyncio.get_running_loop()
            live.abandoned = loop.call_later(ABANDONED_S, self._abandon, live)

    def _abandon(self, live: LiveCall) -> None:
        if not live.call.attempts and not live.clients:
            self.cancel(live, "its client left before it was sent, and no retry joined it")

    async def detach(self, live: LiveCall, client: Client) -> None:
        """*client* was told to come back (202): from now on the call is for whoever asks for it."""
        if client in live.clients:
            live.clients.remove(client)
        if not live.call.detached:
            live.call.detached = True
            live.place.detach(body_bytes=live.place.body_bytes)
            while not await self._journal.update(live.call):  # no 202 before that is durable
                await self._journal.wait_available()
            self._changed(live)

    async def cancel_call(self, call_id: str) -> bool:
        """Cancel the open call of that id and wait for its end; False where it is not open."""
        live = self.calls.get(call_id)
        if live is None:
            return False
        self.cancel(live)
        await live.wait_over()
        return True

    def cancel(self, live: LiveCall, why: str = "ended on request") -> bool:
        """End *live* as cancelled; False where its end is already being written."""
        return self._stop(live, Ended(Status.CANCELLED, Failure(code="cancelled", message=why)))

    def _stop(self, live: LiveCall, ended: Ended) -> bool:
        """End *live* as *ended* unless its end is already being written; True: it will."""
        if not live.stop(ended):
            return False
        if live.task is None:  # it waits
            live.place.release()
            live.task = self._tasks.create_task(self._finish(live, ended), name=live.call.id)
        return True

    async def delete_calls(self, records: Sequence[CallRecord]) -> None:
        """Remove final calls for good. Raises: JournalUnavailable."""
        for record in records:
            if (live := self.calls.get(record.id)) is not None:
                await live.wait_over()  # it is recorded; this moment it is told
        self._twins.deleted({record.id for record in records})
        await self._journal.delete(*(record.seq for record in records))
        for record in records:
            self._watch.deleted(record.id, record.row.client)

    def give_back(self, live: LiveCall) -> None:
        """Leave *live* to the next start, or end it as interrupted where no start would take it up."""
        self._stop(live, end_at_stop(live.call, self.upstreams[live.call.upstream].settings))

    def kept_while_draining(self) -> list[LiveCall]:
        """Give back at once what nobody waits for; the calls that go on."""
        kept = []
        for live in list(self.calls.values()):
            waits = bool(live.clients) or not survives_restart(live.call)
            if waits or live.call.open_attempt is not None:
                kept.append(live)
            else:
                self.give_back(live)
        return kept

    async def give_all_back(self) -> None:
        """Leave every open call to the next start, or end it; return when that is recorded."""
        for live in list(self.calls.values()):
            self.give_back(live)
        for live in list(self.calls.values()):
            await live.wait_over()

    async def run(self) -> None:
        """Keep handing the recordings' bytes to the journal."""
        await self._recorder.run_posting(self.calls.values)

    def _queue_in(self, live: LiveCall) -> float | None:
        """How long *live* may still wait for its first slot; None: as long as it takes."""
        call = live.call
        allowed = call.options.queue_timeout_s
        if allowed is None and not call.detached:
            allowed = self.limits.queue_timeout_s
        if allowed is None or call.attempts:
            return None
        return max(0.0, live.began + allowed - self._monotonic())

    def _deadline_in(self, live: LiveCall) -> float | None:
        return None if live.deadline is None else max(0.0, live.deadline - self._monotonic())


def _deadline_passed() -> Failure:
    return Failure(code="deadline_exceeded", message="the call's deadline passed while it waited")
