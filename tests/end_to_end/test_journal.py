"""The journal: every call is there, whole, before anybody can know of it."""

import hashlib
import json
import re
import sqlite3
from datetime import datetime

import pytest

from tests import gateway_process as processes
from tests.http1 import chunked
from tests.steps import SSE, Answer, Gate, held, stream

CALL_KEYS = {
    "object", "id", "status", "wait_reason", "queue_position", "eta_s", "method",
    "path", "query", "model", "stream", "upstream", "key", "priority",
    "tags", "created_at", "started_at", "first_byte_at", "finished_at", "deadline_at", "queued_ms",
    "duration_ms", "attempts", "request", "response", "usage", "cost_usd", "error",
    "replay_of", "replays", "idempotency_key", "fairness_key", "webhook", "client_waited", "client_gone",
    "survives_restart",
}  # fmt: skip
ATTEMPT_KEYS = {
    "number", "upstream", "started_at", "first_byte_at", "finished_at", "outcome", "status",
    "error", "retry_after_s", "backoff_s", "ambiguous",
}  # fmt: skip
COMPLETION = (
    b'{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini","choices":[],'
    b'"usage":{"prompt_tokens":21,"completion_tokens":180,"total_tokens":201}}'
)
LARGE = bytes(range(256)) * 4000


async def test_a_call_says_everything_about_itself(gateway, upstream):
    upstream.script = [Answer(503), Answer(body=COMPLETION)]
    sent = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "é"}]}
    body = json.dumps(sent).encode()
    headers = [("Content-Type", "application/json"), ("x-gateway-tags", "team=search")]
    async with gateway() as gw:
        path = "/v1/chat/completions"
        answer = await gw.request("POST", f"{path}?a=1", headers=headers, body=body)
        call = await gw.call(answer.call_id)

    assert call.keys() >= CALL_KEYS
    assert call["object"] == "call"
    assert re.fullmatch("call_[0-9A-HJKMNP-TV-Z]{26}", call["id"])
    assert (call["method"], call["path"], call["query"]) == ("POST", path, "a=1")
    assert (call["model"], call["stream"], call["upstream"]) == ("gpt-4o-mini", False, "openai")
    assert (call["status"], call["wait_reason"], call["error"]) == ("succeeded", None, None)
    assert (call["priority"], call["tags"], call["key"]) == (5, {"team": "search"}, None)
    assert call["usage"] == {"input_tokens": 21, "output_tokens": 180, "total_tokens": 201}
    assert (call["client_waited"], call["client_gone"]) == (True, False)
    assert call["request"] | {"headers": None} == {
        "content_type": "application/json",
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "headers": None,
    }
    assert call["response"] | {"headers": None} == {
        "status": 200,
        "content_type": "application/json",
        "bytes": len(COMPLETION),
        "sha256": hashlib.sha256(COMPLETION).hexdigest(),
        "complete": True,
        "headers": None,
    }
    assert [attempt.keys() >= ATTEMPT_KEYS for attempt in call["attempts"]] == [True, True]
    assert [attempt["status"] for attempt in call["attempts"]] == [503, 200]
    times = [call[f"{name}_at"] for name in ("created", "started", "first_byte", "finished")]
    assert times == sorted(times)
    for time in times:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
        assert datetime.fromisoformat(time).tzinfo is not None
    assert 0 <= call["queued_ms"] <= call["duration_ms"]


@pytest.mark.parametrize("body", [b"", b"\0\xff\r\n", LARGE], ids=["empty", "binary", "large"])
async def test_request_and_answer_are_kept_byte_for_byte(gateway, upstream, body):
    answered = [
        ("Content-Type", "text/odd"),
        ("X-Twice", "1"),
        ("x-twice", "2"),
        ("Set-Cookie", "a"),
    ]
    upstream.answer = Answer(201, answered, body[::-1])
    async with gateway() as gw:
        answer = await gw.request("POST", "/v1/x", body=body)
        request = await gw.request("GET", f"/-/calls/{answer.call_id}/request")
        response = await gw.request("GET", f"/-/calls/{answer.call_id}/response")

    assert (request.status, request.body) == (200, body)
    assert (response.status, response.body, response.complete) == (201, body[::-1], True)
    assert response.header("content-type") == "text/odd"
    assert response.values("x-twice") == ["1", "2"]
    assert response.values("set-cookie") == []
    assert response.header("x-content-type-options") == "nosniff"
    assert response.header("cache-control") == "no-store"
    assert response.header("content-security-policy") == "sandbox"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("POST", Answer()),
        ("POST", stream([b"data: 1\n\n", b"data: [DONE]\n\n"])),
        ("POST", Answer(body=LARGE)),
        ("HEAD", Answer()),
        ("POST", Answer(204)),
        ("POST", Answer(400)),
    ],
    ids=["plain", "stream", "large", "head", "204", "400"],
)
async def test_no_answer_ends_before_its_record_does(gateway, upstream, method, answer):
    upstream.answer = answer
    async with gateway() as gw:
        given = await gw.request(method, "/v1/x")
        row = rows(gw, "SELECT status, finished_ms IS NOT NULL, complete FROM calls")

    assert given.complete
    assert row == [("failed" if answer.status == 400 else "succeeded", 1, 1)]


