"""Relaying: what goes in comes out, byte for byte, in both directions."""

import gzip
import json

import pytest

from tests import http1
from tests.scripted_upstream import ScriptedUpstream
from tests.steps import SSE, Answer, Gate, Request, hang, stream

ADDED_TO_REQUESTS = {"host", "content-length"}
ADDED_TO_ANSWERS = {
    "content-length",
    "transfer-encoding",
    "x-gateway-call-id",
    "x-gateway-attempts",
}
ADDED_TO_ANSWERS |= {"server-timing"}
BINARY = bytes(range(256)) * 5


def only_request(upstream: ScriptedUpstream) -> Request:
    (request,) = upstream.requests
    return request


def without(headers: http1.Headers, names: set[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in names]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/org%2Fname?x=%20+y&&z=%C3%A9",
        "/v1//double//slashes",
        "/v1/a;b=1/c,d:e@f!$'()*",
        "/v1/%7Euser/%e2%82%ac/~user",
        "/v1/three...dots/.hidden/..name",
        "/v1/x?path=/../up&slash=%2f",
        "/v1/x?a?b",
    ],
)
async def test_path_and_query_travel_as_written(gateway, upstream, target):
    async with gateway() as gw:
        answer = await gw.request("GET", target)

    assert answer.status == 200
    assert only_request(upstream).target == target


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"])
async def test_every_method_travels(gateway, upstream, method):
    async with gateway() as gw:
        answer = await gw.request(method, "/v1/things", body=b"" if method == "GET" else b"x")

    assert answer.status == 200
    assert only_request(upstream).method == method


async def test_request_fields_keep_case_order_and_repetitions(gateway, upstream):
    sent = [
        ("X-Twice", "1"),
        ("ACCEPT", "*/*"),
        ("x-twice", "2"),
        ("openai-Beta", "a, b"),
        ("X-Empty", ""),
        ("X-Latin", "caf\xc3\xa9"),
        ("Idempotency-Key", "k-1"),
        ("x-stainless-retry-count", "0"),
        ("Prefer", "wait=5"),
        ("X-Forwarded-For", "203.0.113.9"),
    ]
    async with gateway() as gw:
        await gw.request("POST", "/v1/x", headers=sent, body=b"x")

    request = only_request(upstream)
    assert without(request.headers, ADDED_TO_REQUESTS) == sent
    assert request.header("host") == f"127.0.0.1:{upstream.port}"
    assert request.header("content-length") == "1"


async def test_answer_fields_keep_case_order_and_repetitions(gateway, upstream):
    sent = [
        ("x-Request-ID", "req-1"),
        ("Set-Cookie", "a=1; Path=/"),
        ("content-TYPE", "application/json"),
        ("set-cookie", "b=2"),
        ("X-RateLimit-Reset-Requests", "6m0s"),
        ("Date", "Thu, 01 Jan 2026 00:05:23 GMT"),
        ("Server", "cloudflare"),
        ("X-Latin", "caf\xc3\xa9"),
    ]
    upstream.answer = Answer(200, sent, b"{}", reason="Fine")
    async with gateway() as gw:
        answer = await gw.chat()

    assert (answer.status, answer.reason) == (200, "Fine")
    assert without(answer.headers, ADDED_TO_ANSWERS) == sent


async def test_a_relayed_answer_names_its_call_attempts_and_times(gateway):
    async with gateway() as gw:
        answer = await gw.chat()

    assert answer.call_id.startswith("call_")
    assert len(answer.call_id) == len("call_") + 26
    assert answer.header("x-gateway-attempts") == "1"
    timing = answer.header("server-timing")
    assert [part.strip().partition(";")[0] for part in timing.split(",")] == [
        "queue",
        "upstream",
        "total",
    ]


async def test_the_upstreams_own_server_timing_stays(gateway, upstream):
    upstream.answer = Answer(headers=[("server-timing", "cdn;dur=1")])
    async with gateway() as gw:
        answer = await gw.chat()

    assert answer.values("server-timing") == ["cdn;dur=1"]


@pytest.mark.parametrize(
    "body", [b"", b"{", BINARY, BINARY * 1000], ids=["empty", "one", "binary", "large"]
)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_bodies_travel_byte_for_byte(gateway, upstream, body, is_chunked):
    pieces = [body[i : i + 100_003] for i in range(0, len(body), 100_003)]
    upstream.answer = Answer(body=body, chunks=pieces if is_chunked else None)
    async with gateway() as gw:
        if is_chunked:
            framing = [("Transfer-Encoding", "chunked")]
            answer = await gw.request("POST", "/v1/x", headers=framing, body=http1.chunked(pieces))
        else:
            answer = await gw.request("POST", "/v1/x", body=body)

    assert only_request(upstream).body == body
    assert (answer.body, answer.complete) == (body, True)


