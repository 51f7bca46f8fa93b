"""The boundary: what is refused, and what stays on its own side."""

import pytest

from tests import http1
from tests.client import ADDED_TO_ANSWERS, ADDED_TO_REQUESTS
from tests.http1 import without
from tests.steps import Answer


@pytest.mark.parametrize(
    "target",
    [
        "/v1/../x",
        "/v1/./x",
        "/v1/x/..",
        "/v1/%2e%2e/x",
        "/v1/%2E./x",
        "/v1/%2e/x",
        "/v1/..%2fx",
        "/v1/a%2f..%2fb",
        "/v1/..%5cx",
        "/v1/%252e%252e/x",
        "/v1/%252e%252e%252fx",
        "/v1/a\\b",
        "/v1/a%5cb",
        "/v1/a%255Cb",
        "/v1/a%00b",
        "/v1/a%0d%0ab",
        "/v1/a%7fb",
        "/v1/a%250ab",
        "/v1/a\x01b",
        "/openai/../x",
        "/openai/%2e%2e/x",
    ],
)
async def test_a_path_that_could_climb_or_break_a_line_is_refused(gateway, upstream, target):
    async with gateway() as gw:
        answer = await gw.request("GET", target)

    assert answer.status == 400
    assert upstream.hits == 0


async def test_hop_by_hop_fields_stay_on_their_hop(gateway, upstream):
    hop = [
        ("Connection", "keep-alive, X-Mine"),
        ("connection", "x-Other"),
        ("X-Mine", "1"),
        ("X-OTHER", "2"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Proxy-Authorization", "Basic eA=="),
        ("Proxy-Connection", "keep-alive"),
        ("X-Stays", "3"),
    ]
    back = [
        ("Connection", "X-Internal"),
        ("X-Internal", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Trailer", "X-Sum"),
        ("Upgrade", "h2c"),
        ("X-Stays", "2"),
    ]
    upstream.answer = Answer(200, back)
    async with gateway() as gw:
        answer = await gw.request("GET", "/v1/x", headers=hop)

    assert without(upstream.request.headers, ADDED_TO_REQUESTS) == [("X-Stays", "3")]
    assert without(answer.headers, ADDED_TO_ANSWERS) == [("X-Stays", "2")]


async def test_fields_for_the_gateway_are_not_passed_on(gateway, upstream):
    ours = [
        ("x-gateway-upstream", "openai"),
        ("x-gateway-timeout-s", "30"),
        ("X-Gateway-Queue-Timeout-S", "30"),
        ("x-gateway-priority", "0"),
        ("x-gateway-fairness-key", "tenant"),
        ("x-gateway-max-attempts", "1"),
        ("x-gateway-on-disconnect", "finish"),
        ("x-gateway-tags", "team=search, run=7"),
    ]
    async with gateway() as gw:
        answer = await gw.request("GET", "/v1/x", headers=[*ours, ("X-Stays", "1")])
        call = await gw.call(answer.call_id)

    assert without(upstream.request.headers, ADDED_TO_REQUESTS) == [("X-Stays", "1")]
    assert call["tags"] == {"team": "search", "run": "7"}
    assert (call["priority"], call["fairness_key"]) == (0, "tenant")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-gateway-timeout-s", "soon"),
        ("x-gateway-timeout-s", "0"),
        ("x-gateway-timeout-s", "nan"),
        ("x-gateway-queue-timeout-s", "-1"),
        ("x-gateway-priority", "10"),
        ("x-gateway-priority", "1.5"),
        ("x-gateway-fairness-key", "x" * 65),
        ("x-gateway-max-attempts", "0"),
        ("x-gateway-max-attempts", "5"),
        ("x-gateway-on-disconnect", "ignore"),
        ("x-gateway-tags", "no-equals-sign"),
    ],
)
async def test_a_field_that_makes_no_sense_is_refused(gateway, upstream, name, value):
    async with gateway() as gw:
        answer = await gw.request("GET", "/v1/x", headers=[(name, value)])

    assert (answer.status, answer.code) == (400, "bad_request")
    assert name in answer.json()["error"]["message"]
    assert upstream.hits == 0


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, upgrade"])
async def test_upgrades_are_refused(gateway, upstream, connection):
    async with gateway() as gw:
        ask = [
            ("Connection", connection),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
        ]
        answer = await gw.request("GET", "/v1/realtime", headers=ask)

    assert (answer.status, answer.code) == (400, "bad_request")
    assert upstream.hits == 0


