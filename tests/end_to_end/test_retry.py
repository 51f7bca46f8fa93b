"""Retry: repeated where it is safe, paused as asked, and final where it is not."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.steps import JSON, Answer, Gate, cut, held, raw, reset, stream


def refusal(status, *headers, code=None):
    error = {"error": {"message": "no", "code": code}}
    return Answer(status, [*JSON, *headers], json.dumps(error).encode())


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
async def test_a_configured_status_is_tried_again(gateway, upstream, status):
    upstream.script = [status, 200]
    async with gateway() as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.header("x-gateway-attempts")) == (200, "2")
    assert answer.header("x-should-retry") is None
    assert [(a["number"], a["outcome"], a["status"]) for a in call["attempts"]] == [
        (1, "answered", status),
        (2, "answered", 200),
    ]
    assert call["attempts"][0]["backoff_s"] is not None
    assert upstream.requests[0].body == upstream.requests[1].body
    assert upstream.requests[0].headers == upstream.requests[1].headers


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 501])
async def test_any_other_status_is_final(gateway, upstream, status):
    upstream.script = [refusal(status)]
    async with gateway() as gw:
        answer = await gw.chat()

    assert (answer.status, upstream.hits) == (status, 1)
    assert answer.header("x-should-retry") == ("false" if status in (409, 501) else None)


async def test_the_last_answer_is_relayed_verbatim_and_stops_the_clients_own_retries(
    gateway, upstream
):
    last = Answer(503, [("X-Should-Retry", "true"), ("X-Last", "yes")], b"so sorry")
    upstream.script = [503, 503, 503, last]
    async with gateway() as gw:
        answer = await gw.chat()
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.body, answer.header("x-last")) == (503, b"so sorry", "yes")
    assert answer.values("x-should-retry") == ["false"]
    assert (answer.header("x-gateway-attempts"), upstream.hits) == ("4", 4)
    assert (call["status"], call["error"]["code"]) == ("failed", "upstream_error")
    assert call["response"]["status"] == 503


async def test_every_attempts_answer_is_kept(gateway, upstream):
    upstream.script = [Answer(503, body=b"first"), Answer(200, body=b"second")]
    async with gateway() as gw:
        answer = await gw.chat()
        kept = [
            await gw.request("GET", f"/-/calls/{answer.call_id}/response{which}")
            for which in ("?attempt=1", "?attempt=2", "")
        ]

    assert [(k.status, k.body) for k in kept] == [
        (503, b"first"),
        (200, b"second"),
        (200, b"second"),
    ]


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ([("retry-after-ms", "50")], 0.05),
        ([("Retry-After", "0.05")], 0.05),
        ([("Retry-After", "30"), ("retry-after-ms", "50")], 0.05),
        ([("Retry-After", "-5")], 0),
        ([("Retry-After", "soon")], 0),
        ([("retry-after-ms", "nan"), ("Retry-After", "inf")], 0),
        ([("Retry-After", format_datetime(datetime.now(UTC) - timedelta(days=1)))], 0),
    ],
)
async def test_a_pause_the_upstream_asks_for_is_kept_and_garbage_ignored(
    gateway, upstream, headers, pause_s
):
    upstream.script = [refusal(429, *headers), 200]
    async with gateway() as gw:
        answer = await gw.chat()

    first, second = upstream.requests
    assert answer.status == 200
    assert pause_s <= second.arrived_at - first.arrived_at < pause_s + 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(503, ("x-should-retry", "false")), {}),
        (refusal(429, code="insufficient_quota"), {}),
        (refusal(429, ("Retry-After", "301")), {}),
        (refusal(429, ("Retry-After", "10")), {"headers": [("x-gateway-timeout-s", "5")]}),
        (refusal(503), {"headers": [("x-gateway-max-attempts", "1")]}),
    ],
    ids=["told not to", "out of credit", "too long", "past the deadline", "asked for one"],
)
async def test_an_answer_that_waiting_cannot_better_is_final_at_once(
    gateway, upstream, answer, said
):
    upstream.script = [answer]
    async with gateway() as gw:
        given = await gw.chat(**said)

    assert (given.status, given.body) == (answer.status, answer.body)
    assert given.header("x-should-retry") == "false"
    assert upstream.hits == 1


@pytest.mark.parametrize(
    "step",
    [
        reset(),
        raw(b""),
        raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
        cut(Answer(body=b"0123456789"), after=5),
        reset(after=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"),
        cut(Answer(503, chunks=[b"0123456789"]), after=5),
    ],
    ids=["reset", "close", "half a head", "half a body", "reset in body", "half a 503"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_break_before_the_first_byte_went_out_is_tried_again(
    gateway, upstream, method, step
):
    upstream.script = [step, 200]
    async with gateway() as gw:
        answer = await gw.request(method, "/v1/x")
        call = await gw.call(answer.call_id)

    assert (answer.status, answer.body, answer.complete) == (200, b'{"ok":true}', True)
    assert [attempt["outcome"] for attempt in call["attempts"]] == ["broken", "answered"]
    assert upstream.hits == 2


async def test_a_stream_that_began_is_never_repeated(gateway, upstream):
    upstream.script = [cut(stream([b"data: 1\n\n"]), after=9), 200]
    async with gateway() as gw:
        answer = await gw.chat(stream=True)

    assert answer.body.startswith(b"data: 1\n\n")
    assert upstream.hits == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_nothing_is_resent_behind_the_journals_back(gateway, upstream, method):
    upstream.script = [200, reset(), 200]
    async with gateway() as gw:
        await gw.request("GET", "/v1/warm-up")
        answer = await gw.request(method, "/v1/x", body=b"x")
        call = await gw.call(answer.call_id)

    kept_alive, resent = upstream.requests[1:]
    assert kept_alive.connection is upstream.requests[0].connection
    assert resent.connection is not kept_alive.connection
    assert len(call["attempts"]) == 2


async def test_the_slot_is_free_during_the_pause(gateway, upstream):
    upstream.script = [refusal(503, ("retry-after-ms", "200000")), 200]
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        pausing = await gw.send_chat(headers=[("x-gateway-on-disconnect", "cancel")])
        await upstream.wait_idle()
        (call,) = await gw.wait_calls(1, status="queued")
        assert call["wait_reason"] == "backoff"

        answer = await gw.chat()
        pausing.hang_up()
        paused = await gw.final(call["id"])

    assert answer.status == 200
    assert (paused["status"], len(paused["attempts"])) == ("cancelled", 1)
    assert paused["attempts"][0]["backoff_s"] >= 200


async def test_two_calls_that_fail_do_not_mix_up_their_attempts(gateway, upstream):
    gate = Gate()
    seen = {}

    def choose(request):
        seen[request.target] = seen.get(request.target, 0) + 1
        return 503 if seen[request.target] < 3 else held(gate, Answer(body=request.target.encode()))

    upstream.choose = choose
    async with gateway(upstreams={"openai": {"retry": {"budget": 1}}}) as gw:
        sent = [await gw.send("GET", f"/v1/{number}") for number in range(10)]
        await upstream.wait_hits(30)
        gate.open()
        answers = await asyncio.gather(*(exchange.read() for exchange in sent))

    assert [answer.body for answer in answers] == [b"/v1/%d" % number for number in range(10)]
    assert {answer.header("x-gateway-attempts") for answer in answers} == {"3"}