async def test_compressed_bodies_stay_compressed(gateway, upstream):
    packed = gzip.compress(b'{"model":"gpt-4o-mini"}')
    encoded = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")]
    upstream.answer = Answer(200, encoded, packed)
    async with gateway() as gw:
        answer = await gw.request("POST", "/v1/x", headers=encoded, body=packed)

    request = only_request(upstream)
    assert (request.body, request.header("content-encoding")) == (packed, "gzip")
    assert request.header("accept-encoding") is None
    assert (answer.body, answer.header("content-encoding")) == (packed, "gzip")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_relayed_not_followed(gateway, upstream, status):
    upstream.answer = Answer(status, [("Location", "/elsewhere")], b"")
    async with gateway() as gw:
        answer = await gw.chat()

    assert (answer.status, answer.header("location")) == (status, "/elsewhere")
    assert upstream.hits == 1


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [("HEAD", 200, "11"), ("GET", 204, None), ("POST", 204, None), ("GET", 304, None)],
)
async def test_answers_without_a_body_end_with_their_head(
    gateway, upstream, method, status, length
):
    upstream.answer = status
    async with gateway() as gw:
        answer = await gw.request(method, "/v1/x")
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.body, answer.complete) == (status, b"", True)
    assert answer.header("content-length") == length
    assert answer.header("transfer-encoding") is None
    assert call["status"] == "succeeded"


async def test_an_empty_answer_is_a_complete_one(gateway, upstream):
    upstream.answer = Answer(body=b"")
    async with gateway() as gw:
        answer = await gw.chat()

    assert (answer.body, answer.header("content-length")) == (b"", "0")


async def test_a_body_framed_by_the_end_of_its_connection_is_reframed(gateway, upstream):
    upstream.answer = Answer(headers=[("Connection", "close")], body=b"abc")
    async with gateway() as gw:
        answer = await gw.chat()

    assert (answer.body, answer.complete) == (b"abc", True)
    assert answer.header("transfer-encoding") == "chunked"


async def test_multipart_uploads_travel_as_sent(gateway, upstream):
    parts = b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"
    body = parts + BINARY + b"\r\n--b--\r\n"
    multipart = [("Content-Type", "multipart/form-data; boundary=b")]
    async with gateway() as gw:
        await gw.request("POST", "/v1/files", headers=multipart, body=body)

    request = only_request(upstream)
    assert (request.header("content-type"), request.body) == (multipart[0][1], body)


async def test_one_connection_carries_many_calls(gateway, upstream):
    async with gateway() as gw:
        sent = await gw.connect()
        for number in range(3):
            await sent.write(http1.head(f"GET /v1/{number} HTTP/1.1", [("Host", "localhost")]))
            sent.status, sent.body = 0, b""
            await sent.read_until(b"true")

    assert [request.target for request in upstream.requests] == ["/v1/0", "/v1/1", "/v1/2"]


