"""No request costs more than its share, whatever it holds: S33-S37, P64."""

import asyncio
import gzip
import hashlib
import json
import zlib
from pathlib import Path

import pytest

from gateway.web import app, request
from gateway.web.security import auth, sessions
from tests import client, http1
from tests.security.keys import REQUIRED, by, make_key, token
from tests.steps import Answer, Gate, held

BOMB = gzip.compress(b'{"model":"m","x":"' + b" " * 100_000_000 + b'"}', 9)  # 100 kB


def resident_mb(pid: int) -> float:
    """Return the most that a process ever had in RAM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


# -- compressed bodies


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "unheard-of"])
async def test_a_compressed_body_travels_as_it_came(gateway, upstream, coding):
    plain = b'{"model":"m","stream":false}'
    body = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}.get(coding, b"\x0b\x0d?")
    async with gateway() as gw:
        answer = await gw.request(
            "POST", "/v1/x", headers=[("Content-Encoding", coding)], body=body
        )
        kept = await gw.request("GET", f"/-/calls/{answer.call_id}/request")

    assert upstream.request.body == kept.body == body
    assert upstream.request.header("content-encoding") == coding


@pytest.mark.slow
async def test_a_bomb_is_never_inflated_beyond_the_bound(gateway_process, upstream):
    async with gateway_process() as gw:
        await gw.request("POST", "/v1/x", json={"model": "m"})
        before = resident_mb(gw.process.pid)
        coded = [("Content-Encoding", "gzip"), ("Content-Type", "application/json")]
        upstream.answer = Answer(headers=coded, body=BOMB)
        for _ in range(3):
            answer = await gw.request("POST", "/v1/x", headers=coded, body=BOMB)
            await gw.calls(q="something")
            left = await gw.send("POST", "/v1/x", headers=coded, body=BOMB)
            left.hang_up()
        after = resident_mb(gw.process.pid)

    assert answer.body == upstream.requests[-1].body == BOMB
    assert after - before < 150  # 100 MB of plain text are in each of twelve bodies


# -- JSON


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"m","x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"model":"m","x":' + b"9" * 100_000 + b"}",
        b'{"model":"m","x":NaN,"y":Infinity}',
        b'{"model":"m","x":"\\ud800"}',
        b'{"model":' + b"[" * 100_000,
    ],
    ids=["deep lists", "deep objects", "digits", "no numbers", "half a pair", "no end"],
)
async def test_json_that_is_hard_to_read_is_relayed_and_harms_nobody(gateway, upstream, body):
    async with gateway(auth=REQUIRED) as gw:
        some = (await make_key(gw, models=["other"]))["key"]
        every = (await make_key(gw))["key"]
        refused = await gw.request("POST", "/v1/x", body=body, headers=by(some))
        answer = await gw.request("POST", "/v1/x", body=body, headers=by(every))
        own = await gw.request("POST", "/-/keys", body=body, headers=by(token(gw)))
        found = await gw.request("GET", "/-/calls?q=something", headers=by(every))

    assert (refused.status, refused.code) == (403, "forbidden")
    assert (answer.status, upstream.request.body) == (200, body)
    assert (own.status, own.code) == (400, "bad_request")
    assert found.status == 200


@pytest.mark.parametrize(
    "start",
    [b'{"x":[', b'{"model":[', b'{"model":"m","y":"\\u0061","x":['],
    ids=["list", "model", "escaped"],
)
async def test_json_of_very_many_values_stops_nobody(gateway, upstream, start):
    """A few KiB of gzip that inflate to a million and a half of lists."""
    body = gzip.compress(start + b"[]," * 1_500_000 + b'0],"stream":true}')
    longest = 0.0

    async def look() -> None:
        nonlocal longest
        while True:
            before = asyncio.get_running_loop().time()
            await asyncio.sleep(0.01)
            longest = max(longest, asyncio.get_running_loop().time() - before)

    async with gateway() as gw, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(look())
        coded = ("Content-Encoding", "gzip")
        answer = await gw.request("POST", "/v1/x", body=body, headers=[coded])
        listed = (await gw.request("GET", "/-/calls")).json()["data"]
        watching.cancel()

    assert (answer.status, upstream.request.body) == (200, body)
    assert (listed[0]["model"], listed[0]["stream"]) == ("m" if b"u0061" in start else None, True)
    assert longest < 1.0  # a parser took 1.5 s and more, and the machine may be busy


async def test_a_name_of_a_megabyte_is_in_no_list_and_no_glob_is_long(gateway, upstream):
    body = json.dumps({"model": "m" * 1_000_000}).encode()
    async with gateway() as gw:
        answer = await gw.request("POST", "/v1/x", body=body)
        listed = await gw.request("GET", "/-/calls")
        found = await gw.request("GET", "/-/calls?model=m*m&path=/v1/*")
        refused = await gw.request("GET", f"/-/calls?path=*{'a' * 300}")

    assert (answer.status, upstream.request.body) == (200, body)
    assert len(listed.body) < 5_000
    assert len(found.json()["data"]) == 1
    assert (refused.status, refused.code) == (400, "bad_request")


# -- bodies for the gateway itself


async def test_a_body_for_the_gateway_itself_is_small_and_comes_in_time(gateway, monkeypatch):
    monkeypatch.setattr(app, "BODY_S", 0.1)
    monkeypatch.setattr(sessions, "LOGIN_S", 0.1)
    drips = [("Content-Length", "100")]
    async with gateway() as gw:
        large = await gw.request("POST", "/-/keys", body=b" " * 1_100_000)
        dripped = [
            await gw.request("POST", path, body=b"only this", headers=drips)
            for path in ("/-/keys", "/-/calls/replay", "/-/session", "/-/ui/login")
        ]

    assert (large.status, large.code) == (413, "body_too_large")
    assert [each.status for each in dripped] == [400] * 4


# -- readings that take long


async def unread_exports(gw, key, number):
    """Begin so many exports, and read only their heads."""
    exports = [await gw.send("GET", "/-/calls/export", headers=by(key)) for _ in range(number)]
    assert [(await each.read_head()).status for each in exports] == [200] * number
    return exports


async def test_one_key_holds_a_few_long_readings_and_no_others_up(gateway, upstream):
    long = [
        ("GET", "/-/calls?q=word"), ("GET", "/-/calls?status=queued&limit=1"),
        ("GET", "/-/calls/count"), ("GET", "/-/calls/export"), ("GET", "/-/stats"),
        ("POST", "/-/calls/cancel?dry_run=true"), ("POST", "/-/calls/replay?dry_run=true"),
        ("POST", "/-/calls/cancel?tag=a:b"),
    ]  # fmt: skip
    upstream.answer = Answer(body=b"x" * 8_000_000)
    async with gateway(auth=REQUIRED) as gw:
        key, other = [(await make_key(gw, "relay", "operate-all"))["key"] for _ in range(2)]
        answer = await gw.chat(headers=by(key))
        exports = await unread_exports(gw, key, 4)
        refused = [await gw.request(*each, headers=by(key)) for each in long]
        short = [
            await gw.request("GET", target, headers=by(key))
            for target in ("/-/calls?limit=5&order=asc", f"/-/calls/{answer.call_id}")
        ]
        others = [await gw.request(*each, headers=by(other)) for each in long]
        for each in exports:
            each.hang_up()
        async with asyncio.timeout(10):
            while (await gw.request(*long[0], headers=by(key))).status != 200:
                pass

    assert {(each.status, each.code) for each in refused} == {(429, "key_limit")}
    assert {each.header("retry-after") for each in refused} == {"1"}
    assert {each.status for each in (*short, *others)} == {200}


async def test_people_and_commands_may_hold_more(gateway, upstream, monkeypatch):
    monkeypatch.setattr(auth, "MUCH_AT_ONCE_BY_PEOPLE", 5)
    upstream.answer = Answer(body=b"x" * 8_000_000)
    async with gateway() as gw:
        await gw.chat()
        for key in (token(gw), None):
            shown = by(key) if key else []
            exports = [await gw.send("GET", "/-/calls/export", headers=shown) for _ in range(6)]
            heads = [(await each.read_head()).status for each in exports]
            assert heads == [200] * 5 + [429]


# -- signing in


async def test_guessing_at_the_door_is_slowed_down(gateway):
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw))["key"]
        guesses = [
            await gw.request("POST", "/-/session", json={"key": f"gw_{n}_x"}) for n in range(25)
        ]
        by_form = await gw.request("POST", "/-/ui/login", body=b"key=gw_a_b")
        right = await gw.request("POST", "/-/session", json={"key": key})

    assert [each.status for each in guesses] == [401] * 20 + [429] * 5
    assert by_form.status == 429
    assert right.status == 200


# -- many pieces, many requests


async def test_a_body_in_pieces_of_one_byte_is_read_like_any_other(gateway, upstream):
    body = json.dumps({"model": "m", "x": "y" * 3000}).encode()
    pieces = b"".join(http1.chunk(body[n : n + 1]) for n in range(len(body)))
    async with gateway() as gw:
        exchange = await gw.connect("POST")
        await exchange.write(
            b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + pieces
            + b"0\r\n\r\n"
        )
        await exchange.read()

    assert (exchange.status, upstream.request.body) == (200, body)


async def test_trailers_and_chunk_extensions_without_end_are_bounded(
    gateway, upstream, monkeypatch
):
    """Trailers in bytes; extensions, of which nothing is kept, by the time a body has."""
    monkeypatch.setattr(request, "BODY_S", 0.2)
    head = b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with gateway() as gw:
        for without_end in (b"1\r\nx\r\n0\r\n" + b"T: v\r\n" * 20_000, b"1;" + b"e" * 200_000):
            exchange = await gw.connect("POST")
            exchange.writer.write(head + without_end)
            await exchange.read()
            assert exchange.status == 400
        after = await gw.chat()

    assert after.status == 200
    assert upstream.hits == 1


# -- large bodies


async def test_a_large_body_is_not_in_ram_while_its_call_waits_or_is_answered(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    body = b'{"model":"m","x":"' + b"y" * 1_000_000 + b'"}'
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        sent = [await gw.send("POST", "/v1/x", body=body) for _ in range(3)]
        await upstream.wait_hits(1)
        queued = await gw.wait_calls(2, status="queued")
        async with asyncio.timeout(10):
            while (await gw.metrics())["gateway_journal_pending_posts"]:
                pass
        held_bodies = [live.call.request.body for live in gw.service.relay.calls.values()]
        gate.open()
        answers = [await each.read() for each in sent]

    assert len(queued) == 2
    assert held_bodies == [None] * 3
    assert [each.status for each in answers] == [200] * 3
    assert {each.body for each in upstream.requests} == {body}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_six_hundred_bodies_at_once_arrive_in_a_budget(
    gateway_process, upstream, monkeypatch
):
    """600 MiB at once, of which 64 may be in RAM; besides, each connection has a buffer, and 20
    bodies at a time are being sent on."""
    monkeypatch.setattr(client, "PATIENCE_S", 120.0)
    budget = 64 * 2**20

    async def echo_hash(request):
        digest = hashlib.sha256(request.body).hexdigest()
        await Answer(body=digest.encode())(request)

    upstream.answer = echo_hash
    bodies = [n.to_bytes(4) * 2**18 for n in range(600)]
    reserved = [0.0]

    async def watch(gw) -> None:
        while True:
            reserved.append((await gw.metrics())["gateway_arriving_body_bytes"])
            await asyncio.sleep(0.1)

    async def send(gw, body):
        """Send it, again where the gateway says so: on a slow disk some wait for too long."""
        while (answer := await gw.request("POST", "/v1/x", body=body)).status == 503:
            assert answer.code == "queue_full"
            await asyncio.sleep(int(answer.header("retry-after")))
        return answer

    slots, limits = {"openai": {"max_in_flight": 20}}, {"max_arriving_bytes": budget}
    async with gateway_process(upstreams=slots, limits=limits) as gw:
        await gw.metrics()
        before = resident_mb(gw.process.pid)
        async with asyncio.timeout(200), asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch(gw))
            answers = await asyncio.gather(*(send(gw, body) for body in bodies))
            watching.cancel()
        most = resident_mb(gw.process.pid)

    assert {each.status for each in answers} == {200}
    digests = [hashlib.sha256(body).hexdigest().encode() for body in bodies]
    assert [each.body for each in answers] == digests
    assert budget / 2 < max(reserved) <= budget
    assert most - before < budget / 2**20 + 150


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("size", "refused"), [(1_000_000, 0), (200_000, 140)], ids=["large", "small"]
)
async def test_bodies_that_wait_cost_no_more_memory_than_they_may(
    gateway_process, upstream, monkeypatch, size, refused
):
    """Large ones wait in the journal; small ones in RAM, up to 8 MB, and the rest comes later.

    While they all arrive at once each is held, and copied once.
    """
    monkeypatch.setattr(client, "PATIENCE_S", 120.0)
    gate = Gate()
    upstream.answer = held(gate)
    body = b'{"model":"m","x":"' + b"y" * size + b'"}'
    slots, limits = {"openai": {"max_in_flight": 10}}, {"max_queued_bytes": 8_000_000}
    async with gateway_process(upstreams=slots, limits=limits) as gw:
        await gw.metrics()
        before = resident_mb(gw.process.pid)
        async with asyncio.timeout(200), asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(gw.request("POST", "/v1/x", body=body)) for _ in range(200)]
            settled, pending = 0.0, 1.0
            while settled < 200 or pending:
                await asyncio.sleep(0.2)
                metrics = await gw.metrics()
                pending = metrics["gateway_journal_pending_posts"]
                settled = metrics['gateway_open_calls{upstream="openai"}'] + metrics.get(
                    'gateway_refused_total{code="queue_full"}', 0.0
                )
            most = resident_mb(gw.process.pid)
            gate.open()
        answers = [each.result() for each in sent]

    statuses = [each.status for each in answers]
    assert set(statuses) == ({200, 503} if refused else {200})
    assert statuses.count(503) >= refused
    assert {each.code for each in answers if each.status == 503} <= {"queue_full"}
    assert {len(each.body) for each in upstream.requests} == {len(body)}
    assert most - before < 2 * 200 * size / 2**20 + 50
