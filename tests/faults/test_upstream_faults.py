"""Every way in which the way to an upstream can fail: bounded, named, and nothing looks complete."""

import asyncio
import socket
from typing import Any

import pytest

from tests.faults.fault_proxy import Fault, FaultProxy, black_hole
from tests.steps import Answer, stream

BODY = b'{"object":"chat.completion","answer":"' + b"x" * 400 + b'"}'
EVENTS = [b'data: {"n":%d}\n\n' % n for n in range(40)]
ANSWERS = {
    "length": Answer(body=BODY),
    "chunked": Answer(chunks=[BODY[:100], BODY[100:300], BODY[300:]]),
    "stream": stream(EVENTS),
    "no body": Answer(204),
}
LIMITS = {"connect_s": 0.3, "first_byte_s": 0.3, "idle_s": 0.3, "total_s": 3}  # for what hangs
PATIENT = {"connect_s": 10, "first_byte_s": 10, "idle_s": 10, "total_s": 20}
BROKEN = {"upstream_broken", "upstream_unreachable"}
LATE = {"first_byte_timeout", "idle_timeout"}
CODES = {"cut": BROKEN, "reset": BROKEN, "half_close": BROKEN, "stall": LATE, "garbage": BROKEN}


def size(answer: Answer) -> int:
    """Bytes of *answer* on the wire."""
    if answer.status == 204:
        return len(answer.head())
    if answer.chunks is None:
        return len(answer.head()) + len(answer.body)
    framing = sum(len(b"%x\r\n\r\n" % len(piece)) + len(piece) for piece in answer.chunks)
    return len(answer.head()) + framing + len(b"0\r\n\r\n")


async def one_call(
    gateway: Any, url: str, timeouts: dict[str, float] = PATIENT, **said: Any
) -> tuple[Any, Any, Any]:
    """Return what the client got, the call's record, and the slots afterwards; one attempt."""
    table = {"base_url": f"{url}/v1", "retry": {"max_attempts": 1}, "timeouts": timeouts}
    async with gateway(upstreams={"openai": table}) as gw:
        exchange = await (await gw.send_chat(**said)).read()
        call = await gw.final(exchange.call_id)
        return exchange, call, gw.service.admission.statistics()


@pytest.mark.parametrize("then", list(CODES))
@pytest.mark.parametrize("where", ["before the head", "in the head", "at the last byte"])
@pytest.mark.parametrize("kind", list(ANSWERS))
async def test_an_answer_that_is_spoiled_never_looks_complete(gateway, upstream, kind, where, then):
    upstream.answer = answer = ANSWERS[kind]
    after = {"before the head": 0, "in the head": 11, "at the last byte": size(answer) - 1}[where]
    timeouts = LIMITS if then == "stall" else PATIENT
    async with FaultProxy(upstream.port, Fault(after=after, then=then)) as proxy:
        exchange, call, slots = await one_call(
            gateway, proxy.url, timeouts, stream=kind == "stream"
        )

    given_before = kind in ("stream", "chunked") and where == "at the last byte"
    assert call["status"] == "failed"
    assert call["error"]["code"] in CODES[then]
    assert not (call["response"] or {}).get("complete")
    assert slots.in_flight == 0
    if given_before and exchange.status == 200:
        assert not exchange.complete or b'"error"' in exchange.body  # an event stream says so
        assert b"[DONE]" not in exchange.body
    else:
        assert exchange.status in (502, 504)
        assert exchange.code == call["error"]["code"]


@pytest.mark.parametrize("kind", list(ANSWERS))
@pytest.mark.parametrize(
    "fault",
    [Fault(piece_bytes=1), Fault(delay_s=0.05), Fault(piece_bytes=50, pause_s=0.002)],
    ids=["bytewise", "delayed", "throttled"],
)
async def test_an_answer_that_is_only_slow_arrives_whole(gateway, upstream, kind, fault):
    upstream.answer = answer = ANSWERS[kind]
    async with FaultProxy(upstream.port, fault) as proxy:
        exchange, call, slots = await one_call(gateway, proxy.url, stream=kind == "stream")

    sent = b"" if answer.status == 204 else b"".join(answer.chunks or [answer.body])
    assert (exchange.status, exchange.body, exchange.complete) == (answer.status, sent, True)
    assert call["status"] == "succeeded"
    assert slots.in_flight == 0


