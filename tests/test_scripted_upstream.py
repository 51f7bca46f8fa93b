"""The harness itself: what it sends and records is what stands on the wire."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests import http1
from tests.client import Client
from tests.scripted_upstream import ScriptedUpstream
from tests.steps import (
    Answer,
    Gate,
    Step,
    cut,
    hang,
    held,
    raw,
    reset,
    stall,
    stream,
)


@pytest.fixture
async def client(upstream: ScriptedUpstream) -> AsyncIterator[Client]:
    client = Client("127.0.0.1", upstream.port)
    yield client
    client.close()


async def test_a_request_is_kept_as_it_stood_on_the_wire(upstream, client):
    headers = [("hOsT", "x"), ("X-Twice", "1"), ("a", "ü"), ("x-twice", "2")]
    await client.request("PUT", "/%2F?q=%20&q", headers=headers, body=b"\0\r\n\xff")

    (request,) = upstream.requests
    assert (request.method, request.target) == ("PUT", "/%2F?q=%20&q")
    assert request.headers == [*headers, ("Content-Length", "4")]
    assert request.body == b"\0\r\n\xff"


async def test_an_answer_leaves_as_it_was_scripted(upstream, client):
    headers = [("X-a", "1"), ("x-A", "2"), ("Set-Cookie", "a=b")]
    upstream.script = [Answer(418, headers, b"\xfftea", reason="I'm a teapot")]
    answer = await client.request("GET", "/")

    assert (answer.status, answer.reason) == (418, "I'm a teapot")
    assert answer.headers == [*headers, ("Content-Length", "4")]
    assert (answer.body, answer.complete) == (b"\xfftea", True)


async def test_steps_are_taken_in_order_and_then_the_answer_repeats(upstream, client):
    upstream.script = [503, stall(0.001), 404]
    statuses = [(await client.request("GET", "/")).status for _ in range(5)]

    assert statuses == [503, 200, 404, 200, 200]


async def test_the_answer_may_depend_on_the_request(upstream, client):
    upstream.choose = lambda request: 404 if "nothing" in request.target else 200

    assert (await client.request("GET", "/nothing")).status == 404
    assert (await client.request("GET", "/thing")).status == 200


async def test_a_gate_lets_chunks_out_one_by_one(upstream, client):
    gate = Gate()
    upstream.script = [stream([b"data: 1\n\n", b"data: 2\n\n"], gate)]
    sent = await client.send("GET", "/")
    await sent.read_head()
    assert (sent.body, upstream.in_flight) == (b"", 1)

    gate.release()
    await sent.read_until(b"1\n\n")
    assert sent.body == b"data: 1\n\n"

    gate.open()
    await sent.read()
    assert (sent.body, sent.complete) == (b"data: 1\n\ndata: 2\n\n", True)


async def test_requests_in_flight_are_counted(upstream, client):
    gate = Gate()
    upstream.answer = held(gate)
    sent = [await client.send("GET", "/") for _ in range(3)]
    await upstream.wait_hits(3)
    assert (upstream.in_flight, upstream.peak, len(upstream.connections)) == (3, 3, 3)

    gate.open()
    await asyncio.gather(*(exchange.read() for exchange in sent))
    await upstream.wait_idle()
    assert (upstream.in_flight, upstream.peak) == (0, 3)


async def test_a_client_that_leaves_is_noticed_at_once(upstream, client):
    upstream.answer = hang()
    sent = await client.send("GET", "/")
    await upstream.wait_hits(1)
    left_at = asyncio.get_running_loop().time()
    sent.hang_up()

    assert await upstream.wait_closed(upstream.requests[0]) - left_at < 0.1
    await upstream.wait_idle()


@pytest.mark.parametrize(
    "step",
    [
        cut(Answer(body=b"0123456789"), after=4),
        cut(stream([b"0123", b"456789"]), after=4),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123"),
        reset(after=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
    ],
    ids=["cut", "cut chunked", "raw", "reset"],
)
async def test_a_broken_answer_is_seen_as_broken(upstream, client, step: Step):
    upstream.script = [step]
    answer = await client.request("GET", "/")

    assert answer.status == 200
    assert answer.body in (b"0123", b"")
    assert not answer.complete


async def test_a_reset_before_the_answer_is_a_reset(upstream, client):
    upstream.script = [reset()]

    with pytest.raises(ConnectionResetError):
        await client.request("GET", "/")


async def test_an_answer_may_end_with_its_connection(upstream, client):
    upstream.script = [Answer(headers=[("Connection", "close")], body=b"abc")]
    answer = await client.request("GET", "/")

    assert answer.headers == [("Connection", "close")]
    assert (answer.body, answer.complete) == (b"abc", True)


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", 200, "11"), ("GET", 204, None), ("GET", 304, None)],
)
async def test_answers_without_a_body_have_none(upstream, client, method, status, length):
    upstream.script = [status]
    answer = await client.request(method, "/")

    assert answer.header("content-length") == length
    assert (answer.body, answer.complete) == (b"", True)


async def test_a_connection_is_kept_and_a_chunked_request_understood(upstream, client):
    sent = await client.connect("POST")
    head = http1.head("POST / HTTP/1.1", [("Transfer-Encoding", "chunked")])
    await sent.write(head + http1.chunked([b"ab", b"c"]) + http1.head("GET /2 HTTP/1.1", []))
    await upstream.wait_hits(2)

    assert [request.body for request in upstream.requests] == [b"abc", b""]
    assert len(upstream.connections) == 1
