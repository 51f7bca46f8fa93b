"""Reading a request: what is refused by its head alone, and what becomes of the rest."""

import gzip
import json
import zlib
from typing import Any

import pytest
from aiohttp import HttpVersion10, HttpVersion11, StreamReader
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import Call, OnDisconnect
from gateway.config import Config
from gateway.errors import BadRequest, BodyTooLarge, UnknownUpstream
from gateway.web import request as reading
from gateway.web.arriving import Arrival, Arriving

NOW = 1_800_000_000.0
HOST = {"Host": "gw:80"}


class Body(StreamReader):
    """A request body that says how much of it was asked for."""

    def __init__(self, *pieces: bytes) -> None:
        self.left = list(pieces)
        self.reads = 0

    async def readany(self) -> bytes:
        self.reads += 1
        return self.left.pop(0) if self.left else b""

    def at_eof(self) -> bool:
        return not self.left

    def is_eof(self) -> bool:
        return not self.left


def asked(
    target: str = "/v1/x",
    *pieces: bytes,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    version: Any = HttpVersion11,
) -> Any:
    body = Body(*pieces)
    request = make_mocked_request(
        method, target, headers={**HOST, **(headers or {})}, version=version, payload=body
    )
    return request, body


def config(upstream: dict[str, Any] | None = None, **server: Any) -> Config:
    table = {"base_url": "https://api.example/v1", **(upstream or {})}
    other = {"base_url": "https://other.example", "dialect": "gemini", "api_key": "sk-ours"}
    return Config(server=server, upstreams={"openai": table, "other": other})


def arrival() -> Arrival:
    return Arriving(lambda: 2**20).body()


async def read(request: Any, settings: Config | None = None) -> Call:
    path, query = reading.split_target(request)
    return await reading.read_call(
        request,
        path,
        query,
        settings=settings or config(),
        client_hash=lambda credential: f"hash of {credential.decode()}",
        now=NOW,
        next_seq=lambda: 7,
        new_id=lambda: "call_7",
        arrival=arrival(),
    )


# -- the target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v1/x?a=1?b=2", ("/v1/x", "a=1?b=2")),
        ("/v1/x?", ("/v1/x", "")),
        ("http://gw:80/v1/x?a", ("/v1/x", "a")),
        ("HTTPS://GW:80/v1/x", ("/v1/x", "")),
        ("http://gw:80", ("/", "")),
        ("//gw:80/x", ("//gw:80/x", "")),
    ],
)
def test_a_target_is_path_and_query_as_they_stand(target, expected):
    request, _ = asked()
    request._message = request._message._replace(path=target)

    assert reading.split_target(request) == expected


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "gw:80",
        "http://other:80/v1/x",
        "http://gw/v1/x",
        "http://user@gw:80/v1/x",
        "ftp://gw:80/v1/x",
        "gw:80/v1/x",
        "v1/x",
        "",
        "/v1/..#x",
        "/v1/x?a#b",
        "http://gw:80/-/calls",
    ],
)
def test_another_form_or_authority_is_refused(target):
    request, _ = asked()
    request._message = request._message._replace(path=target)

    with pytest.raises(BadRequest):
        reading.split_target(request)


# -- refused by the head


