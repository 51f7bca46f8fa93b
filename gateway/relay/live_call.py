"""A call that is not final: who waits for it, what they may read, and how to stop it."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Protocol

from gateway.call import Call, Failure, Status
from gateway.relay.admission import Place
from gateway.relay.recording import Recording


class Client(Protocol):
    """Somebody a call is for: its sender, or a retry that joined it. Mere readers are not clients."""

    def has_its_answer(self) -> bool:
        """The last event was sent to it, or the upstream's end was read: leaving now costs nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ends; `status` QUEUED gives it back to the next start instead."""

    status: Status
    failure: Failure | None = None


class LiveCall:
    """One open call in RAM.

    `offer` is the recording whose head may be given; whoever takes it (`take`) makes it the answer,
    and from then on no retry replaces it.
    """

    __slots__ = (  # thousands of calls wait at once, each with one of these
        "_waiting",
        "abandoned",
        "accepted",
        "began",
        "call",
        "clients",
        "deadline",
        "finishing",
        "given",
        "offer",
        "outcome",
        "over",
        "place",
        "recording",
        "since",
        "started",
        "stopping",
        "task",
        "timer",
    )

    def __init__(self, call: Call, *, place: Place, now: float) -> None:
        loop = asyncio.get_running_loop()
        self.call = call
        self.place = place
        self.began = loop.time()
        self.since = self.began  #: when it was accepted, maybe by an earlier process, on that clock
        #: on the loop's clock, so that a jump of the wall clock moves no deadline
        self.deadline = None if call.deadline_at is None else self.began + call.deadline_at - now
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.recording: Recording | None = None  #: of the attempt in flight, or the last one
        self.offer: Recording | None = None
        self.given = False
        self.clients: list[Client] = []
        self.started = False  #: its task has taken its first step; False while it has none
        self.stopping: Ended | None = None  #: why its task was cancelled
        self.finishing = False  #: too late to stop: its end is being written
        self.over = False  #: final and recorded, or given back
        self.outcome: Failure | None = None  #: what a client without an answer is told
        self.task: asyncio.Task[None] | None = None  #: None while it waits for a slot
        self.timer: asyncio.TimerHandle | None = None  #: and how long it may
        self.abandoned: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def as_it_stands(self) -> Call:
        """The call, with what it waits for now: a pause may have come or gone meanwhile."""
        if self.place.waits:
            self.call.wait_reason = self.place.reason
        return self.call

    async def wait_accepted(self) -> None:
        """Return once the call is durable. Several may wait, and leave while they do.

        Raises: JournalUnavailable - there is no such call
        """
        await asyncio.wait(
            (self.accepted,)
        )  # awaited itself, one who leaves would cancel it for all
        self.accepted.result()

    def take(self) -> Recording | None:
        """The answer, where there is one to give; taking it makes it final."""
        if self.offer is not None and not self.over:
            self.given = True
        return self.offer

    def changed(self) -> None:
        """Wake everybody who waits for an answer or the end."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def change(self) -> None:
        """Wait until something worth looking at happened."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # woken in the same moment
                self._waiting.remove(future)
            raise

    async def wait_answer(self) -> Recording | None:
        """Wait for an answer to read, or the end without one (None: see `outcome`).

        Raises: JournalUnavailable - there is no such call
        """
        await self.wait_offer()
        if self.accepted.done():
            self.accepted.result()
        return self.take()

    async def wait_offer(self) -> None:
        """Wait until there is an answer that may be taken, or the end; take nothing."""
        while self.offer is None and not self.over:
            await self.change()

    async def wait_presentable(self) -> None:
        """Wait for what a `respond-async` client is given: a whole answer, or a stream's head."""
        while not self.over and not (self.offer is not None and self.offer.is_event_stream):
            await self.change()

    async def wait_over(self) -> None:
        """Wait until the call is final and recorded, or given back."""
        while not self.over:
            await self.change()

    def stop(self, ended: Ended) -> bool:
        """End the call as *ended* unless its end is already being written; True: it will."""
        if self.finishing or self.over or self.stopping is not None:
            return False
        self.stopping = ended
        if self.started:  # else it ends itself with its first step, or `Relay` ends it
            assert self.task is not None
            self.task.cancel()
        return True
