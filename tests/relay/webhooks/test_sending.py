"""Telling webhooks: a real journal, real receivers on real sockets, a schedule of milliseconds."""

import asyncio
import base64
import contextlib
import json
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from gateway import config
from gateway.call import Call, Options, Status
from gateway.errors import BadRequest
from gateway.journal.reader import Reader, open_reader
from gateway.journal.writer import Journal
from gateway.relay.webhooks import post
from gateway.relay.webhooks.post import NameResolver, open_poster
from gateway.relay.webhooks.schedule import DELAYS_S
from gateway.relay.webhooks.sending import AT_ONE_RECEIVER, Webhooks
from tests import certificates
from tests.running_journal import begin_attempt, committed, end_attempt, end_call, make_call
from tests.running_journal import open_running as open_running_journal
from tests.scripted_upstream import ScriptedUpstream
from tests.steps import Answer, Gate, hang, held, reset

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
SETTINGS = config.Webhooks(secret=SecretStr(SECRET), allowed_hosts=("127.0.0.1",))
STARTED = datetime.now(UTC).timestamp()


@pytest.fixture(autouse=True)
def begin_now():
    """Receivers compare with the real time, which has gone on since this file was collected."""
    global STARTED  # noqa: PLW0603
    STARTED = datetime.now(UTC).timestamp()


QUICK = (0.0, 0.002, 0.004, 0.008)


@dataclass(eq=False)
class Bench:
    """Webhooks over a journal of their own."""

    path: Path
    journal: Journal
    reader: Reader
    webhooks: Webhooks
    settings: config.Webhooks = SETTINGS

    async def record(
        self, seq: int, url: str | None, status: Status = Status.SUCCEEDED, **changes: Any
    ) -> Call:
        """Record a call that ended, without telling anybody."""
        call = make_call(seq, options=Options(webhook=url), **changes)
        await self.journal.accept(call)
        attempt = begin_attempt(call)
        end_attempt(call)
        end_call(call, status)
        call.finished_at = STARTED
        await self.journal.update(call, ended=[attempt])
        return call

    async def finish(self, seq: int, url: str | None, **changes: Any) -> Call:
        """Record a call that ended, and tell."""
        call = await self.record(seq, url, **changes)
        self.webhooks.tell(call)
        return call

    async def delivery(self, call: Call) -> Any:
        """The delivery of *call* as it is recorded."""
        record = await self.reader.call(call.id)
        assert record is not None
        return record.delivery

    async def wait(self, call: Call, claim: Callable[[Any], bool]) -> Any:
        """Return the delivery of *call* once *claim* holds of it."""
        async with asyncio.timeout(10):
            while True:
                if claim(delivery := await self.delivery(call)):
                    return delivery
                await asyncio.sleep(0.001)

    async def wait_over(self, call: Call) -> Any:
        """Return the delivery of *call* once it is over."""
        return await self.wait(call, lambda delivery: delivery.status != "pending")

    async def errors(self, call: Call) -> list[str | None]:
        """What each try of *call* is recorded to have met."""
        return [each.error for each in await self.reader.delivery_tries(call.seq)]


@pytest.fixture
def bench(tmp_path):
    """Return `async with bench(delays_s=…, …) as it`; opened again in one test, it is a restart."""

    @asynccontextmanager
    async def open_bench(
        *,
        within_s: float = 5.0,
        run: bool = True,
        resolver: AbstractResolver | None = None,
        why_not: Callable[[str], str | None] | None = None,
        own_port: int = 0,
        trust: ssl.SSLContext | bool = True,
        **options: Any,
    ) -> AsyncIterator[Bench]:
        path = tmp_path / "gateway.db"
        now = options.pop("now", lambda: STARTED)
        guard = {} if why_not is None else {"why_not": why_not}
        async with (
            open_running_journal(path, now=now) as journal,
            open_reader(path) as reader,
            open_poster(
                own_port=lambda: own_port,
                within_s=within_s,
                resolver=resolver,
                trust=trust,
                **guard,
            ) as poster,
            asyncio.TaskGroup() as tasks,
        ):
            webhooks = Webhooks(
                journal=journal,
                reader=reader,
                poster=poster,
                settings=lambda: it.settings,
                now=now,
                rng=random.Random(1),
                **{"delays_s": QUICK, "look_again_s": 0.002, **options},
            )
            it = Bench(path, journal, reader, webhooks)
            running = tasks.create_task(webhooks.run()) if run else None
            yield it
            if running is not None:
                running.cancel()

    return open_bench


