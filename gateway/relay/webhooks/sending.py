"""Webhooks: who asked to be told of a call's end is told, at least once, by a schedule.

Invariants, held by `test_sending.py`: a delivery is pending in the journal from the commit that
ended its call until it is delivered or its schedule is over, so a crash loses none; every try
carries the same `webhook-id` and a signature of its own, over the bytes sent; a receiver that is
dead or slow delays nobody but itself. Calls never wait for any of it.

Source: Standard Webhooks 1.0
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog
from pydantic import SecretStr
from yarl import URL

from gateway import config
from gateway.call import Call
from gateway.errors import BadRequest, GatewayError, JournalUnavailable
from gateway.journal.deliveries import (
    DeliveryStatus,
    DeliveryTry,
    PendingDelivery,
    Tried,
    begin_again,
)
from gateway.journal.reader import Reader
from gateway.journal.records import CallRecord
from gateway.journal.writer import Journal
from gateway.relay.webhooks.addresses import host_of, read_url
from gateway.relay.webhooks.message import message, message_id, signed_headers
from gateway.relay.webhooks.post import Poster, Reply
from gateway.relay.webhooks.schedule import DELAYS_S, SLOW_DOWN, next_try, pause_s

log = structlog.get_logger(__name__)

AT_ONCE = 64  # tries in flight
TO_STRANGERS = 48  # of them, to those that did not answer the last time, or were never asked
ACQUAINTANCES = 10_000  # receivers that are known to answer
AT_ONE_RECEIVER = 4  # and one, at one that did not answer the last time
LOOK_AGAIN_S = 1.0  # the record of the call's end is on its way to the journal


class Destination(NamedTuple):
    """Where a message goes."""

    url: URL
    anywhere: bool  #: it may be inside our own network
    secrets: tuple[SecretStr, ...]  #: that sign it, at least one


def destination_of(webhook: str, settings: config.Webhooks) -> Destination:
    """Where a call's *webhook* is sent. Raises: BadRequest, where nothing may be sent there."""
    url, anywhere = read_url(webhook, settings.allowed_hosts)
    secrets = settings.signing(host_of(url))
    if not secrets:
        raise BadRequest("x-gateway-webhook needs a secret to sign with; see [webhooks] secret")
    return Destination(url, anywhere, secrets)


@dataclass(slots=True, eq=False)
class _Receiver:
    """One server that is told of calls."""

    authority: str  #: host and port
    stranger: bool  #: it did not answer the last time, or was never asked
    waiting: "deque[_Delivery]" = field(default_factory=deque)  #: due
    in_flight: int = 0
    deliveries: int = 0  #: that are not over
    silent: bool = False  #: it did not answer the last time
    slow: int = 0  #: times in a row that it asked for less
    pause: asyncio.TimerHandle | None = None
    held: bool = False  #: until fewer tries are in flight elsewhere

    @property
    def is_free(self) -> bool:
        """Whether one more may be sent to it now."""
        at_once = 1 if self.silent else AT_ONE_RECEIVER
        return self.pause is None and self.in_flight < at_once


@dataclass(slots=True, eq=False)
class _Delivery:
    """One message that is not over. It waits for its time (`timer`), for its turn, or is in flight."""

    seq: int
    call_id: str
    url: str
    receiver: _Receiver
    attempts: int
    step: int
    timer: asyncio.TimerHandle | None = None
    to_stranger: bool = False  #: while it is in flight