# -- browsers


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "https://evil.example")],
        [("Origin", "null")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
    ],
)
async def test_a_web_page_of_another_origin_is_refused(gateway, upstream, headers):
    async with gateway() as gw:
        relayed = await gw.request("POST", "/v1/x", headers=headers, body=b"{}")
        changing = await gw.request("POST", "/-/reload", headers=headers)

    assert (relayed.status, relayed.code) == (403, "forbidden")
    assert changing.status == 403
    assert upstream.hits == 0


async def test_an_allowed_origin_may_call(gateway):
    async with gateway(server={"allowed_origins": ["https://app.example"]}) as gw:
        page = [("Origin", "https://app.example"), ("Sec-Fetch-Site", "cross-site")]
        answer = await gw.request("POST", "/v1/x", headers=page, body=b"{}")

    assert answer.status == 200


@pytest.mark.parametrize("destination", ["document", "frame", "iframe"])
async def test_a_page_of_an_upstream_is_sandboxed(gateway, destination):
    async with gateway() as gw:
        navigation = [("Sec-Fetch-Dest", destination), ("Sec-Fetch-Site", "none")]
        answer = await gw.request("GET", "/v1/x", headers=navigation)

    assert "sandbox" in answer.values("content-security-policy")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
async def test_an_unknown_host_name_is_refused(gateway, upstream, host):
    async with gateway() as gw:
        relayed = await gw.request("GET", "/v1/x", headers=[("Host", host)])
        own = await gw.request("GET", "/-/calls", headers=[("Host", host)])

    assert (relayed.status, relayed.code, own.status) == (421, "bad_host", 421)
    assert upstream.hits == 0


@pytest.mark.parametrize("host", ["localhost", "[::1]:1", "192.0.2.7:8080", "gw.example"])
async def test_known_host_names_and_addresses_pass(gateway, host):
    async with gateway(server={"allowed_hosts": ["gw.example"]}) as gw:
        answer = await gw.request("GET", "/v1/x", headers=[("Host", host)])

    assert answer.status == 200


# -- bodies that are too large, and those that ask first


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_of_exactly_the_limit_is_relayed(gateway, upstream, is_chunked):
    framing = [("Transfer-Encoding", "chunked")] if is_chunked else []
    body = http1.chunked([b"x" * 600, b"x" * 400]) if is_chunked else b"x" * 1000
    async with gateway(server={"max_body_bytes": 1000}) as gw:
        answer = await gw.request("POST", "/v1/x", headers=framing, body=body)

    assert answer.status == 200
    assert len(upstream.request.body) == 1000


async def test_a_body_over_the_limit_is_refused_before_it_is_read(gateway, upstream):
    async with gateway(server={"max_body_bytes": 1000}) as gw:
        declared = await gw.send("POST", "/v1/x", headers=[("Content-Length", "1001")])
        await declared.read()
        framing = [("Transfer-Encoding", "chunked")]
        endless = await gw.send("POST", "/v1/x", headers=framing, body=http1.chunk(b"x" * 1001))
        await endless.read()
        calls = await gw.calls()

    for answer in (declared, endless):
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert answer.header("x-gateway-call-id") is None
    assert (upstream.hits, calls) == (0, [])


async def test_a_client_that_asks_first_is_told_to_go_on(gateway, upstream):
    async with gateway() as gw:
        ask = [("Expect", "100-continue"), ("Content-Length", "3")]
        sent = await gw.send("POST", "/v1/x", headers=ask)
        assert await sent.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert upstream.hits == 0

        await sent.write(b"abc")
        answer = await sent.read()

    assert answer.status == 200
    assert upstream.request.body == b"abc"
    assert upstream.request.header("expect") is None


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/v1/x", [("Content-Length", "1001")], 413),
        ("/v1/x", [("Content-Length", "5"), ("x-gateway-upstream", "nobody")], 404),
        ("/v1/%2e%2e/x", [("Content-Length", "5")], 400),
        ("/v1/x", [("Content-Length", "5"), ("x-gateway-priority", "10")], 400),
    ],
)
async def test_a_client_that_asks_first_is_spared_a_useless_upload(
    gateway, upstream, target, headers, status
):
    async with gateway(server={"max_body_bytes": 1000}) as gw:
        asked = [("Expect", "100-continue"), *headers]
        answer = await gw.request("POST", target, headers=asked)

    assert (answer.status, answer.interim) == (status, [])
    assert upstream.hits == 0
