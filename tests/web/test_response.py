"""Answers on the wire: the upstream's head as it was, our framing, and an end only where it is whole."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.web.response import RawResponse
from tests.client import Client

Handler = Callable[[BaseRequest], Awaitable[web.StreamResponse]]
FIELDS = ((b"x-B", b"1"), (b"X-a", b"2"), (b"x-b", "ü".encode()))


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Client]:
    """A bare server whose every answer *handler* writes."""
    server = web.Server(handler)
    runner = web.ServerRunner(server, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client("127.0.0.1", runner.addresses[0][1])
    try:
        yield client
    finally:
        client.close()
        await runner.cleanup()


def answering(
    *pieces: bytes,
    length: int | None = None,
    status: int = 200,
    reason: str | None = None,
    whole: bool = True,
    extra: Any = (),
) -> Handler:
    """Write an answer piece by piece, then its end, or cut it."""

    async def handle(request: BaseRequest) -> web.StreamResponse:
        response = RawResponse(
            request, status=status, reason=reason, headers=FIELDS, extra=extra, length=length
        )
        await response.start()
        for piece in pieces:
            await response.send(piece)
        await (response.end() if whole else response.cut())
        return response

    return handle


async def wire(client: Client, request: str, *, until: bytes | None = None) -> bytes:
    """Send *request* as it stands and return what comes back, to the close or up to *until*."""
    exchange = await client.connect()
    await exchange.write(request.encode("latin-1"))
    async with asyncio.timeout(5):
        if until is not None:
            return await exchange.reader.readuntil(until)
        return await exchange.reader.read()


GET = "GET /x HTTP/1.1\r\nHost: gw\r\n{}\r\n"
GET10 = "GET /x HTTP/1.0\r\nHost: gw\r\n{}\r\n"
HEAD_LINES = b"HTTP/1.1 200 OK\r\nx-B: 1\r\nX-a: 2\r\nx-b: \xc3\xbc\r\n"


async def test_a_declared_answer_has_the_upstreams_head_and_nothing_of_ours_but_framing():
    async with serving(answering(b"01", b"23", length=4)) as client:
        written = await wire(client, GET.format(""), until=b"0123")

    assert written == HEAD_LINES + b"Content-Length: 4\r\n\r\n0123"


async def test_an_undeclared_answer_is_chunked_piece_by_piece():
    async with serving(answering(b"01", b"", b"234")) as client:
        written = await wire(client, GET.format(""), until=b"0\r\n\r\n")

    head = HEAD_LINES + b"Transfer-Encoding: chunked\r\n\r\n"
    assert written == head + b"2\r\n01\r\n3\r\n234\r\n0\r\n\r\n"


@pytest.mark.parametrize("status", [200, 204, 205, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("length", [None, 0, 7])
async def test_an_answer_without_body_is_its_head(status, method, length):
    if (status, method, length) in [(200, "GET", None), (200, "GET", 7)]:
        return  # these have one
    async with serving(answering(b"ignored", length=length, status=status)) as client:
        exchange = await client.connect(method)
        for _ in range(2):  # the connection stays in step
            await exchange.write(f"{method} /x HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
            head = await exchange.reader.readuntil(b"\r\n\r\n")

    has_length = length is not None and status != 204
    assert (b"Content-Length: %d" % (length or 0) in head) is has_length
    assert b"Transfer-Encoding" not in head


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, None, b"HTTP/1.1 200 OK"),
        (404, "Nix da", b"HTTP/1.1 404 Nix da"),
        (200, "", b"HTTP/1.1 200 "),
        (529, None, b"HTTP/1.1 529 "),
        (200, "Gr\udcfcn", b"HTTP/1.1 200 Gr\xfcn"),
    ],
)
async def test_the_status_line_says_what_the_upstream_said(status, reason, line):
    async with serving(answering(length=0, status=status, reason=reason)) as client:
        head = await wire(client, GET.format(""), until=b"\r\n\r\n")

    assert head.split(b"\r\n")[0] == line


async def test_fields_of_the_gateways_follow_those_of_the_upstream():
    async with serving(answering(length=0, extra=[("x-gateway-call-id", "c")])) as client:
        head = await wire(client, GET.format(""), until=b"\r\n\r\n")

    assert head == HEAD_LINES + b"x-gateway-call-id: c\r\nContent-Length: 0\r\n\r\n"


# -- connections


@pytest.mark.parametrize(
    ("request_head", "length", "field", "stays"),
    [
        (GET.format(""), 2, None, True),
        (GET.format("Connection: close\r\n"), 2, b"close", False),
        (GET.format("Connection: close\r\n"), None, b"close", False),
        (GET10.format(""), 2, b"close", False),
        (GET10.format("Connection: keep-alive\r\n"), 2, b"keep-alive", True),
        (GET10.format(""), None, b"close", False),
        (GET10.format("Connection: keep-alive\r\n"), None, b"close", False),
    ],
)
async def test_a_connection_stays_where_the_client_wants_it_and_the_end_can_be_told(
    request_head, length, field, stays
):
    async with serving(answering(b"ab", length=length)) as client:
        exchange = await client.connect()
        await exchange.write(request_head.encode())
        head = await exchange.reader.readuntil(b"\r\n\r\n")
        if stays:
            await exchange.reader.readexactly(2)
            await exchange.write(request_head.encode())
            assert await exchange.reader.readuntil(b"\r\n\r\n") == head
        else:
            rest = await exchange.reader.read()
            assert rest in (b"ab", b"2\r\nab\r\n0\r\n\r\n")

    told = [line[12:] for line in head.split(b"\r\n") if line.startswith(b"Connection: ")]
    assert told == ([field] if field else [])


async def test_a_client_of_http_1_0_never_sees_a_chunk():
    async with serving(answering(b"01", b"23")) as client:
        written = await wire(client, GET10.format("Connection: keep-alive\r\n"))

    assert written == HEAD_LINES + b"Connection: close\r\n\r\n0123"


# -- ends


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=5), min_size=1, max_size=5))
async def test_a_declared_answer_is_never_complete_before_its_end(pieces):
    """However it is cut into pieces: the last byte waits for `end`, and then all is there."""
    body, may_end, seen = b"".join(pieces), asyncio.Event(), asyncio.Event()

    async def handle(request: BaseRequest) -> web.StreamResponse:
        response = RawResponse(request, status=200, reason=None, headers=(), length=len(body))
        await response.start()
        for piece in pieces:
            await response.send(piece)
        seen.set()
        await may_end.wait()
        await response.end()
        return response

    async with serving(handle) as client:
        exchange = await client.connect()
        await exchange.write(GET.format("").encode())
        await exchange.reader.readuntil(b"\r\n\r\n")
        await seen.wait()
        before = await exchange.reader.readexactly(max(0, len(body) - 1))
        assert not exchange.reader._buffer  # type: ignore[attr-defined]
        may_end.set()
        after = await exchange.reader.readexactly(min(1, len(body)))

    assert before + after == body


@pytest.mark.parametrize(
    ("head", "length"), [(GET, 10), (GET, None), (GET10, 10)], ids=["length", "chunked", "1.0"]
)
async def test_a_cut_answer_arrives_as_far_as_it_came_and_has_no_end(head, length):
    async with serving(answering(b"0123", length=length, whole=False)) as client:
        written = await wire(client, head.format(""))

    body = written.partition(b"\r\n\r\n")[2]
    assert body == (b"4\r\n0123\r\n" if length is None else b"0123")


@pytest.mark.parametrize("size", [4, 40_000, 4_000_000])
async def test_a_cut_answer_that_would_end_with_its_connection_resets_it(size):
    """A plain close would look like the end."""
    async with serving(answering(b"x" * size, whole=False)) as client:
        with pytest.raises(ConnectionResetError):
            await wire(client, GET10.format(""))


async def test_a_whole_answer_leaves_in_one_packet():
    async def handle(request: BaseRequest) -> web.StreamResponse:
        response = RawResponse(request, status=200, reason=None, headers=(), length=4)
        await response.end(b"0123")
        return response

    async with serving(handle) as client:
        exchange = await client.connect()
        await exchange.write(GET.format("").encode())
        packet = await exchange.reader.read(1000)

    assert packet == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123"