@pytest.fixture
async def receiver():
    """Yield a server that is told."""
    async with ScriptedUpstream() as receiver:
        yield receiver


class Names(AbstractResolver):
    """Name → addresses, a list for each time it is asked."""

    def __init__(self, port: int, *answers: list[str]) -> None:
        self._port = port
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=self._port, family=socket.AF_INET, proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]  # fmt: skip

    async def close(self) -> None:
        pass


def hook(receiver: ScriptedUpstream, path: str = "/hook") -> str:
    return f"{receiver.url}{path}"


# the message


@pytest.mark.parametrize(
    "status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED]
)
async def test_a_final_call_is_told_signed_by_standard_webhooks(bench, receiver, status):
    async with bench() as it:
        call = await it.finish(1, hook(receiver, "/a?b=%2Fc"), status=status)
        delivery = await it.wait_over(call)

    told = receiver.requests[0]
    sent = Webhook(SECRET).verify(told.body, dict(told.headers))
    assert (told.method, told.target) == ("POST", "/a?b=%2Fc")
    assert told.header("content-type") == "application/json"
    assert told.header("webhook-id") == "msg_" + call.id.removeprefix("call_")
    assert sent.keys() == {"type", "timestamp", "data"}
    assert sent["type"] == f"call.{status}"
    assert sent["timestamp"] == sent["data"]["finished_at"]
    assert (sent["data"]["id"], sent["data"]["status"]) == (call.id, status)
    assert "attempts" not in sent["data"]
    assert json.dumps(sent, separators=(",", ":"), ensure_ascii=False).encode() == told.body
    assert (delivery.status, delivery.attempts, delivery.last_status) == ("delivered", 1, 200)
    assert delivery.next_ms is None


async def test_a_call_without_webhook_tells_nobody(bench, receiver):
    async with bench() as it:
        call = await it.finish(1, None)

        assert await it.delivery(call) is None
        assert await it.reader.pending_deliveries() == []


async def test_a_secret_in_the_url_reaches_the_receiver_alone(bench, receiver):
    async with bench() as it:
        await it.finish(1, hook(receiver, "/a?token=mine"))
        await receiver.wait_hits(1)

    assert receiver.requests[0].target == "/a?token=mine"
    assert b"mine" not in receiver.requests[0].body


PREVIOUS, OWN, FOREIGN = (
    "whsec_" + base64.b64encode(text * 3).decode()
    for text in (b"previous", b"receiver", b"nobodys!")
)


@pytest.mark.parametrize(
    ("secrets", "convincing", "first"),
    [
        ({"secret": SECRET}, {SECRET}, SECRET),
        ({"secret": SECRET, "previous_secret": PREVIOUS}, {SECRET, PREVIOUS}, SECRET),
        ({"secret": SECRET, "secrets": {"127.0.0.1": OWN}}, {OWN}, OWN),
        ({"secret": SECRET, "secrets": {"127.0.0.2": OWN}}, {SECRET}, SECRET),
        ({"secrets": {"127.0.0.1": OWN}}, {OWN}, OWN),
        ({"secrets": {"127.0.0.1": OWN}, "previous_secret": PREVIOUS}, {OWN, PREVIOUS}, OWN),
    ],
)
async def test_a_receivers_secret_convinces_it_and_the_previous_one_while_it_is_set(
    bench, receiver, secrets, convincing, first
):
    async with bench() as it:
        it.settings = config.Webhooks.model_validate({"allowed_hosts": ["127.0.0.1"], **secrets})
        await it.wait_over(await it.finish(1, hook(receiver)))

    told = receiver.requests[0]
    fields = dict(told.headers)
    name = next(field for field in fields if field.lower() == "webhook-signature")
    signatures = fields[name].split(" ")
    assert {
        each for each in (SECRET, PREVIOUS, OWN, FOREIGN) if verifies(each, told.body, fields)
    } == (convincing)
    assert len(signatures) == len(convincing)
    assert verifies(first, told.body, {**fields, name: signatures[0]})  # the new one goes first


