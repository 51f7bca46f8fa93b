"""The budget for bodies that arrive: never passed, in order of arrival, and always given back."""

import asyncio
import hashlib
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import QueueFull
from gateway.web import arriving
from gateway.web import request as reading
from gateway.web.arriving import Arrival, Arriving
from tests import http1
from tests.steps import Answer

BIG = 300_000
LIMITS = {"max_arriving_bytes": 2 * BIG}


async def echo_hash(request):
    digest = hashlib.sha256(request.body).hexdigest()
    await Answer(body=digest.encode())(request)


def head(length: int | None, *more: str) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = ["POST /v1/x HTTP/1.1", "Host: localhost", framing, *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def held(gw, expected):
    """Wait until that much is reserved."""
    async with asyncio.timeout(10):
        while (await gw.metrics())["gateway_arriving_body_bytes"] != expected:
            pass


# -- through the gateway


async def test_big_bodies_at_once_all_arrive_within_the_budget(gateway, upstream):
    upstream.answer = echo_hash
    bodies = [bytes([n]) * BIG for n in range(12)]
    chunked = [("Transfer-Encoding", "chunked")]
    seen = []

    async with gateway(limits=LIMITS, server={"max_body_bytes": BIG}) as gw:

        async def watch() -> None:
            while True:
                seen.append((await gw.metrics())["gateway_arriving_body_bytes"])

        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            answers = await gw.many([
                *(("POST", "/v1/x", {"body": body}) for body in bodies[:8]),
                *(
                    ("POST", "/v1/x", {"headers": chunked, "body": http1.chunk(body) + b"0\r\n\r\n"})
                    for body in bodies[8:]
                ),
            ])  # fmt: skip
            watching.cancel()
        await held(gw, 0)

    assert [each.status for each in answers] == [200] * 12
    digests = [hashlib.sha256(body).hexdigest().encode() for body in bodies]
    assert [each.body for each in answers] == digests
    assert max(seen) <= 2 * BIG


async def test_a_body_larger_than_the_whole_budget_arrives_by_itself(gateway, upstream):
    body = b"x" * (4 * BIG)
    async with gateway(limits=LIMITS) as gw:
        answer = await gw.request("POST", "/v1/x", body=body)
        await held(gw, 0)

    assert (answer.status, upstream.request.body) == (200, body)


async def test_who_leaves_in_line_or_half_way_frees_its_place(gateway, upstream):
    """The third does not fit beside the first two; the fourth comes after it."""
    async with gateway(limits={"max_arriving_bytes": 4 * BIG}) as gw:  # one client has half
        half_way = [await gw.connect("POST") for _ in range(2)]
        for each in half_way:
            await each.write(head(BIG) + b"x" * 1000)
        await held(gw, 2 * BIG)
        in_line = [await gw.connect("POST") for _ in range(2)]
        await in_line[0].write(head(2 * BIG, "Expect: 100-continue"))
        await in_line[1].write(head(BIG) + b"x" * BIG)
        in_line[0].hang_up()
        half_way[0].hang_up()
        answer = await in_line[1].read()
        half_way[1].hang_up()
        await held(gw, 0)

    assert answer.status == 200
    assert in_line[0].interim == []
    assert upstream.hits == 1


async def test_who_waits_in_line_is_not_told_to_go_on_and_is_refused_in_time(
    gateway, upstream, monkeypatch
):
    monkeypatch.setattr(arriving, "WAIT_S", 0.05)
    async with gateway(limits=LIMITS) as gw:
        first = await gw.connect("POST")
        await first.write(head(2 * BIG))
        await held(gw, 2 * BIG)
        second = await gw.connect("POST")
        await second.write(head(BIG, "Expect: 100-continue"))
        refused = await second.read()
        small = await gw.chat()
        await first.write(b"x" * 2 * BIG)
        answer = await first.read()

    assert (refused.status, refused.code, refused.interim) == (503, "queue_full", [])
    assert 1 <= int(refused.header("retry-after") or 0) <= 60
    assert (small.status, answer.status) == (200, 200)  # small ones need no place


async def test_an_accepted_or_refused_body_holds_nothing_while_its_call_goes_on(gateway, upstream):
    body = b'{"model":"m","x":"' + b"y" * BIG + b'"}'
    twice = b'{"model":"m","model":"n","x":"' + b"y" * BIG + b'"}'
    once = [("Idempotency-Key", "k")]
    async with gateway(limits=LIMITS, upstreams={"openai": {"max_in_flight": 1}}) as gw:
        refused = await gw.request("POST", "/v1/x", body=twice)
        await held(gw, 0)
        gate = asyncio.Event()

        async def wait(request):
            await gate.wait()
            await Answer()(request)

        upstream.answer = wait
        sent = [await gw.send("POST", "/v1/x", body=body, headers=once) for _ in range(5)]
        sent += [await gw.send("POST", "/v1/x", body=body) for _ in range(5)]
        await gw.wait_calls(6)
        await held(gw, 0)
        calls = gw.service.relay.calls.values()
        kept = [each._asked.request.body for live in calls for each in live.clients]
        gate.set()
        answers = [await each.read() for each in sent]

    assert refused.status == 400
    assert [each.status for each in answers] == [200] * 10
    assert upstream.hits == 6
    assert kept == [None] * 10


async def test_who_holds_a_place_has_to_be_quicker_than_others(gateway, monkeypatch):
    monkeypatch.setattr(reading, "BODY_S", 0.05)
    monkeypatch.setattr(reading, "LONGEST_BODY_S", 0.1)
    async with gateway(limits=LIMITS) as gw:
        slow = await gw.connect("POST")
        await slow.write(head(2 * BIG) + b"x" * 1000)
        await slow.read()

    assert (slow.status, slow.code) == (400, "bad_request")
    assert f"at least {20 * BIG} bytes a second" in slow.body.decode()


# -- by itself


async def test_a_lower_budget_lets_in_whoever_waited_under_a_higher_one():
    budget = 100
    line = Arriving(lambda: budget)
    first, second = line.body("a"), line.body("b")
    await first.reserve(60)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(second.reserve(90))
        await asyncio.sleep(0)
        budget = 50
        first.keep(0)

    assert (second.held_bytes, line.held_bytes) == (50, 50)


async def test_what_a_thread_still_reads_is_held_after_its_client_left():
    line = Arriving(lambda: 100)
    reading: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with line.body() as body:
        await body.reserve(60)
        body.until(reading)
    still = line.held_bytes
    reading.set_exception(ValueError("nobody waits for this"))
    await asyncio.sleep(0)

    assert (still, line.held_bytes) == (60, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["come", "end", "cancel"]), st.integers(1, 150)), max_size=60
    )
)
def test_the_budget_holds_and_nobody_who_fits_waits(steps):
    """Whatever comes, ends or is cancelled, in whatever order."""

    async def run() -> None:
        line, clients = Arriving(lambda: 100), count()
        open_ones: list[tuple[Arrival, int, asyncio.Task[None]]] = []
        async with asyncio.TaskGroup() as tasks:
            for what, number in steps:
                if what == "come":
                    body = line.body(f"client {next(clients)}")
                    open_ones.append((body, number, tasks.create_task(body.reserve(number))))
                elif open_ones:
                    body, _, task = open_ones.pop(number % len(open_ones))
                    if what == "cancel" or not body.held_bytes:
                        task.cancel()
                        await asyncio.wait([task])
                    body.keep(0)
                for _ in range(3):
                    await asyncio.sleep(0)
                held = [each.held_bytes for each, _, _ in open_ones]
                waiting = [wanted for each, wanted, _ in open_ones if not each.held_bytes]
                assert line.held_bytes == sum(held) <= 100
                assert not waiting or line.held_bytes + min(100, waiting[0]) > 100
                served = [bool(each) for each in held]
                assert served == sorted(served, reverse=True)  # in order of arrival
            for _, _, task in open_ones:
                task.cancel()

    asyncio.run(run())


async def test_one_clients_bodies_never_hold_more_than_half_and_others_pass_it():
    line = Arriving(lambda: 100)
    many = [line.body("greedy") for _ in range(3)]
    await many[0].reserve(30)
    await many[1].reserve(20)
    other = line.body("other")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(many[2].reserve(10))
        await asyncio.sleep(0)
        await other.reserve(50)
        assert not waiting.done()
        many[1].keep(0)

    assert [each.held_bytes for each in (*many, other)] == [30, 0, 10, 50]


async def test_a_clients_first_body_may_be_larger_than_its_share():
    line = Arriving(lambda: 100)
    body = line.body("a")
    await body.reserve(90)

    assert body.held_bytes == 90


async def test_waiting_too_long_is_a_refusal_and_leaves_the_line(monkeypatch):
    monkeypatch.setattr(arriving, "WAIT_S", 0.01)
    line = Arriving(lambda: 100)
    first, second, third = map(line.body, "abc")
    await first.reserve(60)
    with pytest.raises(QueueFull) as refused:
        await second.reserve(60)
    await third.reserve(40)

    assert refused.value.retry_after_s == arriving.RETRY_AFTER_S
    assert line.held_bytes == 100
