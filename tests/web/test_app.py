"""The one server: what is the gateway's own, what is relayed, and what is neither."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest

from gateway.config import Config
from gateway.errors import GatewayError, QueueFull, Refused
from gateway.telemetry.metrics import Metrics
from gateway.web.app import Runner, make_app
from gateway.web.response import RawResponse
from tests.client import Client
from tests.gates import open_gate

Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def relayed() -> list[str]:
    """Targets that were relayed, and codes of those that were turned away."""
    return []


@pytest.fixture
def serve(relayed: list[str]) -> Serve:
    """Return `async with serve(allowed_hosts=[…]) as client`: the server with nothing behind it."""

    async def relay(request: BaseRequest) -> web.StreamResponse:
        relayed.append(f"{request.method} {request.raw_path}")
        return await answer(request, 299)

    async def turn_away(request: BaseRequest, _: str, refused: Refused) -> web.StreamResponse:
        relayed.append(refused.code)
        return await answer(request, 421 if refused.code == "bad_host" else 400)

    async def answer(request: BaseRequest, status: int) -> web.StreamResponse:
        response = RawResponse(request, status=status, reason=None, headers=(), length=0)
        await response.end()
        return response

    async def things(_: web.Request) -> web.Response:
        return web.json_response({})

    async def broken(request: web.Request) -> web.Response:
        if request.method == "GET":
            raise QueueFull
        raise GatewayError("it is broken")

    @asynccontextmanager
    async def serving(**server: Any) -> AsyncIterator[Client]:
        settings = Config(server=server, upstreams={"mock": {"base_url": "mock:"}})
        routes = [
            web.get("/-/things", things),
            web.post("/-/things", things),
            web.get("/-/broken", broken),
            web.post("/-/broken", broken),
        ]
        gate = open_gate(*(f"{route.method} {route.path}" for route in routes))
        app = make_app(routes, settings=lambda: settings, rng=random.Random(1), gate=gate)
        runner = Runner(
            app, relay, turn_away, settings=lambda: settings, metrics=Metrics(), gate=gate
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = Client("127.0.0.1", runner.addresses[0][1])
        try:
            yield client
        finally:
            client.close()
            await runner.cleanup()

    return serving


@pytest.mark.parametrize(
    "target",
    ["/v1/x", "/-", "/-x/y", "/%2d/things", "//-/things", "/x/-/things", "/v1/-/", "*", "/?a",
     "/v1/x?/-/"],
)  # fmt: skip
async def test_whatever_is_not_under_our_prefix_is_relayed(serve, relayed, target):
    async with serve() as client:
        answer = await client.request("OPTIONS" if target == "*" else "GET", target)

    assert answer.status == 299
    assert relayed == [f"{answer.method} {target}"]


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/-/things", 200, None),
        ("HEAD", "/-/things", 200, None),
        ("GET", "/-/things?x=1", 200, None),
        ("GET", "/-/nothing", 404, "not_found"),
        ("GET", "/-/", 404, "not_found"),
        ("GET", "/-/things/", 404, "not_found"),
        ("DELETE", "/-/things", 405, "bad_request"),
        ("OPTIONS", "/-/things", 405, "bad_request"),
        ("PATCH", "/-/things", 405, "bad_request"),
        ("DELETE", "/-/nothing", 404, "not_found"),
        ("GET", "/-/broken", 503, "queue_full"),
        ("POST", "/-/broken", 500, "internal"),
    ],
)
async def test_under_our_prefix_every_error_is_a_problem(
    serve, relayed, method, target, status, code
):
    async with serve() as client:
        answer = await client.request(method, target)

    assert answer.status == status
    assert relayed == []
    if code:
        assert answer.header("content-type") == "application/problem+json"
        assert answer.code == code
        problem = answer.json()
        assert (problem["code"], problem["status"]) == (code, status)
        assert problem["instance"] == target
    assert (answer.header("allow") is not None) is (status == 405)
    if status == 405:
        assert answer.header("allow") == "GET, HEAD, POST"
    assert (answer.header("retry-after") is not None) is (status == 503)


async def test_everything_of_our_own_is_protected(serve):
    async with serve() as client:
        answers = [await client.request("GET", path) for path in ["/-/things", "/-/x", "/"]]

    for answer in answers:
        assert answer.header("cache-control") == "no-store"
        assert answer.header("x-content-type-options") == "nosniff"
        assert "default-src 'none'" in (answer.header("content-security-policy") or "")
        assert answer.header("x-frame-options") == "DENY"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_root_leads_to_the_dashboard(serve, method):
    async with serve() as client:
        answer = await client.request(method, "/")

    assert (answer.status, answer.header("location")) == (302, "/-/ui/")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_the_root_of_an_api_is_relayed(serve, relayed, method):
    async with serve() as client:
        await client.request(method, "/")

    assert relayed == [f"{method} /"]


# -- browsers and names


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", [("Origin", "https://evil.example")], 200),  # it cannot read what it gets
        ("POST", [("Origin", "https://evil.example")], 403),
        ("POST", [("Origin", "null")], 403),
        ("POST", [("Sec-Fetch-Site", "cross-site")], 403),
        ("POST", [("Origin", "https://app.example"), ("Sec-Fetch-Site", "cross-site")], 200),
        ("POST", [("Sec-Fetch-Site", "none")], 200),
        ("POST", [], 200),
    ],
)
async def test_a_web_page_may_change_nothing_from_another_origin(serve, method, headers, status):
    async with serve(allowed_origins=["https://app.example"]) as client:
        answer = await client.request(method, "/-/things", headers=headers)

    assert answer.status == status


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080",
     "192.0.2.7", "[2001:db8::7]:80", "gw.example", "GW.example:443"],
)  # fmt: skip
async def test_our_names_and_every_address_are_served(serve, relayed, host):
    async with serve(allowed_hosts=["gw.example"]) as client:
        own = await client.request("GET", "/-/things", headers=[("Host", host)])
        other = await client.request("GET", "/v1/x", headers=[("Host", host)])

    assert (own.status, other.status) == (200, 299)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example",
     "gw.example.evil.example", "user@localhost", "", "localhost:x", "127.1", "0x7f000001", "[::1",
     "[::1%evil]", "[::1%25evil.com]", "[::1%25evil.com]:8080", "[fe80::1%eth0]", "127.0.0.1%x"],
)  # fmt: skip
async def test_no_other_name_is_served(serve, relayed, host):
    async with serve(allowed_hosts=["gw.example"]) as client:
        own = await client.request("GET", "/-/things", headers=[("Host", host)])
        other = await client.request("GET", "/v1/x", headers=[("Host", host)])

    assert (own.status, own.code, other.status) == (421, "bad_host", 421)
    assert relayed == ["bad_host"]


async def test_two_hosts_are_one_too_many(serve, relayed):
    async with serve() as client:
        twice = [("Host", "localhost"), ("Host", "evil.example")]
        answer = await client.request("GET", "/v1/x", headers=twice)

    assert answer.status == 400
    assert relayed == ["bad_request"]


# -- old and odd clients


async def raw(client: Client, data: bytes) -> bytes:
    """What comes back for *data*, up to the close."""
    exchange = await client.connect()
    await exchange.write(data)
    async with asyncio.timeout(5):
        return await exchange.reader.read()


@pytest.mark.parametrize("target", [b"/v1/x", b"/-/things"])
async def test_http_1_0_is_spoken(serve, target):
    async with serve() as client:
        answer = await raw(client, b"GET %b HTTP/1.0\r\nHost: localhost\r\n\r\n" % target)

    assert answer.split(b" ")[1] in (b"299", b"200")
    assert b"chunked" not in answer


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /v1/x HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/x\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nX Y: 1\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n X: folded\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["2.0", "preface", "0.9", "two lengths", "negative", "length and chunks", "space in name",
         "folded", "long field", "long target", "many fields", "TLS"],
)  # fmt: skip
async def test_what_is_no_http_1_reaches_nobody(serve, relayed, request_head):
    async with serve() as client:
        answer = await raw(client, request_head)

    assert relayed in ([], ["bad_request"])
    assert answer.split(b" ")[1][:1] == b"4"


async def test_a_tunnel_is_not_opened(serve, relayed):
    async with serve() as client:
        head = b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await raw(client, head)

    assert not answer.startswith(b"HTTP/1.1 200")