def verifies(secret: str, body: bytes, fields: dict[str, str]) -> bool:
    """Whether a receiver that knows *secret* believes the message."""
    try:
        Webhook(secret).verify(body, fields)
    except WebhookVerificationError:
        return False
    return True


async def test_a_host_is_told_by_a_secret_of_its_own_however_its_url_is_written(bench, receiver):
    async with bench(resolver=Names(receiver.port, ["127.0.0.1"])) as it:
        it.settings = config.Webhooks.model_validate(
            {"allowed_hosts": ["hooks.example"], "secrets": {"hooks.example": OWN}}
        )
        written = f"http://Hooks.Example.:{receiver.port}/hook"
        delivery = await it.wait_over(await it.finish(1, written))

    assert delivery.status == "delivered"
    assert verifies(OWN, receiver.requests[0].body, dict(receiver.requests[0].headers))


async def test_every_try_carries_the_same_id_and_a_signature_of_its_own(bench, receiver):
    clock = iter(range(1000))
    receiver.script = [500, 500]
    async with bench(now=lambda: STARTED + 1 + next(clock) % 200) as it:
        call = await it.finish(1, hook(receiver))
        await it.wait_over(call)

    assert receiver.hits == 3
    assert len({told.header("webhook-id") for told in receiver.requests}) == 1
    assert len({told.header("webhook-timestamp") for told in receiver.requests}) == 3
    assert len({told.header("webhook-signature") for told in receiver.requests}) == 3
    for told in receiver.requests:
        Webhook(SECRET).verify(told.body, dict(told.headers))


# failures


async def test_a_receiver_that_recovers_is_told(bench, receiver):
    receiver.script = [500, reset(), 200]
    async with bench() as it:
        call = await it.finish(1, hook(receiver))
        delivery = await it.wait_over(call)
        tries = await it.reader.delivery_tries(call.seq)

    assert (delivery.status, delivery.attempts, delivery.last_status) == ("delivered", 3, 200)
    assert [(each.number, each.status) for each in tries] == [(1, 500), (2, None), (3, 200)]
    assert [each.error is None for each in tries] == [False, False, True]


async def test_a_receiver_that_never_does_is_given_up_after_the_schedule(bench, receiver):
    receiver.answer = 500
    async with bench() as it:
        call = await it.finish(1, hook(receiver))
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.attempts) == ("failed", len(QUICK))
    assert delivery.next_ms is None
    assert receiver.hits == len(QUICK)


async def test_nobody_listens(bench, receiver):
    receiver.stop_listening()
    async with bench() as it:
        call = await it.finish(1, hook(receiver))
        await it.wait_over(call)

        assert await it.errors(call) == ["it cannot be reached"] * len(QUICK)


@pytest.mark.parametrize(
    "step",
    [
        hang(),
        Answer(200, chunks=[b"a", b"b"], gate=Gate(), headers=[("X", "y" * 9000)]),
    ],
    ids=["silent", "a head that is too long"],
)
async def test_no_answer_in_time_is_a_failure(bench, receiver, step):
    receiver.answer = step
    async with bench(within_s=0.03, delays_s=(0.0,)) as it:
        call = await it.finish(1, hook(receiver))
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.last_status) == ("failed", None)


async def test_a_2xx_is_one_however_its_body_ends(bench, receiver):
    receiver.answer = Answer(202, chunks=[b"a", b"b"], gate=Gate())
    async with bench(within_s=0.03) as it:
        call = await it.finish(1, hook(receiver))
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.last_status) == ("delivered", 202)