async def test_a_client_of_http_1_0_gets_an_answer_it_understands(gateway, upstream):
    upstream.answer = stream([b"data: 1\n\n", b"data: [DONE]\n\n"])
    async with gateway() as gw:
        sent = await gw.connect()
        await sent.write(b"GET /v1/x HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = await sent.read()

    assert answer.header("transfer-encoding") is None
    assert answer.body == b"data: 1\n\ndata: [DONE]\n\n"


# -- streams


@pytest.mark.parametrize(
    "headers", [SSE, [("Content-Type", "application/x-ndjson")], []], ids=["sse", "ndjson", "none"]
)
async def test_chunks_arrive_as_the_upstream_sends_them(gateway, upstream, headers):
    gate = Gate()
    chunks = [b"data: 1\n\n", b"data: \xf0\x9f", b"\x98\x80\n\n", b"data: [DONE]\n\n"]
    upstream.answer = stream(chunks, gate, headers)
    async with gateway() as gw:
        sent = await gw.send_chat(stream=True)
        await sent.read_head()
        assert (sent.status, sent.header("transfer-encoding")) == (200, "chunked")
        for number, chunk in enumerate(chunks, 1):
            gate.release()
            await sent.read_until(chunk)
            assert sent.body == b"".join(chunks[:number])
            assert upstream.in_flight == 1

        gate.open()
        await sent.read()

    assert (sent.body, sent.complete) == (b"".join(chunks), True)


async def test_a_large_plain_answer_arrives_while_the_upstream_still_sends(gateway, upstream):
    gate = Gate()
    half = b"x" * 400_000
    headers = [("Content-Type", "application/octet-stream"), ("Content-Length", "800000")]
    upstream.answer = Answer(200, headers, chunks=[half, half], gate=gate)
    async with gateway() as gw:
        sent = await gw.send_chat()
        gate.release()
        await sent.read_until(b"x" * 300_000)
        assert upstream.in_flight == 1

        gate.open()
        await sent.read()

    assert (sent.body, sent.header("content-length")) == (half * 2, "800000")


# -- bodies that are too large, and those that ask first


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_of_exactly_the_limit_is_relayed(gateway, upstream, is_chunked):
    framing = [("Transfer-Encoding", "chunked")] if is_chunked else []
    body = http1.chunked([b"x" * 600, b"x" * 400]) if is_chunked else b"x" * 1000
    async with gateway(server={"max_body_bytes": 1000}) as gw:
        answer = await gw.request("POST", "/v1/x", headers=framing, body=body)

    assert answer.status == 200
    assert len(only_request(upstream).body) == 1000


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
    assert only_request(upstream).body == b"abc"
    assert only_request(upstream).header("expect") is None


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


# -- what does not travel


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

    assert without(only_request(upstream).headers, ADDED_TO_REQUESTS) == [("X-Stays", "3")]
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

    assert without(only_request(upstream).headers, ADDED_TO_REQUESTS) == [("X-Stays", "1")]
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


# -- credentials

CREDENTIALS = [
    ("Authorization", "Bearer CANARY-1"),
    ("x-api-key", "CANARY-2"),
    ("api-key", "CANARY-3"),
    ("x-goog-api-key", "CANARY-4"),
]


@pytest.mark.parametrize(
    ("auth", "field"),
    [
        ("bearer", ("authorization", "Bearer sk-own")),
        ("x-api-key", ("x-api-key", "sk-own")),
        ("api-key", ("api-key", "sk-own")),
        ("x-goog-api-key", ("x-goog-api-key", "sk-own")),
    ],
)
async def test_the_upstreams_own_credential_replaces_the_clients(gateway, upstream, auth, field):
    async with gateway(upstreams={"openai": {"api_key": "sk-own", "auth": auth}}) as gw:
        await gw.request("GET", "/v1/x?key=left", headers=CREDENTIALS)

    request = only_request(upstream)
    fields = without(request.headers, ADDED_TO_REQUESTS)
    assert [(name.lower(), value) for name, value in fields] == [field]
    assert request.target == "/v1/x?key=left"


async def test_without_one_the_clients_credential_is_passed_through(gateway, upstream):
    async with gateway() as gw:
        await gw.request("GET", "/v1/x", headers=CREDENTIALS)

    assert without(only_request(upstream).headers, ADDED_TO_REQUESTS) == CREDENTIALS


@pytest.mark.parametrize(
    ("upstream_table", "target"),
    [
        ({"api_key": "own", "auth": "x-goog-api-key"}, "/v1beta/x?a=1&b=2"),
        ({}, "/v1beta/x?a=1&key=CANARY-5&b=2"),
    ],
    ids=["own", "passed"],
)
async def test_on_gemini_a_key_in_the_query_is_a_credential(
    gateway, upstream, upstream_table, target
):
    gemini = {"dialect": "gemini", "base_url": upstream.url, **upstream_table}
    async with gateway(upstreams={"gemini": gemini}) as gw:
        await gw.request("GET", "/v1beta/x?a=1&key=CANARY-5&b=2")

    assert only_request(upstream).target == target


async def test_no_credential_is_ever_written_down(gateway, upstream, tmp_path, capfd):
    upstream.answer = Answer(headers=[("Set-Cookie", "session=CANARY-6")])
    secrets = [*CREDENTIALS, ("Cookie", "s=CANARY-7"), ("Proxy-Authorization", "Basic CANARY-8")]
    names = ("key", "api_key", "access_token", "token", "sig", "API_KEY", "to%6ben")
    query = "&".join(f"{name}=CANARY-9" for name in names)
    async with gateway() as gw:
        answer = await gw.request("GET", f"/v1/x?{query}&a=1", headers=secrets)
        call = await gw.call(answer.call_id)
        listed = await gw.request("GET", "/-/calls?expand=all")
        given = await gw.request("GET", f"/-/calls/{answer.call_id}/response")
    written = b"".join(path.read_bytes() for path in tmp_path.glob("gateway.db*"))

    assert answer.header("set-cookie") == "session=CANARY-6"
    assert given.header("set-cookie") is None
    assert b"CANARY" not in written + listed.body + json.dumps(call).encode()
    assert "CANARY" not in "".join(capfd.readouterr())
    assert call["request"]["headers"]["Authorization"] == "[redacted]"
    assert call["request"]["headers"]["Cookie"] == "[redacted]"
    assert call["response"]["headers"]["Set-Cookie"] == "[redacted]"
    assert call["query"].endswith("&a=1")


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


async def test_a_silent_upstream_keeps_no_other_call_waiting(gateway, upstream):
    upstream.choose = lambda request: hang() if request.target == "/v1/slow" else 200
    async with gateway() as gw:
        await gw.send("GET", "/v1/slow")
        await upstream.wait_hits(1)
        answer = await gw.request("GET", "/v1/fast")

    assert answer.status == 200
