"""Isolation: nothing of one exchange ever reaches another, whatever an upstream or a client does."""

import asyncio

import pytest

from tests import http1
from tests.steps import Answer, Gate, Request, held, raw, stream

FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


async def test_answers_never_mix(gateway, upstream):
    """Two hundred echoes at once, a part of them abandoned half way."""
    upstream.choose = lambda request: Answer(body=request.body * 50, chunks=[request.body] * 50)
    async with gateway(upstreams={"openai": {"max_in_flight": 20}}) as gw:
        bodies = [b"<%d>" % number for number in range(200)]
        sent = [await gw.send("POST", "/v1/echo", body=body) for body in bodies]
        for exchange in sent[::7]:
            exchange.hang_up()
        kept = [pair for at, pair in enumerate(zip(bodies, sent, strict=True)) if at % 7]
        answers = await asyncio.gather(*(exchange.read() for _, exchange in kept))
        recorded = [
            await gw.request("GET", f"/-/calls/{answer.call_id}/response") for answer in answers[:9]
        ]

    assert [answer.body for answer in answers] == [body * 50 for body, _ in kept]
    assert [one.body for one in recorded] == [answer.body for answer in answers[:9]]
    assert upstream.peak <= 20


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "while idle"])
async def test_bytes_an_upstream_sends_unasked_reach_nobody(gateway, upstream, pause):
    """An answer that nobody asked for is not the next call's."""
    gate = Gate()

    async def answer_twice(request: Request) -> None:
        await request.write(Answer(body=b"true").head() + b"true" + (b"" if pause else FORGED))
        if pause:
            await gate.wait_turn()
            await request.write(FORGED)

    upstream.script = [answer_twice]
    upstream.answer = Answer(body=b"honest")
    async with gateway() as gw:
        first = await gw.chat()
        gate.open()
        await gw.request("GET", "/-/healthy")
        second = await gw.chat()

    assert (first.status, first.body) == (200, b"true")
    assert (second.status, second.body) == (200, b"honest")
    assert len({request.connection.number for request in upstream.requests}) == 2


async def test_an_attempt_that_was_cut_short_leaves_no_connection_to_reuse(gateway, upstream):
    upstream.script = [held(Gate()), stream([b"data: 1\n\n", b"data: 2\n\n"], Gate())]
    async with gateway(upstreams={"openai": {"on_disconnect": "cancel"}}) as gw:
        for hits in (1, 2):
            sent = await gw.send_chat()
            await upstream.wait_hits(hits)
            sent.hang_up()
            await upstream.wait_closed(upstream.requests[-1])
        answer = await gw.chat()

    assert (answer.status, answer.body) == (200, b'{"ok":true}')
    assert len(upstream.connections) == 3


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + FORGED, 200),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + FORGED, 200),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            502,
        ),
        (b"HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", 502),
    ],
    ids=["hints", "continues", "switch", "two framings", "NUL", "huge field", "bad chunk"],
)
async def test_odd_answers_are_understood_or_refused(gateway, upstream, answer, status):
    upstream.answer = raw(answer)
    async with gateway(upstreams={"openai": {"retry": {"max_attempts": 1}}}) as gw:
        given = await gw.chat()
        call = await gw.call(given.call_id)

    assert given.status == status
    if status == 502:
        assert given.code == call["error"]["code"] == "upstream_broken"
    assert call["finished_at"] is not None


async def test_an_upstream_that_is_a_gateway_itself_keeps_its_names_to_itself(gateway, upstream):
    """The client must find its own call under `x-gateway-call-id`, not the next gateway's."""
    inner = [
        ("x-gateway-call-id", "call_00000000000000000000000000"),
        ("X-Gateway-Attempts", "9"),
    ]
    upstream.answer = Answer(headers=inner)
    async with gateway() as gw:
        answer = await gw.chat()
        calls = await gw.calls()

    assert answer.values("x-gateway-call-id") == [calls[0]["id"]]
    assert answer.values("x-gateway-attempts") == ["1"]


async def test_requests_sent_in_one_go_are_answered_in_turn(gateway, upstream):
    upstream.choose = lambda request: Answer(body=request.target.encode())
    async with gateway() as gw:
        sent = await gw.connect()
        heads = [
            http1.head(f"GET /v1/{number} HTTP/1.1", [("Host", "localhost")]) for number in range(3)
        ]
        await sent.write(b"".join(heads))
        bodies = []
        for number in range(3):
            sent.status, sent.body = 0, b""
            await sent.read_until(b"/v1/%d" % number)
            bodies.append(sent.body)

    assert bodies == [b"/v1/0", b"/v1/1", b"/v1/2"]


async def test_a_client_that_wants_its_connection_closed_gets_that(gateway):
    async with gateway() as gw:
        close = [("Connection", "close")]
        answer = await gw.request("GET", "/v1/x", headers=close)
        rest = await answer.reader.read()

    assert answer.header("connection") == "close"
    assert rest == b""


async def test_one_clients_bad_request_does_not_touch_anothers_call(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        for body in (b"{" * 5000, b'{"model":' + b"9" * 5000 + b"}", b"[" * 100_000):
            json_type = [("Content-Type", "application/json")]
            await gw.send("POST", "/v1/chat/completions", headers=json_type, body=body)
        await upstream.wait_hits(4)
        gate.open()
        answer = await sent.read()

    assert (answer.status, answer.complete) == (200, True)