async def test_no_more_than_64_kib_of_an_answer_are_read(bench, receiver):
    gate = Gate()
    receiver.answer = Answer(200, chunks=[b"x" * 65_536, b"y"], gate=gate)
    gate.release(1)
    async with bench() as it:
        await it.finish(1, hook(receiver))
        await receiver.wait_hits(1)
        await receiver.wait_closed(receiver.requests[0])  # without the end, which never comes


async def test_a_redirect_is_a_failure_and_not_followed(bench, receiver):
    async with ScriptedUpstream() as elsewhere:
        receiver.answer = Answer(307, [("Location", elsewhere.url)])
        async with bench(delays_s=(0.0,)) as it:
            call = await it.finish(1, hook(receiver))
            delivery = await it.wait_over(call)

        assert (delivery.status, delivery.last_status) == ("failed", 307)
        assert elsewhere.connections == []


async def test_gone_ends_it(bench, receiver):
    receiver.answer = 410
    async with bench() as it:
        call = await it.finish(1, hook(receiver))
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.attempts, delivery.last_status) == ("failed", 1, 410)


async def test_a_retry_after_is_recorded_as_the_next_try(bench, receiver):
    receiver.answer = Answer(503, [("Retry-After", "100")])
    async with bench() as it:
        call = await it.finish(1, hook(receiver))
        delivery = await it.wait(call, lambda delivery: delivery.attempts == 1)

    assert delivery.status == "pending"
    assert 100 <= delivery.next_ms / 1000 - STARTED <= 110.1


async def test_a_receiver_that_asks_for_less_gets_nothing_else_meanwhile(bench, receiver):
    receiver.answer = 429
    async with ScriptedUpstream() as other, bench() as it:
        first = await it.finish(1, hook(receiver))
        await it.wait(first, lambda delivery: delivery.attempts == 1)
        await it.finish(2, hook(receiver))
        third = await it.finish(3, hook(other))
        await it.wait_over(third)

        assert receiver.hits == 1


# addresses


async def test_a_name_that_turns_private_is_not_followed_there(bench, receiver):
    """The address of each connection is looked at, not that of an earlier one."""
    names = Names(receiver.port, ["127.0.0.1"], ["127.0.0.2"])

    def why_not(address):  # as if 127.0.0.1 were public
        return None if address == "127.0.0.1" else "private"

    async with bench(resolver=names, why_not=why_not, delays_s=(0.0, 0.001), within_s=0.1) as it:
        call = await it.finish(1, "https://hooks.example.com/")
        await it.wait_over(call)
        errors = await it.errors(call)

    assert len(receiver.connections) == 1  # where nobody answers TLS
    assert errors == ["no answer within 0.1 s", "its address is private"]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["10.0.0.1", "127.0.0.1", "169.254.169.254"]])
async def test_no_connection_is_made_to_what_is_not_public(bench, receiver, addresses):
    async with bench(resolver=Names(receiver.port, addresses), delays_s=(0.0,)) as it:
        call = await it.finish(1, "https://hooks.example.com/")
        delivery = await it.wait_over(call)
        (error,) = await it.errors(call)

    assert (delivery.status, delivery.last_status) == ("failed", None)
    assert receiver.connections == []
    assert error == "its address is loopback" or len(addresses) > 1


async def test_no_webhook_comes_back_to_the_gateway_itself(bench, receiver):
    names = Names(receiver.port, ["127.0.0.1"])
    guard = {"why_not": lambda _: None, "own_port": receiver.port}
    async with bench(resolver=names, delays_s=(0.0,), **guard) as it:
        call = await it.finish(1, "https://hooks.example.com/")
        await it.wait_over(call)

        assert await it.errors(call) == ["it is this gateway"]
        assert receiver.connections == []


@pytest.mark.parametrize(
    "settings",
    [{"allowed_hosts": ()}, {"secret": None}],
    ids=lambda changed: next(iter(changed)),
)
async def test_what_the_config_no_longer_allows_is_not_sent(bench, receiver, settings):
    async with bench(delays_s=(0.0,)) as it:
        it.settings = SETTINGS.model_copy(update=settings)
        call = await it.finish(1, hook(receiver))
        delivery = await it.wait_over(call)

        assert delivery.status == "failed"
        assert receiver.connections == []
        record = await it.reader.call(call.id)
        with pytest.raises(BadRequest):
            await it.webhooks.send_again(record)


