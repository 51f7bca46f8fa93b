"""`GET /-/calls` and `GET /-/calls/{id}`."""

import asyncio
import json
from dataclasses import replace

import pytest

from gateway.call import Attempt, Failure, OnDisconnect, Options, Outcome, Status, Usage, WaitReason
from tests.client import GatewayClient
from tests.recorded_api import OpenCalls
from tests.recorded_calls import T0, RecordedCalls, answered


async def test_a_call_is_shown_whole(api: GatewayClient, recorded_calls: RecordedCalls) -> None:
    busy = answered(
        1,
        status=503,
        body=b"busy",
        retry_after_s=2.0,
        backoff_s=2.5,
        headers=((b"content-type", b"text/plain"),),
    )
    done = answered(
        2,
        body=b'{"ok":true}',
        headers=(
            (b"Content-Type", b"application/json"),
            (b"Set-Cookie", b"secret"),
            (b"Via", b"1.1 a"),
            (b"via", b"1.1 b"),
        ),
    )
    call = recorded_calls.add(
        request=b'{"model":"gpt-4o-mini"}',
        request_headers=((b"Content-Type", b"application/json"), (b"Authorization", b"Bearer x")),
        query="a=1",
        attempts=[busy, done],
        answer=2,
        options=Options(priority=3, tags={"team": "search"}, fairness_key="tenant"),
        created_at=T0 + 0.123,
        first_byte_at=T0 + 1.25,
        finished_at=T0 + 2.5,
        queued_ms=12.3999,
        duration_ms=2377.0001,
        usage=Usage(input_tokens=21, output_tokens=180, total_tokens=201),
        client_gone=True,
    )

    assert await api.call(call.id) == {
        "object": "call",
        "id": call.id,
        "status": "succeeded",
        "wait_reason": None,
        "queue_position": None,
        "eta_s": None,
        "method": "POST",
        "path": "/v1/chat/completions",
        "query": "a=1",
        "model": "gpt-4o-mini",
        "stream": False,
        "upstream": "openai",
        "key": None,
        "priority": 3,
        "tags": {"team": "search"},
        "created_at": "2026-09-21T14:13:20.123Z",
        "started_at": "2026-09-21T14:13:21.000Z",
        "first_byte_at": "2026-09-21T14:13:21.250Z",
        "finished_at": "2026-09-21T14:13:22.500Z",
        "deadline_at": None,
        "queued_ms": 12.4,
        "duration_ms": 2377.0,
        "attempts_count": 2,
        "attempts": [
            {
                "number": 1,
                "upstream": "openai",
                "started_at": "2026-09-21T14:13:21.000Z",
                "first_byte_at": "2026-09-21T14:13:21.250Z",
                "finished_at": "2026-09-21T14:13:21.500Z",
                "outcome": "answered",
                "status": 503,
                "error": None,
                "retry_after_s": 2.0,
                "backoff_s": 2.5,
                "ambiguous": False,
                "content_type": "text/plain",
                "bytes": 4,
                "complete": True,
                "sha256": busy[0].sha256,
                "headers": {"content-type": "text/plain"},
            },
            {
                "number": 2,
                "upstream": "openai",
                "started_at": "2026-09-21T14:13:22.000Z",
                "first_byte_at": "2026-09-21T14:13:22.250Z",
                "finished_at": "2026-09-21T14:13:22.500Z",
                "outcome": "answered",
                "status": 200,
                "error": None,
                "retry_after_s": None,
                "backoff_s": None,
                "ambiguous": False,
                "content_type": "application/json",
                "bytes": 11,
                "complete": True,
                "sha256": done[0].sha256,
                "headers": {
                    "Content-Type": "application/json",
                    "Set-Cookie": "[redacted]",
                    "Via": "1.1 a, 1.1 b",
                },
            },
        ],
        "request": {
            "content_type": "application/json",
            "bytes": 23,
            "sha256": call.request.sha256,
            "headers": {"Content-Type": "application/json", "Authorization": "[redacted]"},
        },
        "response": {
            "status": 200,
            "content_type": "application/json",
            "bytes": 11,
            "sha256": done[0].sha256,
            "complete": True,
            "headers": {
                "Content-Type": "application/json",
                "Set-Cookie": "[redacted]",
                "Via": "1.1 a, 1.1 b",
            },
        },
        "usage": {"input_tokens": 21, "output_tokens": 180, "total_tokens": 201},
        "cost_usd": None,
        "error": None,
        "replay_of": None,
        "replays": [],
        "idempotency_key": None,
        "fairness_key": "tenant",
        "webhook": None,
        "client_waited": True,
        "client_gone": True,
        "survives_restart": False,
    }