@pytest.mark.parametrize(
    ("target", "headers", "error"),
    [
        ("/v1/%2e%2e/x", {}, BadRequest),
        ("/v1/x", {"x-gateway-priority": "10"}, BadRequest),
        ("/v1/x", {"x-gateway-upstream": "nobody"}, UnknownUpstream),
        ("/v1/x", {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket"}, BadRequest),
        ("/v1/x", {"Content-Length": "101"}, BodyTooLarge),
    ],
)
async def test_what_the_head_tells_is_refused_before_the_body_is_read(target, headers, error):
    request, body = asked(target, b"{}", headers={"Content-Length": "2", **headers})

    with pytest.raises(error):
        await read(request, config(max_body_bytes=100))
    assert body.reads == 0


# -- the body


@pytest.mark.parametrize("sizes", [[100], [60, 40], [1] * 100, []])
async def test_a_body_up_to_the_bound_is_whole(sizes):
    pieces = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
    request, _ = asked("/v1/x", *pieces, headers={"Transfer-Encoding": "chunked"})

    assert await reading.read_body(request, 100, arrival()) == b"".join(pieces)


async def test_no_more_than_the_bound_is_ever_held():
    request, body = asked("/v1/x", *[b"x" * 40] * 10, headers={"Transfer-Encoding": "chunked"})

    with pytest.raises(BodyTooLarge, match="100"):
        await reading.read_body(request, 100, arrival())
    assert body.reads == 3


@pytest.mark.parametrize(
    ("version", "expect", "told"),
    [
        (HttpVersion11, "100-continue", True),
        (HttpVersion11, "100-Continue", True),
        (HttpVersion11, "something else", False),
        (HttpVersion10, "100-continue", False),
    ],
)
async def test_a_client_that_asks_first_is_told_to_go_on_when_its_body_is_wanted(
    version, expect, told
):
    headers = {"Expect": expect, "Content-Length": "2"}
    request, _ = asked("/v1/x", b"{}", headers=headers, version=version)
    written = []

    async def write(data: bytes) -> None:
        written.append(data)

    request.writer.write = write

    assert await reading.read_body(request, 100, arrival()) == b"{}"
    assert written == [b"HTTP/1.1 100 Continue\r\n\r\n"] * told


# -- model and stream


@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        (b'{"model":"gpt-4o","stream":true}', "gpt-4o", True),
        (b' \r\n{"stream": false, "model": "m"}', "m", False),
        (b'{"model":7,"stream":"true"}', None, False),
        (b'{"messages":[{"model":"inner","stream":true}]}', None, False),
        (b'[{"model":"x"}]', None, False),
        (b'{"model":"cut off', None, False),
        (b"model=gpt-4o&stream=true", None, False),
        (b'{"model":"\xff"}', None, False),
        (b"", None, False),
        (b"{" * 5000, None, False),
        (b'{"model":"m","x":' + b"[" * 5000 + b"]" * 5000 + b"}", None, False),
    ],
)
async def test_model_and_stream_are_read_from_the_top_of_a_json_object(body, model, stream):
    call = await read(asked("/v1/x", *[body] if body else [])[0])

    assert (call.model, call.stream) == (model, stream)
    assert call.request.body == body


@pytest.mark.parametrize(
    ("encoding", "pack", "model"),
    [
        ("gzip", gzip.compress, "m"),
        ("GZIP", gzip.compress, "m"),
        ("deflate", zlib.compress, "m"),
        ("br", gzip.compress, None),
        ("gzip", lambda body: body, None),
    ],
)
async def test_a_compressed_body_is_looked_into_and_travels_as_it_came(encoding, pack, model):
    body = pack(b'{"model":"m"}')

    call = await read(asked("/v1/x", body, headers={"Content-Encoding": encoding})[0])

    assert (call.model, call.request.body) == (model, body)


async def test_a_bomb_is_looked_into_only_so_far():
    body = zlib.compress(b'{"x":"' + b"a" * 50_000_000 + b'","model":"m"}', 9)

    call = await read(asked("/v1/x", body, headers={"Content-Encoding": "deflate"})[0])

    assert call.model is None


@given(st.binary(max_size=200))
def test_no_body_is_worse_than_one_without_a_model(body):
    reading._model_and_stream((), b"{" + body, closely=False)
    reading._model_and_stream((), b"{" + body, closely=True)
    reading._model_and_stream(((b"Content-Encoding", b"gzip"),), body, closely=True)


@pytest.mark.parametrize(
    ("path", "stream"),
    [("/other/v1beta/models/m:streamGenerateContent", True), ("/other/v1beta/models/m:x", False)],
)
async def test_gemini_says_in_the_path_that_it_streams(path, stream):
    call = await read(asked(path, b"{}")[0])

    assert (call.stream, call.model) == (stream, "m")


# -- what becomes of it


async def test_a_call_holds_what_the_client_sent():
    request, _ = asked(
        "/other/a%2Fb?key=AIza&x=%20",
        b"{}",
        headers={"Authorization": "Bearer sk-client", "X-Own": "1", "x-gateway-timeout-s": "30"},
    )

    call = await read(request)

    assert (call.seq, call.id, call.created_at, call.deadline_at) == (7, "call_7", NOW, NOW + 30)
    assert (call.upstream, call.target) == ("other", "/a%2Fb?x=%20")
    assert (call.request.path, call.request.query) == ("/other/a%2Fb", "key=AIza&x=%20")
    assert (b"X-Own", b"1") in call.request.headers
    assert call.client == "cred:hash of Bearer sk-client"
    assert not call.needs_secret


