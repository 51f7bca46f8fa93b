"""Relaying: what goes in comes out, byte for byte, in both directions."""

import gzip

import pytest

from tests import http1
from tests.client import ADDED_TO_ANSWERS, ADDED_TO_REQUESTS
from tests.http1 import without
from tests.steps import SSE, Answer, Gate, hang, stream

BINARY = bytes(range(256)) * 5


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
    assert upstream.request.target == target


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"])
async def test_every_method_travels(gateway, upstream, method):
    async with gateway() as gw:
        answer = await gw.request(method, "/v1/things", body=b"" if method == "GET" else b"x")

    assert answer.status == 200
    assert upstream.request.method == method


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

    request = upstream.request
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

    assert upstream.request.body == body
    assert (answer.body, answer.complete) == (body, True)


async def test_compressed_bodies_stay_compressed(gateway, upstream):
    packed = gzip.compress(b'{"model":"gpt-4o-mini"}')
    encoded = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")]
    upstream.answer = Answer(200, encoded, packed)
    async with gateway() as gw:
        answer = await gw.request("POST", "/v1/x", headers=encoded, body=packed)

    request = upstream.request
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

    request = upstream.request
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


async def test_a_silent_upstream_keeps_no_other_call_waiting(gateway, upstream):
    upstream.choose = lambda request: hang() if request.target == "/v1/slow" else 200
    async with gateway() as gw:
        await gw.send("GET", "/v1/slow")
        await upstream.wait_hits(1)
        answer = await gw.request("GET", "/v1/fast")

    assert answer.status == 200