class Webhooks:
    """Sends what is pending for as long as `run()` runs."""

    def __init__(
        self,
        *,
        journal: Journal,
        reader: Reader,
        poster: Poster,
        settings: Callable[[], config.Webhooks],
        now: Callable[[], float],
        rng: random.Random,
        delays_s: Sequence[float] = DELAYS_S,
        at_once: int = AT_ONCE,
        to_strangers: int = TO_STRANGERS,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._journal = journal
        self._reader = reader
        self._poster = poster
        self._settings = settings
        self._now = now
        self._rng = rng
        self._delays_s = delays_s
        self._at_once = at_once
        self._most_to_strangers = to_strangers
        self._look_again_s = look_again_s
        self._loop = asyncio.get_running_loop()
        self._tasks: asyncio.TaskGroup | None = None
        self._open: dict[int, _Delivery] = {}  # by seq
        self._receivers: dict[str, _Receiver] = {}  # by host and port
        self._held: tuple[deque[_Receiver], deque[_Receiver]] = (deque(), deque())  # [stranger]
        self._in_flight = 0
        self._to_strangers = 0  # of those in flight
        self._answered: OrderedDict[str, None] = OrderedDict()  # authorities, the latest last
        self._resending: dict[int, asyncio.Future[None]] = {}  # by seq

    async def run(self) -> None:
        """Take up what is pending, and send what becomes due, until cancelled.

        Whatever ends it, it can be run again: the journal has what was not over.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                try:
                    for pending in await self._pending():
                        if pending.seq not in self._open:
                            self._take_up(pending, pending.next_ms / 1000 - self._now())
                    self._start_held()
                    await asyncio.Event().wait()
                finally:
                    self._tasks = None  # a try that ends from now on begins no other
        finally:
            self._let_go()

    def tell(self, call: Call) -> None:
        """*call* is final: send its message. It may be on its way to the journal yet."""
        if call.options.webhook is not None and call.seq not in self._open:
            self._take_up(PendingDelivery(call.seq, call.id, call.options.webhook), 0.0)

    async def send_again(self, record: CallRecord) -> None:
        """Send the message of a final call with a webhook, now; from there on by the schedule.

        However often that is asked for while it is due or on its way, it is sent once.

        Raises: BadRequest, where it may not be sent any more; JournalUnavailable
        """
        assert record.row.webhook is not None
        destination_of(record.row.webhook, self._settings())
        while (same := self._resending.get(record.seq)) is not None:
            await asyncio.wait((same,))
        delivery = self._open.get(record.seq)
        if delivery is not None and delivery.timer is None:
            delivery.step = 0  # it is due, or on its way: that is the one
            return
        ours = self._resending[record.seq] = self._loop.create_future()
        try:
            await self._begin_again(record)
        finally:
            del self._resending[record.seq]
            ours.set_result(None)

    async def _begin_again(self, record: CallRecord) -> None:
        assert record.row.webhook is not None
        await self._journal.work(begin_again(record.seq, now_ms=int(self._now() * 1000)))
        current = await self._reader.call(record.id)
        if current is None or current.delivery is None:
            return  # deleted meanwhile
        delivery = self._open.get(record.seq)
        if delivery is None:
            attempts = current.delivery.attempts
            again = PendingDelivery(record.seq, record.id, record.row.webhook, attempts)
            self._take_up(again, 0.0)
            return
        delivery.step = 0
        if delivery.timer is not None:
            delivery.timer.cancel()
            self._due(delivery)

    def _let_go(self) -> None:
        """Be as new: nothing is in flight, and nothing waits."""
        timers = [delivery.timer for delivery in self._open.values()]
        timers += [receiver.pause for receiver in self._receivers.values()]
        for timer in filter(None, timers):
            timer.cancel()
        self._open, self._receivers, self._in_flight, self._to_strangers = {}, {}, 0, 0
        for held in self._held:
            held.clear()

    async def _pending(self) -> list[PendingDelivery]:
        while True:
            try:
                return await self._reader.pending_deliveries()
            except JournalUnavailable as error:
                log.warning("webhooks_put_off", problem=error.message)
                await asyncio.sleep(self._look_again_s)

    def _take_up(self, pending: PendingDelivery, after_s: float) -> None:
        authority = pending.url.partition("://")[2].partition("/")[0].lower()
        receiver = self._receivers.get(authority)
        if receiver is None:
            receiver = _Receiver(authority, stranger=authority not in self._answered)
            self._receivers[authority] = receiver
        receiver.deliveries += 1
        delivery = self._open[pending.seq] = _Delivery(
            pending.seq, pending.call_id, pending.url, receiver, pending.attempts, pending.step
        )
        self._wait(delivery, after_s)

    def _wait(self, delivery: _Delivery, after_s: float) -> None:
        if after_s > 0:
            delivery.timer = self._loop.call_later(after_s, self._due, delivery)
        else:
            self._due(delivery)

    def _due(self, delivery: _Delivery) -> None:
        delivery.timer = None
        delivery.receiver.waiting.append(delivery)
        self._start(delivery.receiver)

    def _start(self, receiver: _Receiver) -> None:
        """Send what is due at *receiver* as far as both bounds allow."""
        while receiver.waiting and receiver.is_free:
            if self._tasks is None or not self._has_room(receiver.stranger):
                if not receiver.held:
                    receiver.held = True
                    self._held[receiver.stranger].append(receiver)
                return
            delivery = receiver.waiting.popleft()
            delivery.to_stranger = receiver.stranger
            receiver.in_flight += 1
            self._in_flight += 1
            self._to_strangers += delivery.to_stranger
            self._tasks.create_task(self._carry(delivery), name=message_id(delivery.call_id))

    def _has_room(self, stranger: bool) -> bool:
        """Whether one more may be in flight. Names that lead nowhere leave room for all others."""
        if self._in_flight >= self._at_once:
            return False
        return not stranger or self._to_strangers < self._most_to_strangers

    def _start_held(self) -> None:
        for stranger, held in enumerate(self._held):
            for _ in range(len(held)):
                if not self._has_room(bool(stranger)):
                    break
                receiver = held.popleft()
                receiver.held = False
                self._start(receiver)

    def _resume(self, receiver: _Receiver) -> None:
        receiver.pause = None
        self._start(receiver)

    async def _carry(self, delivery: _Delivery) -> None:
        """One turn of *delivery*; afterwards it waits for the next one, or is over."""
        after_s: float | None = None
        try:
            after_s = await self._try(delivery)
        except GatewayError as error:
            log.warning("webhook_put_off", call_id=delivery.call_id, problem=error.message)
            after_s = self._look_again_s
        except Exception:  # noqa: BLE001, RUF100 - a bug met by one must not end all the others
            log.exception("webhook_crashed", call_id=delivery.call_id)
        delivery.receiver.in_flight -= 1
        self._in_flight -= 1
        self._to_strangers -= delivery.to_stranger
        if after_s is None:
            self._forget(delivery)
        else:
            self._wait(delivery, after_s)
        self._start_held()
        self._start(delivery.receiver)

    async def _try(self, delivery: _Delivery) -> float | None:
        """Send it once; in how many seconds to come back, None: it is over.

        Raises: JournalUnavailable
        """
        record = await self._reader.call(delivery.call_id)
        if record is None:
            return None  # deleted
        if record.delivery is None:
            return self._look_again_s
        now = self._now()
        reply = await self._send(delivery, record, now)
        delivery.attempts += 1
        delivery.step += 1
        status, after_s = next_try(
            reply, step=delivery.step, delays_s=self._delays_s, now=now, rng=self._rng
        )
        self._heard(delivery.receiver, reply)
        error = reply.error
        if error is None and status is not DeliveryStatus.DELIVERED:
            error = f"it answered {reply.status}"
        is_pending = status is DeliveryStatus.PENDING
        await self._record(
            Tried(
                seq=delivery.seq,
                last=DeliveryTry(delivery.attempts, int(now * 1000), reply.status, error),
                status=status,
                step=delivery.step,
                next_ms=int((self._now() + after_s) * 1000) if is_pending else None,
            )
        )
        told = log.warning if status is DeliveryStatus.FAILED else log.info
        told(
            "webhook_tried", call_id=delivery.call_id, delivery=str(status),
            attempts=delivery.attempts, status=reply.status, error=error,
        )  # fmt: skip
        return after_s if is_pending else None

    async def _send(self, delivery: _Delivery, record: CallRecord, now: float) -> Reply:
        settings = self._settings()  # as they are now: what was allowed may be so no longer
        try:
            to = destination_of(delivery.url, settings)
        except BadRequest as refused:
            return Reply(error=refused.message)
        body = message(record)
        headers = signed_headers(delivery.call_id, body, secrets=to.secrets, now=now)
        return await self._poster.post(to.url, body, headers, anywhere=to.anywhere)

    def _heard(self, receiver: _Receiver, reply: Reply) -> None:
        receiver.silent = receiver.stranger = reply.status is None
        self._answered.pop(receiver.authority, None)
        if not receiver.stranger:
            self._answered[receiver.authority] = None
            if len(self._answered) > ACQUAINTANCES:
                self._answered.popitem(last=False)
        receiver.slow = receiver.slow + 1 if reply.status in SLOW_DOWN else 0
        if receiver.pause is None and (
            after_s := pause_s(reply, times=receiver.slow, now=self._now())
        ):
            receiver.pause = self._loop.call_later(after_s, self._resume, receiver)

    async def _record(self, tried: Tried) -> None:
        """Record it, also across an outage: a try that nobody remembers is made again."""
        while True:
            try:
                return await self._journal.work(tried)
            except JournalUnavailable:
                await self._journal.wait_available()

    def _forget(self, delivery: _Delivery) -> None:
        del self._open[delivery.seq]
        receiver = delivery.receiver
        receiver.deliveries -= 1
        if not receiver.deliveries:
            if receiver.pause is not None:
                receiver.pause.cancel()
            self._receivers = {k: v for k, v in self._receivers.items() if v is not receiver}