@pytest.mark.parametrize("then", list(CODES))
async def test_a_spoiled_attempt_is_followed_by_another(gateway, upstream, then):
    upstream.answer = ANSWERS["length"]
    async with FaultProxy(upstream.port, script=[Fault(after=0, then=then)]) as proxy:
        tables = {"base_url": f"{proxy.url}/v1", "timeouts": LIMITS}
        async with gateway(upstreams={"openai": tables}) as gw:
            exchange = await gw.chat()
            call = await gw.final(exchange.call_id)

    assert (exchange.status, exchange.body) == (200, BODY)
    assert [each["outcome"] for each in call["attempts"]][1:] == ["answered"]
    assert call["attempts"][0]["outcome"] in ("broken", "timed_out", "unreachable")
    assert proxy.connections == 2


async def test_a_host_that_never_accepts_is_a_connect_timeout(gateway):
    with black_hole() as port:
        exchange, call, slots = await one_call(gateway, f"http://127.0.0.1:{port}", LIMITS)

    assert exchange.code == call["error"]["code"] == "connect_timeout"
    assert call["attempts"][0]["outcome"] == "timed_out"
    assert slots.in_flight == 0


async def test_a_port_where_nobody_listens_is_unreachable(gateway):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        exchange, call, _ = await one_call(gateway, f"http://127.0.0.1:{unused.getsockname()[1]}")

    assert exchange.code == "upstream_unreachable"
    assert call["attempts"][0]["outcome"] == "unreachable"


async def test_a_tls_handshake_that_stalls_is_a_connect_timeout(gateway, upstream):
    stalled = Fault(after=0, then="stall", swallow_request=True)
    async with FaultProxy(upstream.port, stalled) as proxy:
        exchange, _, slots = await one_call(gateway, f"https://127.0.0.1:{proxy.port}", LIMITS)

    assert exchange.code == "connect_timeout"
    assert slots.in_flight == 0


async def test_plain_bytes_instead_of_tls_are_unreachable_at_every_attempt(gateway, upstream):
    plain = Fault(after=0, then="garbage", swallow_request=True)
    async with FaultProxy(upstream.port, plain) as proxy:
        tables = {"base_url": f"https://127.0.0.1:{proxy.port}/v1", "timeouts": LIMITS}
        async with gateway(upstreams={"openai": tables}) as gw:
            exchange = await gw.chat()
            call = await gw.final(exchange.call_id)

    assert exchange.code == "upstream_unreachable"
    assert [each["outcome"] for each in call["attempts"]] == ["unreachable"] * proxy.connections
    assert 1 <= proxy.connections <= 4


async def test_faults_at_random_leave_one_final_record_each_and_no_slot_taken(gateway, upstream):
    upstream.answer = ANSWERS["length"]
    spoiled = [Fault(after=after, then=then) for after in (0, 11, 200) for then in CODES]
    async with FaultProxy(upstream.port, script=[*spoiled, *[Fault()] * 15, *spoiled]) as proxy:
        tables = {"base_url": f"{proxy.url}/v1", "max_in_flight": 6, "timeouts": LIMITS}
        async with gateway(upstreams={"openai": tables}) as gw:
            answers = await asyncio.gather(*(gw.chat() for _ in range(40)))
            calls = await gw.wait_calls(40, status="succeeded,failed")
            slots = gw.service.admission.statistics()

    assert sorted(each.call_id for each in answers) == sorted(each["id"] for each in calls)
    status = {each["id"]: each["status"] for each in calls}
    for each in answers:
        assert (status[each.call_id] == "succeeded") == (each.status == 200 and each.body == BODY)
    assert (slots.in_flight, slots.queued, slots.open_calls) == (0, 0, 0)