def test_nothing_but_calls_and_webhooks_leaves_the_gateway():
    rooms = Path(__file__).parents[3] / "gateway"
    opening = {
        str(path.relative_to(rooms))
        for path in rooms.rglob("*.py")
        if "ClientSession(" in path.read_text() and path.parent.name != "cli"
    }

    assert opening == {"relay/upstream.py", "relay/webhooks/post.py"}


# TLS


async def test_a_receiver_behind_tls_is_told(bench):
    authority = trustme.CA()
    async with (
        ScriptedUpstream(tls=certificates.serving(authority, "127.0.0.1")) as receiver,
        bench(trust=certificates.trusting(authority)) as it,
    ):
        delivery = await it.wait_over(await it.finish(1, hook(receiver)))

    assert (delivery.status, delivery.last_status) == ("delivered", 200)
    Webhook(SECRET).verify(receiver.request.body, dict(receiver.request.headers))


async def test_a_public_receiver_is_told_under_its_name(bench):
    authority = trustme.CA()
    async with ScriptedUpstream(
        tls=certificates.serving(authority, "hooks.example.com")
    ) as receiver:
        names, trust = Names(receiver.port, ["127.0.0.1"]), certificates.trusting(authority)
        async with bench(resolver=names, why_not=lambda _: None, trust=trust) as it:
            delivery = await it.wait_over(await it.finish(1, "https://hooks.example.com/hook"))

    assert delivery.status == "delivered"
    assert receiver.request.header("host") == "hooks.example.com"


@pytest.mark.parametrize(
    ("names", "until", "is_known", "why"),
    [
        (["127.0.0.1"], None, False, "unable to get local issuer certificate"),
        (
            ["127.0.0.2", "hooks.example.com"], None, True,
            "IP address mismatch, certificate is not valid for '127.0.0.1'.",
        ),
        (["127.0.0.1"], datetime.now(UTC) - timedelta(days=1), True, "certificate has expired"),
    ],
    ids=["of nobody known", "of somebody else", "of yesterday"],
)  # fmt: skip
async def test_a_certificate_that_is_not_trusted_is_a_failed_try(
    bench, names, until, is_known, why
):
    authority = trustme.CA()
    trust = certificates.trusting(authority if is_known else trustme.CA())
    tls = certificates.serving(authority, *names, until=until)
    async with (
        ScriptedUpstream(tls=tls) as receiver,
        bench(trust=trust, delays_s=(0.0, 3600.0)) as it,
    ):
        call = await it.finish(1, hook(receiver))
        delivery = await it.wait(call, lambda delivery: delivery.attempts == 1)

        assert (delivery.status, delivery.last_status) == ("pending", None)
        assert await it.errors(call) == [f"its certificate is not trusted: {why}"]
        assert receiver.hits == 0


async def test_a_receiver_that_speaks_no_tls_is_a_failed_try(bench):
    def answer_in_clear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer_in_clear, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, bench(delays_s=(0.0,)) as it:
        call = await it.finish(1, f"https://{host}:{port}/")
        await it.wait_over(call)
        (error,) = await it.errors(call)

    assert error.startswith("it speaks no TLS that we understand")


# who delays whom


async def test_a_receiver_that_hangs_delays_no_other(bench, receiver):
    receiver.answer = hang()
    async with ScriptedUpstream() as other, bench() as it:
        for seq in range(1, 20):
            await it.finish(seq, hook(receiver))
        await receiver.wait_hits(AT_ONE_RECEIVER)
        delivery = await it.wait_over(await it.finish(20, hook(other)))

        assert delivery.status == "delivered"
        assert receiver.hits == AT_ONE_RECEIVER


