"""Errors the gateway makes itself: the dialect of the API, and the same code for machines."""

import json

import pytest

from tests.http1 import BROKEN
from tests.steps import Answer, Gate, cut, hang, held, raw, stream

OPENAI_KEYS = {"message", "type", "param", "code"}


@pytest.fixture
def upstreams(upstream):
    return {
        "openai": {},
        "claude": {"dialect": "anthropic"},
        "google": {"dialect": "gemini"},
    }


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/x", "/anything"])
async def test_openai_is_the_dialect_of_all_other_paths(gateway, path):
    async with gateway(server={"max_body_bytes": 10}) as gw:
        answer = await gw.request("POST", path, body=b"x" * 11)

    (error,) = answer.json().values()
    assert (answer.status, answer.header("content-type")) == (413, "application/json")
    assert set(error) == OPENAI_KEYS
    assert (error["type"], error["param"]) == ("invalid_request_error", None)
    assert error["code"] == answer.code == "body_too_large"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/batches", "/claude/v1/x"])
async def test_anthropic_paths_and_upstreams_speak_anthropic(gateway, upstreams, path):
    async with gateway(server={"max_body_bytes": 10}, upstreams=upstreams) as gw:
        answer = await gw.request("POST", path, body=b"x" * 11)

    body = answer.json()
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert (body["type"], body["error"]["type"]) == ("error", "request_too_large")
    assert body["error"]["message"]
    assert "request_id" in body


@pytest.mark.parametrize("path", ["/v1beta/models/g:generateContent", "/google/x"])
async def test_gemini_upstreams_speak_google(gateway, upstreams, path):
    async with gateway(server={"max_body_bytes": 10}, upstreams=upstreams) as gw:
        answer = await gw.request("POST", path, body=b"x" * 11)

    (error,) = answer.json().values()
    assert answer.code == "body_too_large"
    assert (error["code"], error["status"]) == (413, "INVALID_ARGUMENT")
    assert error["message"]


async def test_the_gateways_own_paths_answer_with_problem_details(gateway):
    async with gateway() as gw:
        answer = await gw.request("GET", "/-/calls/call_00000000000000000000000000")

    problem = answer.json()
    assert answer.header("content-type") == "application/problem+json"
    assert (answer.status, answer.code) == (404, "not_found")
    assert (problem["status"], problem["code"]) == (404, "not_found")
    assert {"type", "title", "detail"} <= set(problem)


async def test_every_error_of_the_gateways_own_says_so_to_machines(gateway):
    async with gateway(server={"max_body_bytes": 10}) as gw:
        answer = await gw.request("POST", "/v1/x", body=b"x" * 11)

    status = answer.header("proxy-status")
    assert status.startswith("gateway; error=")
    assert status.endswith('; details="body_too_large"')


async def test_an_upstreams_error_is_no_error_of_the_gateways(gateway, upstream):
    body = b'{"error": {"message":"bad  spacing"}}'
    upstream.answer = Answer(400, [("x-request-id", "r")], body)
    async with gateway() as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.body, answer.header("x-request-id")) == (400, body, "r")
    assert answer.header("proxy-status") is None
    assert answer.header("x-should-retry") is None
    assert (call["status"], call["error"]["code"]) == ("failed", "upstream_error")


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (raw(b""), 502, "upstream_broken"),
        (raw(b"nonsense\r\n\r\n"), 502, "upstream_broken"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"), 502, None),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), 502, None),
        (cut(Answer(body=b"0123456789"), after=5), 502, None),
        (hang(), 504, "first_byte_timeout"),
    ],
    ids=["nothing", "nonsense", "two lengths", "odd length", "cut", "silence"],
)
async def test_an_upstream_that_fails_is_told_with_its_own_code(
    gateway, upstream, step, status, code
):
    upstream.answer = step
    table = {"retry": {"max_attempts": 2}, "timeouts": {"first_byte_s": 0.05}}
    async with gateway(upstreams={"openai": table}) as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    code = code or "upstream_broken"
    assert (answer.status, answer.code) == (status, code)
    assert answer.json()["error"]["code"] == code
    assert answer.header("x-should-retry") == "false"
    assert answer.header("x-gateway-attempts") == "2"
    assert (call["status"], call["error"]["code"]) == ("failed", code)
    assert upstream.hits == 2


