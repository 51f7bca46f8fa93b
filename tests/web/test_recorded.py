"""`…/request` and `…/response`: what was recorded, byte for byte."""

import asyncio
from dataclasses import replace

import pytest

from gateway.call import PART_BYTES, Attempt, Failure, Outcome, Status, WaitReason
from tests.client import GatewayClient
from tests.recorded_api import OpenCalls
from tests.recorded_calls import T0, RecordedCalls, answered

BINARY = bytes(range(256)) * (5 * PART_BYTES // 256) + b"\r\n0\r\n\r\n"
SAFE = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "sandbox",
}


def failed(code: str, **changes: object) -> tuple[Attempt, bytes]:
    """Return an attempt without an answer."""
    attempt, _ = answered(headers=(), complete=False, failure=Failure(code=code, message="why"))
    return replace(attempt, **{"outcome": Outcome.TIMED_OUT, "status": None, **changes}), b""


@pytest.mark.parametrize("body", [b"", b"{}", BINARY])
async def test_the_request_comes_back_byte_for_byte(
    api: GatewayClient, recorded_calls: RecordedCalls, body: bytes
) -> None:
    call = recorded_calls.add(request=body)
    answer = await api.request("GET", f"/-/calls/{call.id}/request")

    assert (answer.status, answer.complete) == (200, True)
    assert answer.body == body
    assert answer.header("content-type") == "application/octet-stream"
    assert answer.header("content-disposition") == f'attachment; filename="{call.id}.request"'
    assert {name: answer.header(name) for name in SAFE} == SAFE


@pytest.mark.parametrize("body", [b"", b"{}", BINARY])
async def test_the_answer_comes_back_as_the_upstream_gave_it(
    api: GatewayClient, recorded_calls: RecordedCalls, body: bytes
) -> None:
    call = recorded_calls.answer(
        body,
        status=418,
        headers=(
            (b"content-TYPE", b"text/html"),
            (b"X-Name", b"caf\xc3\xa9 \xff"),
            (b"Link", b"<a>"),
            (b"Link", b"<b>"),
            (b"ETag", b'"1"'),
        ),
    )
    answer = await api.request("GET", f"/-/calls/{call.id}/response")

    assert (answer.status, answer.complete) == (418, True)
    assert answer.body == body
    assert list(answer.headers) == [
        ("content-TYPE", "text/html"),
        ("X-Name", "caf\xc3\xa9 \xff"),
        ("Link", "<a>"),
        ("Link", "<b>"),
        ("ETag", '"1"'),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "sandbox"),
        ("x-gateway-call-id", call.id),
        ("x-gateway-attempts", "1"),
        ("Content-Length", str(len(body))),
    ]