async def test_a_receiver_that_did_not_answer_gets_one_at_a_time(bench, receiver):
    receiver.answer = hang()
    async with bench(within_s=0.05, delays_s=(0.0,)) as it:
        calls = [await it.record(seq, hook(receiver)) for seq in range(1, AT_ONE_RECEIVER + 3)]
        for call in calls:
            it.webhooks.tell(call)
        await it.wait_over(calls[AT_ONE_RECEIVER - 1])
        receiver.peak = 0
        await it.wait_over(calls[-1])

    assert receiver.peak <= 1


async def test_all_together_are_bounded_and_the_others_wait_their_turn(bench, receiver):
    gate = Gate()
    receiver.answer = held(gate)
    async with ScriptedUpstream(answer=held(gate)) as other, ScriptedUpstream() as third:
        async with bench(at_once=2) as it:
            await it.finish(1, hook(receiver))
            await it.finish(2, hook(other))
            await receiver.wait_hits(1)
            await other.wait_hits(1)
            call = await it.finish(3, hook(third))
            assert third.connections == []
            gate.release()
            delivery = await it.wait_over(call)

        assert delivery.status == "delivered"


async def test_receivers_that_never_answer_leave_room_for_those_that_do(bench, receiver):
    """However many there are, each under a name of its own."""
    async with contextlib.AsyncExitStack() as stack:
        silent = [
            await stack.enter_async_context(ScriptedUpstream(answer=hang())) for _ in range(4)
        ]
        it = await stack.enter_async_context(bench(at_once=3, to_strangers=2))
        await it.wait_over(await it.finish(1, hook(receiver)))
        for seq, each in enumerate(silent, 2):
            await it.finish(seq, hook(each))
        await silent[1].wait_hits(1)
        delivery = await it.wait_over(await it.finish(9, hook(receiver)))

        assert delivery.status == "delivered"
        assert [each.hits for each in silent] == [1, 1, 0, 0]


async def test_names_that_nobody_answers_for_hold_up_no_known_ones(monkeypatch):
    go_on, looking = threading.Event(), threading.Semaphore(0)

    def lookup(host, *_):
        if host.startswith("hole"):
            looking.release()
            go_on.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]

    monkeypatch.setattr(post, "LOOKUPS", 2)
    names = NameResolver(lookup)
    await names.resolve("known.example", 443)
    async with asyncio.TaskGroup() as tasks:
        for n in range(4):
            tasks.create_task(names.resolve(f"hole{n}.example", 443))
        for _ in range(2):
            await asyncio.to_thread(looking.acquire)
        stranger = tasks.create_task(names.resolve("new.example", 443))
        found = [await names.resolve("known.example", 443) for _ in range(2)]
        waits = not stranger.done()
        go_on.set()
    await names.close()

    assert [each[0]["host"] for each in found] == ["192.0.2.1"] * 2
    assert waits


# restarts, outages, deletions


async def test_a_start_takes_up_what_was_pending(bench, receiver):
    receiver.script = [500]
    async with bench(delays_s=(0.0, 3600.0)) as it:
        call = await it.finish(1, hook(receiver))
        before = await it.wait(call, lambda delivery: delivery.attempts == 1)
    async with bench(now=lambda: before.next_ms / 1000, delays_s=(0.0, 3600.0, 1.0)) as it:
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.attempts) == ("delivered", 2)
    ids = [told.header("webhook-id") for told in receiver.requests]
    assert ids[0] == ids[1]


async def test_a_call_that_ended_an_instant_before_a_crash_is_told_by_the_next_start(
    bench, receiver
):
    async with bench(run=False) as it:
        call = await it.record(1, hook(receiver))
    async with bench() as it:
        delivery = await it.wait_over(call)

    assert (delivery.status, receiver.hits) == ("delivered", 1)


async def test_a_try_that_a_stop_cut_is_made_again(bench, receiver):
    receiver.script = [hang()]
    async with bench() as it:
        call = await it.finish(1, hook(receiver))
        await receiver.wait_hits(1)
    async with bench() as it:
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.attempts, receiver.hits) == ("delivered", 1, 2)