async def test_no_upstream_sees_a_byte_before_the_call_is_written(gateway, upstream):
    seen = []
    async with gateway() as gw:

        def choose(request):
            seen.append(rows(gw, "SELECT status, open_attempt, request_bytes FROM calls"))
            seen.append(rows(gw, "SELECT data FROM parts WHERE attempt = 0"))
            return 503 if request.number == 1 else 200

        upstream.choose = choose
        await gw.request("POST", "/v1/x", body=b"abc")

    first, body, second, _ = seen
    assert (first, body) == ([("running", 1, 3)], [(b"abc",)])
    assert second == [("running", 2, 3)]


def rows(gw, sql):
    """Read the file as another process would."""
    with sqlite3.connect(f"file:{gw.db}?mode=ro", uri=True) as connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


# -- what a call is made of


@pytest.mark.parametrize(
    ("body", "path", "is_stream"),
    [
        (b'{"stream": true}', "/v1/x", True),
        (b'{"stream": false}', "/v1/x", False),
        (b'{"a": {"stream": true}}', "/v1/x", False),
        (b'{"stream": "true"}', "/v1/x", False),
        (b"{}", "/v1beta/models/gemini-pro:streamGenerateContent", True),
        (b"[1]", "/v1/x", False),
    ],
)
async def test_a_streamed_call_is_known_by_its_request(gateway, body, path, is_stream):
    json_type = [("Content-Type", "application/json")]
    async with gateway() as gw:
        answer = await gw.request("POST", path, headers=json_type, body=body)
        call = await gw.call(answer.call_id)

    assert call["stream"] is is_stream


@pytest.mark.parametrize(
    ("dialect", "headers", "body", "usage"),
    [
        ("openai", SSE, b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n', (1, 2)),
        ("anthropic", (), b'{"usage":{"input_tokens":3,"output_tokens":4}}', (3, 4)),
        (
            "gemini",
            (),
            b'{"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":6}}',
            (5, 6),
        ),
    ],
)
async def test_tokens_are_read_from_answers_of_every_dialect(
    gateway, upstream, dialect, headers, body, usage
):
    json_type = [("Content-Type", "application/json")]
    upstream.answer = Answer(200, headers or json_type, body, [body] if headers else None)
    async with gateway(upstreams={"openai": {"dialect": dialect}}) as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    assert (call["usage"]["input_tokens"], call["usage"]["output_tokens"]) == usage


async def test_a_body_that_came_in_chunks_is_kept_whole(gateway, upstream):
    framing = [("Transfer-Encoding", "chunked")]
    pieces = [LARGE, b"x", LARGE[:300_000]]
    upstream.answer = Answer(chunks=pieces)
    async with gateway() as gw:
        sent = await gw.request("POST", "/v1/x", headers=framing, body=chunked(pieces))
        request = await gw.request("GET", f"/-/calls/{sent.call_id}/request")
        response = await gw.request("GET", f"/-/calls/{sent.call_id}/response")

    assert request.body == response.body == sent.body == b"".join(pieces)


# -- the file


async def test_a_second_gateway_on_the_same_journal_refuses_to_start(gateway_process, tmp_path):
    async with gateway_process() as gw:
        config = str(tmp_path / "config.toml")
        code, out, err = await processes.run("run", "--config", config, "--port", "0")
        answer = await gw.chat()

    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert f"{tmp_path / 'gateway.db'} is in use" in err
    assert str(gw.process.pid) in err
    assert answer.status == 200


async def test_a_restart_finds_every_call(gateway_process, upstream):
    async with gateway_process() as gw:
        first = await gw.chat()
        gw.terminate()
        assert await gw.wait() == 0
    async with gateway_process() as gw:
        second = await gw.chat()
        calls = await gw.calls()

    assert [call["id"] for call in calls] == [second.call_id, first.call_id]


async def test_what_a_crash_left_open_ends_as_interrupted(gateway_process, upstream):
    upstream.answer = held(Gate())
    async with gateway_process(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        await gw.send_chat()
        await upstream.wait_hits(1)
        await gw.send_chat()
        await gw.wait_calls(1, status="queued")
        gw.kill()
        await gw.wait()
    upstream.answer = 200
    async with gateway_process() as gw:
        queued, running = [await gw.call(call["id"]) for call in await gw.calls()]
        told = await gw.request("GET", f"/-/calls/{running['id']}/response")

    for call in (queued, running):
        assert (call["status"], call["error"]["code"]) == ("failed", "interrupted")
    (attempt,) = running["attempts"]
    assert (attempt["outcome"], attempt["ambiguous"]) == ("interrupted", True)
    assert queued["attempts"] == []
    assert (told.status, told.code) == (502, "interrupted")
    assert upstream.hits == 1


async def test_a_journal_that_vanishes_stops_new_calls_and_no_answer(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        gw.db.unlink()
        while (await gw.request("GET", "/-/ready")).status == 200:
            pass
        refused = await gw.chat()
        gate.open()
        answer = await sent.read()

    assert (refused.status, refused.code) == (503, "journal_unavailable")
    assert refused.header("x-gateway-call-id") is None
    assert 1 <= int(refused.header("retry-after")) <= 60
    assert (answer.status, answer.complete) == (200, True)


async def test_every_durability_works(gateway):
    async with gateway(journal={"durability": "power-loss"}) as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    assert call["status"] == "succeeded"