async def test_a_call_without_an_answer_has_an_error_and_no_response(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    timeout = Failure(code="connect_timeout", message="no connection within 5 s")
    attempt = replace(
        answered(status=0)[0],
        outcome=Outcome.TIMED_OUT,
        status=None,
        failure=timeout,
        complete=False,
        headers=(),
    )
    call = recorded_calls.add(status=Status.FAILED, attempts=[(attempt, b"")], failure=timeout)
    shown = await api.call(call.id)
    error = {"code": "connect_timeout", "message": "no connection within 5 s"}

    assert shown["response"] is None
    assert shown["usage"] is None
    assert shown["error"] == error
    assert shown["attempts"][0]["error"] == error
    assert shown["attempts"][0]["status"] is None


async def test_the_attempt_in_flight_is_listed_without_an_outcome(
    api: GatewayClient, recorded_calls: RecordedCalls, open_calls: OpenCalls
) -> None:
    busy = answered(1, status=503)
    flying = Attempt(number=2, upstream="openai", started_at=T0 + 9)
    call = recorded_calls.add(
        status=Status.RUNNING, attempts=[busy, (flying, b"")], first_byte_at=T0 + 1.25
    )
    quiet = await api.call(call.id)
    flying.first_byte_at = T0 + 9.5
    open_calls.calls[call.id] = call
    speaking = await api.call(call.id)

    assert [attempt["number"] for attempt in quiet["attempts"]] == [1, 2]
    assert quiet["attempts"][1] == {
        "number": 2,
        "upstream": "openai",
        "started_at": "2026-09-21T14:13:29.000Z",
        "first_byte_at": None,
        "finished_at": None,
        "outcome": None,
        "status": None,
        "error": None,
        "retry_after_s": None,
        "backoff_s": None,
        "ambiguous": False,
        "content_type": None,
        "bytes": None,
        "complete": False,
        "sha256": None,
        "headers": None,
    }
    assert speaking["attempts"][1]["first_byte_at"] == "2026-09-21T14:13:29.500Z"
    assert speaking["first_byte_at"] == "2026-09-21T14:13:21.250Z"


async def test_an_open_call_shows_what_only_the_relay_knows(
    api: GatewayClient, recorded_calls: RecordedCalls, open_calls: OpenCalls
) -> None:
    call = recorded_calls.add(status=Status.QUEUED, wait_reason=WaitReason.SLOT)
    open_calls.calls[call.id] = replace(call, wait_reason=WaitReason.PAUSED)
    open_calls.positions[call.id] = 12
    open_calls.etas[call.id] = 7.2
    answer = await api.request("GET", f"/-/calls/{call.id}")
    (listed,) = await api.calls()

    for shown in (answer.json(), listed):
        assert tuple(
            shown[name] for name in ("status", "wait_reason", "queue_position", "eta_s")
        ) == ("queued", "paused", 12, 7.2)
    assert answer.header("retry-after") == "8"


async def test_the_record_says_whether_a_call_is_final(
    api: GatewayClient, recorded_calls: RecordedCalls, open_calls: OpenCalls
) -> None:
    """Neither a relay that is ahead of the record, nor one that is behind, changes the answer."""
    ahead = recorded_calls.add(status=Status.RUNNING)
    behind = recorded_calls.add()
    open_calls.calls[ahead.id] = replace(ahead, status=Status.SUCCEEDED)
    open_calls.calls[behind.id] = replace(behind, status=Status.RUNNING)
    open_calls.positions[behind.id] = 1

    assert (await api.call(ahead.id))["status"] == "running"
    assert (await api.call(behind.id))["status"] == "succeeded"
    assert (await api.call(behind.id))["queue_position"] is None


@pytest.mark.parametrize(
    ("changes", "survives"),
    [
        ({"status": Status.QUEUED}, False),
        ({"status": Status.QUEUED, "detached": True}, True),
        ({"status": Status.RUNNING, "options": Options(idempotency_key="k")}, True),
        ({"status": Status.RUNNING, "client_gone": True}, True),
        (
            {
                "status": Status.RUNNING,
                "client_gone": True,
                "on_disconnect": OnDisconnect.CANCEL,
            },
            False,
        ),
        ({"status": Status.QUEUED, "detached": True, "needs_secret": True}, False),
        ({"status": Status.FAILED, "detached": True}, False),
    ],
)
async def test_what_a_start_would_take_up_is_told(
    api: GatewayClient,
    recorded_calls: RecordedCalls,
    changes: dict[str, object],
    survives: bool,
) -> None:
    call = recorded_calls.add(**changes)

    assert (await api.call(call.id))["survives_restart"] is survives


async def test_an_unknown_call_is_not_found(api: GatewayClient) -> None:
    for path in ("/-/calls/call_x", "/-/calls/call_x/request", "/-/calls/call_x/response"):
        answer = await api.request("GET", path)
        assert (answer.status, answer.json()["code"]) == (404, "not_found")


async def test_the_list_is_the_newest_page_and_leads_to_the_next(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    calls = [recorded_calls.answer() for _ in range(3)]
    page = await api.api("GET", "/-/calls?limit=2")
    rest = await api.api("GET", f"/-/calls?limit=2&after={page['last_id']}")

    assert (page["object"], page["has_more"]) == ("list", True)
    assert [calls[2].id, calls[1].id] == [call["id"] for call in page["data"]]
    assert (page["first_id"], page["last_id"]) == (calls[2].id, calls[1].id)
    assert [calls[0].id] == [call["id"] for call in rest["data"]]
    assert not rest["has_more"]


async def test_an_empty_list_has_no_ids(api: GatewayClient) -> None:
    assert await api.api("GET", "/-/calls") == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
        "searched_back_to": None,
        "next_cursor": None,
    }


async def test_a_list_leaves_attempts_headers_and_hashes_out_unless_expanded(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    call = recorded_calls.answer()
    (narrow,) = await api.calls()
    (wide,) = await api.calls(expand="all")
    whole = await api.call(call.id)

    assert wide == {**whole, "preview": None}
    assert narrow.keys() == {*whole.keys(), "preview"} - {"attempts"}
    for part in ("request", "response"):
        assert narrow[part].keys() == whole[part].keys() - {"headers", "sha256"}


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("/-/calls?colour=red", "colour"),
        ("/-/calls?limit=0", "limit"),
        ("/-/calls?after=call_x", "after"),
        ("/-/calls?q=status:done", "status"),
        ("/-/calls?cursor=1", "cursor"),
        ("/-/calls/{id}?colour=red", "colour"),
        ("/-/calls/{id}?wait=soon", "wait"),
        ("/-/calls/{id}?wait=-1", "wait"),
        ("/-/calls/{id}?wait=nan", "wait"),
        ("/-/calls/{id}/response?attempt=0", "attempt"),
        ("/-/calls/{id}/response?attempt=x", "attempt"),
        ("/-/calls/{id}/request?attempt=1", "attempt"),
    ],
)
async def test_a_bad_parameter_is_named(
    api: GatewayClient, recorded_calls: RecordedCalls, target: str, named: str
) -> None:
    answer = await api.request("GET", target.format(id=recorded_calls.answer().id))

    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    assert named in answer.json()["detail"]


