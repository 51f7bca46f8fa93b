"""A connection by itself, with a handler that fails in front of it."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from gateway.web.connection import Server
from gateway.web.response import RawResponse
from tests.client import Client


@asynccontextmanager
async def serving(handler):
    """Yield a client of *handler*, served as the gateway serves."""
    loop = asyncio.get_running_loop()
    server = Server(
        handler,
        refuse=None,
        max_connections=10,
        is_proxy=lambda _: False,
        handler_cancellation=True,
    )
    listener = await loop.create_server(server, "127.0.0.1", 0)
    client = Client("127.0.0.1", listener.sockets[0].getsockname()[1])
    try:
        yield client
    finally:
        client.close()
        listener.close()
        await server.shutdown(1)


@pytest.mark.parametrize("first", [b"", b"1"], ids=["before its head", "in its body"])
async def test_a_client_that_leaves_as_it_is_written_to_is_no_error(caplog, first):
    """Its connection is closing already, and the handler is not yet told."""
    wrote = []

    async def handler(request):
        response = RawResponse(request, status=200, reason=None, headers=(), length=2)
        if first:
            await response.start(first)
        request.transport.abort()
        try:
            await response.end(b"2")
        except ConnectionError as error:
            wrote.append(error)
            raise
        return response

    async with serving(handler) as client:
        exchange = await client.send("GET", "/")
        arrived = await exchange.reader.read()

    assert len(wrote) == 1
    assert arrived.endswith(first)
    assert caplog.records == []


async def test_a_bug_is_an_error_whoever_has_left(caplog):
    async def handler(request):
        request.transport.abort()
        raise LookupError

    async with serving(handler) as client:
        exchange = await client.send("GET", "/")
        await exchange.reader.read()

    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_connection_elsewhere_that_fails_is_an_error(caplog):
    async def handler(_):
        raise ConnectionResetError

    async with serving(handler) as client:
        told = await client.request("GET", "/")

    assert told.status == 500
    assert [record.levelname for record in caplog.records] == ["ERROR"]
