"""Slow, silent and malformed peers on real sockets: S18, S33."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.web import connection, request
from tests import http1
from tests.steps import Answer

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    """Yield a bare connection to the gateway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(port: int, sent: bytes) -> tuple[int, http1.Headers, bytes]:
    """Send bytes as they are; return status, fields and body of the answer."""
    async with connected(port) as (reader, writer):
        writer.write(sent)
        line, headers = await http1.read_head(reader)
        body = await reader.readexactly(int(http1.value(headers, "content-length") or 0))
        return int(line.split()[1]), headers, body


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/v1/chat/completions", lambda body: body["error"]["code"]),
        ("/v1/messages", lambda body: body["error"]["code"]),
        ("/-/calls", lambda body: body["code"]),
    ],
)
async def test_what_the_parser_refuses_is_told_in_the_dialect_of_the_path(gateway, path, place):
    smuggled = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    smuggled += b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with gateway() as gw:
        status, headers, body = await exchange(gw.port, smuggled % path.encode())

    assert status == 400
    assert place(json.loads(body)) == "bad_request"
    assert "bad_request" in (http1.value(headers, "proxy-status") or "")
    assert http1.value(headers, "x-gateway-call-id") is None


BAD_FRAMING = [
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nX : a\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9_000 + b"\r\n\r\n",
    b"GET /v1/" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200 + b"\r\n",
    b"FOO\t/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("sent", BAD_FRAMING)
async def test_bad_framing_reaches_no_upstream_and_ends_the_connection(gateway, upstream, sent):
    async with gateway() as gw, connected(gw.port) as (reader, writer):
        writer.write(sent + b"GET /v1/second HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1, "what follows bad framing is no request"
    assert upstream.hits == 0


ANOTHER_VERSION_OR_AUTHORITY = [
    (b"GET /v1/x HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /v1/x HTTP/0.9\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /v1/x HTTP/1.1\r\nHost: a/?x=\r\n\r\n", 421),
    (b"GET http://evil.example/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
]


@pytest.mark.parametrize(("sent", "status"), ANOTHER_VERSION_OR_AUTHORITY)
async def test_another_version_or_authority_reaches_no_upstream(gateway, upstream, sent, status):
    async with gateway() as gw:
        answered, _, _ = await exchange(gw.port, sent)

    assert answered == status
    assert upstream.hits == 0


async def test_a_dripped_head_is_hung_up_on_while_others_are_served(gateway, upstream, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    upstream.answer = Answer(body=b"served")
    async with gateway() as gw, connected(gw.port) as (reader, writer):
        writer.write(b"GET /v1/x HTTP/1.1\r\nHost: local")
        healthy = await gw.request("GET", "/v1/models")
        ended = await reader.read()

    assert healthy.body == b"served"
    assert ended == b""
    assert upstream.hits == 1


async def test_a_head_in_pieces_is_read_when_it_comes_in_time(gateway, upstream):
    upstream.answer = Answer(body=b"read")
    async with gateway() as gw, connected(gw.port) as (reader, writer):
        for piece in (b"GET /v1/x HT", b"TP/1.1\r\nHost: loc", b"alhost\r\n", b"\r\n"):
            writer.write(piece)
            await writer.drain()
            await gw.request("GET", "/-/healthy")  # the loop has seen the piece
        line, _ = await http1.read_head(reader)

    assert line == "HTTP/1.1 200 Because"


async def test_a_dripped_body_is_refused_and_makes_no_call(gateway, upstream, monkeypatch):
    monkeypatch.setattr(request, "BODY_S", 0.2)
    async with gateway() as gw, connected(gw.port) as (reader, writer):
        writer.write(b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        writer.write(b"only this")
        line, headers = await http1.read_head(reader)
        listed = await gw.request("GET", "/-/calls")

    assert line.split()[1] == "400"
    assert http1.value(headers, "connection") == "close"
    assert listed.json()["data"] == []
    assert upstream.hits == 0


async def test_a_client_that_stops_reading_is_hung_up_on(gateway, upstream, monkeypatch):
    monkeypatch.setattr(connection, "WRITE_IDLE_S", 0.2)
    upstream.answer = Answer(chunks=[b"x" * 65_536] * 400)
    async with gateway() as gw, connected(gw.port) as (_, writer):
        writer.write(b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        writer.transport.pause_reading()
        (running,) = await gw.wait_calls(1)
        call = await gw.final(running["id"])
        in_flight = gw.service.admission.statistics().in_flight

    assert in_flight == 0
    assert call["client_gone"] is True


async def test_one_connection_too_many_is_closed_and_the_others_stay(gateway, monkeypatch):
    monkeypatch.setattr(connection, "max_connections", lambda in_flight: 2)
    monkeypatch.setattr("gateway.web.app.max_connections", lambda in_flight: 2)
    async with gateway() as gw, connected(gw.port) as first, connected(gw.port) as second:
        first[1].write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await http1.read_head(first[0]))[0] == "HTTP/1.1 200 OK"
        async with connected(gw.port) as third:
            assert await third[0].read() == b""
        second[1].write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await http1.read_head(second[0]))[0] == "HTTP/1.1 200 OK"


async def test_one_address_never_has_them_all(gateway, monkeypatch):
    monkeypatch.setattr("gateway.web.app.max_connections", lambda in_flight: 4)
    monkeypatch.setattr(connection.Connection, "_address", lambda self: "192.0.2.1")
    async with gateway() as gw, connected(gw.port) as first, connected(gw.port) as second:
        async with connected(gw.port) as third:
            assert await third[0].read() == b""
        for reader, writer in (first, second):
            writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await http1.read_head(reader))[0] == "HTTP/1.1 200 OK"
            await reader.read()
        async with connected(gw.port) as (reader, writer):
            writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await http1.read_head(reader))[0] == "HTTP/1.1 200 OK"


def test_connections_stay_below_the_descriptors_there_are():
    _, hard = connection.resource.getrlimit(connection.resource.RLIMIT_NOFILE)

    assert connection.max_connections(1000) < hard
    assert connection.max_connections(10**9) > 0