@pytest.mark.parametrize(
    ("target", "sent"),
    [("/v1/x", "/x"), ("/v1/x?", "/x?"), ("/v1/x?a", "/x?a"), ("/openai/x?b=", "/x?b=")],
)
async def test_the_query_travels_with_its_question_mark(target, sent):
    assert (await read(asked(target)[0])).target == sent


@pytest.mark.parametrize(
    ("target", "headers", "needs"),
    [
        ("/v1/x", {}, False),
        ("/v1/x", {"x-api-key": "sk-client"}, True),
        ("/other/x", {"x-api-key": "sk-client"}, False),
        ("/v1/x?token=1", {}, True),
        ("/other/x?key=1", {}, False),
        ("/other/x?sig=1", {}, True),
        ("/v1/x", {"Cookie": "a=1"}, False),
    ],
)
async def test_a_call_that_needs_what_the_journal_will_not_hold_is_marked(target, headers, needs):
    assert (await read(asked(target, headers=headers)[0])).needs_secret is needs


@pytest.mark.parametrize(
    ("stream", "headers", "table", "policy"),
    [
        (False, {}, {}, OnDisconnect.FINISH),
        (True, {}, {}, OnDisconnect.CANCEL),
        (False, {}, {"on_disconnect": "cancel"}, OnDisconnect.CANCEL),
        (True, {}, {"on_disconnect_stream": "finish"}, OnDisconnect.FINISH),
        (True, {"Idempotency-Key": "k"}, {}, OnDisconnect.FINISH),
        (
            False,
            {"Idempotency-Key": "k", "x-gateway-on-disconnect": "cancel"},
            {},
            OnDisconnect.CANCEL,
        ),
        (True, {"x-gateway-on-disconnect": "finish"}, {}, OnDisconnect.FINISH),
    ],
)
async def test_what_a_leaving_client_does_is_settled_at_the_start(stream, headers, table, policy):
    body = json.dumps({"stream": stream}).encode()

    call = await read(asked("/v1/x", body, headers=headers)[0], config(table))

    assert call.on_disconnect is policy


@pytest.mark.parametrize(("asks", "gets"), [(None, 3), ("1", 1), ("3", 3), ("4", None)])
async def test_a_client_may_ask_for_fewer_attempts_than_configured(asks, gets):
    headers = {"x-gateway-max-attempts": asks} if asks else {}
    request, _ = asked(headers=headers)
    settings = config({"retry": {"max_attempts": 3}})
    if gets is None:
        with pytest.raises(BadRequest, match="x-gateway-max-attempts"):
            await read(request, settings)
        return

    assert (await read(request, settings)).max_attempts == gets


@pytest.mark.parametrize(
    ("prefer", "detached"),
    [("respond-async", True), ("respond-async, wait=5", True), ("wait=5", False)],
)
async def test_a_call_may_be_for_whoever_asks_for_it_later(prefer, detached):
    assert (await read(asked(headers={"Prefer": prefer})[0])).detached is detached


async def test_the_fingerprint_tells_requests_apart():
    def variants() -> Any:
        yield "/v1/x", b"{}", "POST"
        yield "/v1/y", b"{}", "POST"
        yield "/v1/x?a", b"{}", "POST"
        yield "/v1/x", b"{ }", "POST"
        yield "/v1/x", b"{}", "PUT"
        yield "/other/v1/x", b"{}", "POST"

    async def fingerprints() -> list[str | None]:
        return [
            (await read(asked(target, body, method=method)[0])).fingerprint
            for target, body, method in variants()
        ]

    first, again = await fingerprints(), await fingerprints()
    assert first == again
    assert len(set(first)) == 6


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","model":"gpt-5"}',
        b'{"model":"cheap","mod\\u0065l":"gpt-5"}',
        b'{"stream":false,"messages":[],"stream":true}',
    ],
)
async def test_a_field_that_decides_may_not_be_said_twice(body):
    with pytest.raises(BadRequest, match="twice"):
        await read(asked("/v1/x", body)[0])


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","tools":[{"model":"b","model":"c"}]}',
        b'{"model":"a","messages":"say \\"model\\" twice, \\u006d"}',
        b'{"model":"a","n":1,"n":2}',
    ],
)
async def test_what_does_not_decide_may_be_said_as_often_as_one_likes(body):
    assert (await read(asked("/v1/x", body)[0])).model == "a"
