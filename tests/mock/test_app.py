"""Paths, dialects, and what is refused."""

import asyncio
import gzip
import hashlib

import pytest

from gateway.mock.app import MAX_BODY_BYTES
from gateway.mock.settings import MockSettings

OPENAI_ERROR = {"message", "type", "param", "code"}


@pytest.mark.parametrize("prefix", ["/v1", ""])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/chat/completions", "chat.completion"),
        ("/responses", "response"),
        ("/embeddings", "list"),
    ],
)
async def test_paths_work_with_and_without_v1(mock, prefix, path, kind):
    """A base_url of "mock:" has no path, so the gateway keeps /v1; other clients may not send it."""
    async with mock() as api:
        answer = await api.ask(prefix + path, model="m", input="hello")

    assert answer.json()["object"] == kind
    assert answer.json()["model"] == "m"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_errors_speak_the_dialect_of_their_path(mock, status):
    async with mock() as api:
        openai = await api.ask("/v1/chat/completions", x_mock=f"status={status}")
        anthropic = await api.ask("/v1/messages", x_mock=f"status={status}")

    assert openai.status == anthropic.status == status
    assert set(openai.json()["error"]) == OPENAI_ERROR
    assert anthropic.json()["type"] == "error"
    assert anthropic.json()["request_id"] == anthropic.header("request-id")
    assert openai.header("x-request-id").startswith("req_")


async def test_an_overloaded_anthropic_is_529(mock):
    async with mock() as api:
        answer = await api.ask("/v1/messages", x_mock="status=529")

    assert answer.status == 529
    assert answer.json()["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/models", "/anything"]
)
async def test_a_bad_x_mock_header_is_told_at_once(mock, path):
    async with mock(latency_s=3600) as api:
        answer = await api.ask(path, x_mock="status=503, latncy_s=2")

    assert answer.status == 400
    assert answer.json()["error"]["message"].startswith("x-mock: latncy_s: unknown key")


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff", gzip.compress(b"{}", mtime=0)])
async def test_a_body_that_is_no_json_object_is_refused(mock, body):
    async with mock() as api:
        answer = await api.request("POST", "/v1/messages", body=body)

    assert answer.status == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_failure_that_is_wanted_does_not_look_at_the_body(mock):
    async with mock() as api:
        answer = await api.request(
            "POST", "/v1/responses", headers=[("x-mock", "status=503")], body=b"{"
        )

    assert answer.status == 503


async def test_a_body_larger_than_any_is_refused(mock):
    async with mock() as api:
        answer = await api.request("POST", "/v1/responses", body=bytes(MAX_BODY_BYTES + 1))

    assert answer.status == 413
    assert set(answer.json()["error"]) == OPENAI_ERROR


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
async def test_any_other_request_comes_back_as_an_echo(mock, method):
    body = bytes(range(256))
    async with mock() as api:
        answer = await api.request(
            method, "/v1/a%2Fb/../c?x=%20&x=2", headers=[("X-Custom", "1")], body=body
        )

    echo = answer.json()["echo"]
    assert echo["method"] == method
    assert (echo["path"], echo["query"]) == ("/v1/a%2Fb/../c", "x=%20&x=2")
    assert (echo["bytes"], echo["sha256"]) == (256, hashlib.sha256(body).hexdigest())
    assert ["X-Custom", "1"] in echo["headers"]


async def test_a_compressed_body_is_echoed_as_it_came(mock):
    body = gzip.compress(b"hello" * 1000)
    async with mock() as api:
        answer = await api.request(
            "POST", "/upload", headers=[("Content-Encoding", "gzip")], body=body
        )

    assert answer.json()["echo"]["bytes"] == len(body)


async def test_an_echo_holds_no_credential(mock):
    """The gateway records answers, and what it records must hold none."""
    names = ("Authorization", "x-api-key", "API-Key", "x-goog-api-key", "x-gateway-key", "Cookie")
    async with mock() as api:
        answer = await api.request(
            "GET",
            "/x?key=hunter22&a=1&Token=hunter22&sig=hunter22",
            headers=[(name, "hunter22") for name in names],
        )

    assert b"hunter22" not in answer.body
    assert answer.json()["echo"]["query"] == "key=[redacted]&a=1&Token=[redacted]&sig=[redacted]"


async def test_a_failing_share_really_fails(mock):
    async with mock(failure_rate=1, failures=("500",)) as api:
        answers = [await api.ask() for _ in range(3)]

    assert [answer.status for answer in answers] == [500, 500, 500]


async def test_new_settings_hold_from_the_next_request_on(mock):
    async with mock(tokens=3) as api:
        before = await api.ask()
        api.live.current = MockSettings(latency_s=0, tokens=5)
        after = await api.ask()

    assert [answer.json()["usage"]["completion_tokens"] for answer in (before, after)] == [3, 5]


async def test_the_same_seed_gives_the_same_answers(mock):
    bodies = []
    for _ in range(2):
        async with mock() as api:
            bodies.append(
                [(await api.ask(path)).body for path in ("/v1/messages", "/v1/responses")]
            )

    assert bodies[0] == bodies[1]


async def test_slow_requests_are_slow_together(mock):
    loop = asyncio.get_running_loop()
    async with mock(latency_s=0.1) as api:
        began = loop.time()
        answers = await asyncio.gather(*(api.ask() for _ in range(100)))
        took_s = loop.time() - began

    assert {answer.status for answer in answers} == {200}
    assert took_s < 100 * 0.1 / 2