async def test_an_unreachable_upstream_is_told_apart(gateway, upstream):
    upstream.stop_listening()
    async with gateway() as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.code) == (502, "upstream_unreachable")
    assert answer.header("x-should-retry") == "false"
    assert [attempt["outcome"] for attempt in call["attempts"]] == ["unreachable"] * 4
    assert not any(attempt["ambiguous"] for attempt in call["attempts"])


async def test_a_busy_gateway_says_when_to_come_back(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    openai = {"openai": {"max_in_flight": 1}}
    async with gateway(upstreams=openai, limits={"max_queued": 0}) as gw:
        first = await gw.send_chat()
        await upstream.wait_hits(1)
        answer = await gw.chat()
        gate.open()
        await first.read()

    assert (answer.status, answer.code) == (503, "queue_full")
    assert 1 <= int(answer.header("retry-after")) <= 60
    assert 0 < float(answer.header("retry-after-ms")) <= 60_000
    assert answer.header("x-gateway-call-id") is None


# -- streams that break after they began


BROKEN_STREAM = [b'data: {"a":1}\n\n', b'data: {"a":2}\n\n']


@pytest.mark.parametrize(
    ("path", "name", "read"),
    [
        ("/openai/x", b"", lambda error: error["error"]["code"]),
        ("/claude/x", b"event: error\n", lambda error: error["type"] and "upstream_broken"),
        ("/google/x", b"", lambda error: error["error"]["status"] and "upstream_broken"),
    ],
)
async def test_a_broken_stream_ends_with_one_error_event_and_no_clean_end(
    gateway, upstream, upstreams, path, name, read
):
    upstream.answer = cut(stream(BROKEN_STREAM), after=len(b"".join(BROKEN_STREAM)))
    async with gateway(upstreams=upstreams) as gw:
        answer = await gw.request("POST", path, json={"stream": True})
        call = await gw.call(answer.call_id)
        kept = await gw.request("GET", f"/-/calls/{answer.call_id}/response")

    body = answer.body.removeprefix(b"".join(BROKEN_STREAM))
    assert answer.status == 200
    assert not answer.complete
    assert body.startswith(name + b"data: {")
    assert body.endswith(b"}\n\n")
    assert read(json.loads(body[len(name) + len(b"data: ") :])) == "upstream_broken"
    assert b"[DONE]" not in answer.body
    assert upstream.hits == 1
    assert (call["status"], call["error"]["code"]) == ("failed", "upstream_broken")
    assert call["response"]["complete"] is False
    assert call["attempts"][0]["outcome"] == "broken"
    assert (kept.body, kept.complete) == (b"".join(BROKEN_STREAM), False)


async def test_a_stream_that_breaks_inside_an_event_keeps_the_error_event_apart(gateway, upstream):
    upstream.answer = cut(stream([b'data: {"a":1}\n\n', b'data: {"half']), after=24)
    async with gateway() as gw:
        answer = await gw.chat(stream=True)

    events = answer.body.split(b"\n\n")
    assert events[0] == b'data: {"a":1}'
    assert json.loads(events[-2].removeprefix(b"data: "))["error"]["code"] == "upstream_broken"
    assert events[-1] == b""


@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "length"])
async def test_a_broken_plain_answer_is_cut_and_never_closed_cleanly(gateway, upstream, is_chunked):
    body = b"x" * 500_000
    whole = Answer(200, [("Content-Type", "text/plain")], body, [body] if is_chunked else None)
    upstream.answer = cut(whole, after=400_000)
    async with gateway() as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.complete) == (200, False)
    assert answer.body == body[: len(answer.body)]
    assert (call["status"], call["error"]["code"]) == ("failed", "upstream_broken")
    assert upstream.hits == 1


async def test_what_cannot_be_understood_as_http_is_refused_and_harms_nobody(gateway, upstream):
    requests = [
        b"NONSENSE\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\n\r\n",
        b"GET /v1/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v1/x HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    statuses = []
    async with gateway() as gw:
        for request in requests:
            sent = await gw.connect()
            await sent.write(request)
            try:
                statuses.append((await sent.read()).status)
            except BROKEN:
                statuses.append(0)
        answer = await gw.chat()

    assert all(status == 0 or 400 <= status < 600 for status in statuses), statuses
    assert answer.status == 200
    assert upstream.hits == 1