async def test_waiting_ends_when_the_call_is_final(
    api: GatewayClient, recorded_calls: RecordedCalls, open_calls: OpenCalls
) -> None:
    call = recorded_calls.add(status=Status.RUNNING)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(api.api("GET", f"/-/calls/{call.id}?wait=99999"))
        await open_calls.waiting.wait()
        recorded_calls.change(call, status="succeeded", version=1)
        open_calls.over.set()

    assert waiting.result()["status"] == "succeeded"
    assert open_calls.waited == [(call.id, 3600.0)]


async def test_nobody_waits_for_a_final_call(
    api: GatewayClient, recorded_calls: RecordedCalls, open_calls: OpenCalls
) -> None:
    call = recorded_calls.answer()
    await api.api("GET", f"/-/calls/{call.id}?wait=5")
    await api.request("GET", f"/-/calls/{call.id}/response?wait=5")

    assert open_calls.waited == []


async def test_an_unchanged_call_is_not_sent_again(
    api: GatewayClient, recorded_calls: RecordedCalls, open_calls: OpenCalls
) -> None:
    call = recorded_calls.add(status=Status.QUEUED, wait_reason=WaitReason.SLOT)
    open_calls.calls[call.id] = call
    open_calls.positions[call.id] = 2
    open_calls.etas[call.id] = 9.0
    target = f"/-/calls/{call.id}"

    async def ask(tag: str) -> tuple[int, str, bytes]:
        answer = await api.request("GET", target, headers=[("If-None-Match", tag)])
        return answer.status, answer.header("etag") or "", answer.body

    first = (await api.request("GET", target)).header("etag") or ""
    assert first.startswith('"')
    assert (304, first, b"") == await ask(first)
    assert (304, first, b"") == await ask(f'"other", {first}')
    open_calls.etas[call.id] = 8.0
    assert (304, first, b"") == await ask(first)

    open_calls.positions[call.id] = 1
    status, second, _ = await ask(first)
    assert (status, second != first) == (200, True)
    recorded_calls.change(call, status="succeeded", wait_reason=None, version=2)
    status, third, body = await ask(second)
    assert (status, third not in (first, second)) == (200, True)
    assert json.loads(body)["status"] == "succeeded"
    recorded_calls.add(replay_of=call.id)
    status, fourth, _ = await ask(third)
    assert (status, fourth != third) == (200, True)