async def test_sending_that_ended_by_a_bug_is_taken_up_where_it_was(bench, receiver):
    """What was in flight or waited goes again, from the journal; nothing counts twice."""
    receiver.script = [500, hang()]
    async with bench(run=False, delays_s=(0.0, 0.02)) as it, asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(it.webhooks.run())
        waits = await it.finish(1, hook(receiver))
        await it.wait(waits, lambda delivery: delivery.attempts == 1)
        in_flight = await it.finish(2, hook(receiver))
        await receiver.wait_hits(2)
        ended.cancel()
        await asyncio.wait([ended])
        meanwhile = await it.finish(3, hook(receiver))
        again = tasks.create_task(it.webhooks.run())
        told = [await it.wait_over(call) for call in (waits, in_flight, meanwhile)]
        again.cancel()

    assert [each.status for each in told] == ["delivered"] * 3
    assert receiver.hits == 5


async def test_a_call_is_told_once_its_end_is_recorded(bench, receiver):
    async with bench() as it:
        call = make_call(1, options=Options(webhook=hook(receiver)))
        await it.journal.accept(call)
        attempt = begin_attempt(call)
        end_attempt(call)
        end_call(call)
        it.webhooks.tell(call)
        await asyncio.to_thread(committed, it.path, "SELECT 1")
        assert receiver.hits == 0
        await it.journal.update(call, ended=[attempt])
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.attempts) == ("delivered", 1)


async def test_a_deleted_call_takes_its_delivery_along(bench, receiver):
    receiver.script = [500]
    async with bench(delays_s=(0.0, 0.05)) as it:
        call = await it.finish(1, hook(receiver))
        await it.wait(call, lambda delivery: delivery.attempts == 1)
        await it.journal.delete(call.seq)
        other = await it.finish(2, hook(receiver))
        await it.wait_over(other)

        assert await asyncio.to_thread(committed, it.path, "SELECT seq FROM deliveries") == [(2,)]
        tries = await asyncio.to_thread(committed, it.path, "SELECT seq FROM delivery_tries")
        assert tries == [(2,)]


# again


@pytest.mark.parametrize("first", [200, 410])
async def test_a_delivery_that_is_over_is_sent_again_as_the_same_message(bench, receiver, first):
    receiver.script = [first, 500]
    async with bench() as it:
        call = await it.finish(1, hook(receiver))
        await it.wait_over(call)
        await it.webhooks.send_again(await it.reader.call(call.id))
        delivery = await it.wait(call, lambda delivery: delivery.attempts == 3)
        tries = await it.reader.delivery_tries(call.seq)

    assert delivery.status == "delivered"
    assert [each.status for each in tries] == [first, 500, 200]
    assert len({told.header("webhook-id") for told in receiver.requests}) == 1


async def test_one_that_waits_for_its_next_try_is_sent_now(bench, receiver):
    receiver.script = [500]
    async with bench(delays_s=DELAYS_S[:1] + DELAYS_S[-1:]) as it:
        call = await it.finish(1, hook(receiver))
        await it.wait(call, lambda delivery: delivery.attempts == 1)
        await it.webhooks.send_again(await it.reader.call(call.id))
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.attempts) == ("delivered", 2)


async def test_one_that_is_on_its_way_begins_its_schedule_anew(bench, receiver):
    gate = Gate()
    receiver.script = [held(gate, 500)]
    async with bench(delays_s=(0.0,)) as it:
        call = await it.finish(1, hook(receiver))
        await receiver.wait_hits(1)
        await it.webhooks.send_again(await it.reader.call(call.id))
        gate.release()
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.attempts) == ("failed", 1)


async def test_however_often_it_is_asked_for_while_on_its_way_it_is_sent_once(bench, receiver):
    gate = Gate()
    receiver.script = [200, held(gate)]
    async with bench() as it:
        call = await it.finish(1, hook(receiver))
        await it.wait_over(call)
        record = await it.reader.call(call.id)
        await asyncio.gather(*(it.webhooks.send_again(record) for _ in range(5)))
        await receiver.wait_hits(2)
        for _ in range(5):
            await it.webhooks.send_again(record)
        gate.open()
        delivery = await it.wait_over(call)

    assert (delivery.status, delivery.attempts) == ("delivered", 2)
    assert receiver.hits == 2