async def test_cookies_framing_and_words_of_the_gateway_are_not_repeated(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    call = recorded_calls.answer(
        b"ok",
        headers=(
            (b"Set-Cookie", b"a=b"),
            (b"Content-Length", b"999"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Connection", b"keep-alive"),
            (b"Cache-Control", b"public"),
            (b"Content-Security-Policy", b"default-src *"),
            (b"X-Gateway-Pending", b"true"),
        ),
    )
    answer = await api.request("GET", f"/-/calls/{call.id}/response")

    assert answer.body == b"ok"
    assert answer.header("set-cookie") is None
    assert answer.header("transfer-encoding") is None
    assert answer.header("x-gateway-pending") is None
    assert answer.values("content-length") == ["2"]
    assert {name: ", ".join(answer.values(name)) for name in SAFE} == SAFE


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_ends_with_its_head(
    api: GatewayClient, recorded_calls: RecordedCalls, status: int
) -> None:
    call = recorded_calls.answer(b"", status=status)
    answer = await api.request("GET", f"/-/calls/{call.id}/response")

    assert (status, b"", True) == (answer.status, answer.body, answer.complete)
    assert answer.header("content-length") is None
    assert answer.header("transfer-encoding") is None


async def test_the_answer_of_a_head_call_is_whole_without_its_declared_length(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    call = recorded_calls.add(
        method="HEAD",
        request=b"",
        attempts=[answered(headers=((b"Content-Length", b"1420"),))],
        answer=1,
    )
    answer = await api.request("GET", f"/-/calls/{call.id}/response")

    assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert answer.header("content-length") == "0"


async def test_asking_by_head_gives_the_head(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    call = recorded_calls.answer(b"whole")
    cut = recorded_calls.answer(b"part", complete=False, outcome=Outcome.BROKEN)

    for one, status, length in ((call, 200, "5"), (cut, 200, None)):
        answer = await api.request("HEAD", f"/-/calls/{one.id}/response")
        assert (status, b"") == (answer.status, answer.body)
        assert answer.header("content-length") == length


@pytest.mark.parametrize("received", [b"", b"part", BINARY])
@pytest.mark.parametrize("declared", [None, len(BINARY) + 1])
async def test_an_incomplete_answer_is_cut_after_its_last_byte(
    api: GatewayClient, recorded_calls: RecordedCalls, received: bytes, declared: int | None
) -> None:
    headers = ((b"Content-Length", b"%d" % declared),) if declared else ()
    broken = answered(
        body=received, headers=headers, complete=False, outcome=Outcome.BROKEN, sha256=None
    )
    call = recorded_calls.add(
        status=Status.FAILED,
        attempts=[broken],
        answer=1,
        failure=Failure(code="upstream_broken", message="cut"),
    )
    answer = await api.request("GET", f"/-/calls/{call.id}/response")

    assert (200, received) == (answer.status, answer.body)
    assert not answer.complete
    assert answer.header("content-length") == (str(declared) if declared else None)


async def test_a_body_that_goes_while_it_is_read_is_cut(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    call = recorded_calls.answer(bytes(12 * 1_048_576))
    exchange = await api.send("GET", f"/-/calls/{call.id}/response")
    await exchange.read_head()
    recorded_calls.purge(call)
    await exchange.read()

    assert len(exchange.body) < 12 * 1_048_576
    assert not exchange.complete


async def test_an_answer_still_to_come_is_202_with_the_call(
    api: GatewayClient, recorded_calls: RecordedCalls, open_calls: OpenCalls
) -> None:
    call = recorded_calls.add(status=Status.QUEUED, wait_reason=WaitReason.SLOT)
    open_calls.calls[call.id] = call
    open_calls.etas[call.id] = 500.0
    answer = await api.request("GET", f"/-/calls/{call.id}/response")

    assert answer.status == 202
    assert answer.header("x-gateway-pending") == "true"
    assert answer.header("retry-after") == "60"
    assert answer.header("cache-control") == "no-store"
    assert answer.json() == await api.call(call.id)


async def test_waiting_for_an_answer_ends_with_it(
    api: GatewayClient, recorded_calls: RecordedCalls, open_calls: OpenCalls
) -> None:
    call = recorded_calls.add(status=Status.RUNNING, attempts=[answered(body=b"done")], answer=1)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(api.request("GET", f"/-/calls/{call.id}/response?wait=0.5"))
        await open_calls.waiting.wait()
        recorded_calls.change(call, status="succeeded")
        open_calls.over.set()

    assert (waiting.result().status, waiting.result().body) == (200, b"done")
    assert open_calls.waited == [(call.id, 0.5)]


async def test_every_attempts_answer_is_kept_by_itself(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    call = recorded_calls.add(
        status=Status.CANCELLED,
        attempts=[
            answered(1, status=503, body=b"busy"),
            failed("first_byte_timeout", number=2),
            failed("cancelled", number=3, outcome=Outcome.CANCELLED),
        ],
    )

    async def attempt(number: int) -> tuple[int, str, bytes]:
        answer = await api.request("GET", f"/-/calls/{call.id}/response?attempt={number}")
        code = answer.json()["code"] if answer.header("proxy-status") else ""
        return answer.status, code, b"" if code else answer.body

    assert await attempt(1) == (503, "", b"busy")
    assert await attempt(2) == (504, "first_byte_timeout", b"")
    assert await attempt(3) == (410, "cancelled", b"")
    assert await attempt(4) == (404, "not_found", b"")


async def test_an_attempt_in_flight_is_still_to_come_and_an_earlier_one_is_there(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    flying = Attempt(number=2, upstream="openai", started_at=T0)
    call = recorded_calls.add(
        status=Status.RUNNING, attempts=[answered(1, status=503, body=b"busy"), (flying, b"")]
    )
    path = f"/-/calls/{call.id}/response"

    assert [
        (await api.request("GET", path + asked)).status
        for asked in ("", "?attempt=1", "?attempt=2", "?attempt=3")
    ] == [202, 503, 202, 404]


@pytest.mark.parametrize(
    ("status", "code", "http_status"),
    [
        (Status.CANCELLED, "cancelled", 410),
        (Status.EXPIRED, "queue_timeout", 504),
        (Status.EXPIRED, "deadline_exceeded", 504),
        (Status.FAILED, "upstream_unreachable", 502),
        (Status.FAILED, "interrupted", 502),
        (Status.FAILED, "first_byte_timeout", 504),
    ],
)
async def test_a_call_without_an_answer_says_what_its_client_was_told(
    api: GatewayClient,
    recorded_calls: RecordedCalls,
    status: Status,
    code: str,
    http_status: int,
) -> None:
    call = recorded_calls.add(status=status, failure=Failure(code=code, message="why"))
    answer = await api.request("GET", f"/-/calls/{call.id}/response")

    assert http_status == answer.status
    assert answer.header("content-type") == "application/problem+json"
    assert answer.json()["code"] == code


async def test_a_cancelled_call_is_gone_even_with_an_answer(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    call = recorded_calls.add(
        status=Status.CANCELLED,
        attempts=[answered(body=b"half", complete=False, outcome=Outcome.CANCELLED)],
        answer=1,
    )
    whole = await api.request("GET", f"/-/calls/{call.id}/response")
    attempt = await api.request("GET", f"/-/calls/{call.id}/response?attempt=1")

    assert (whole.status, whole.json()["code"]) == (410, "cancelled")
    assert (attempt.status, attempt.body, attempt.complete) == (200, b"half", False)


@pytest.mark.parametrize("what", ["request", "response", "response?attempt=1"])
async def test_what_retention_removed_is_gone(
    api: GatewayClient, recorded_calls: RecordedCalls, what: str
) -> None:
    call = recorded_calls.answer(b"answer")
    recorded_calls.purge(call)
    answer = await api.request("GET", f"/-/calls/{call.id}/{what}")

    assert (answer.status, answer.json()["code"]) == (410, "gone")


async def test_an_empty_body_is_never_gone(
    api: GatewayClient, recorded_calls: RecordedCalls
) -> None:
    call = recorded_calls.add(request=b"", attempts=[answered(body=b"")], answer=1)
    recorded_calls.purge(call)

    for what in ("request", "response"):
        answer = await api.request("GET", f"/-/calls/{call.id}/{what}")
        assert (answer.status, answer.body) == (200, b"")
