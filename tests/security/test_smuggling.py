"""Requests that two programs could read in two ways, through a proxy in front of the gateway: S18.

The proxy keeps one connection to the gateway for all its clients. Were there a request that the
proxy takes for the body of another and the gateway for one by itself, the upstream would see it
without the mark that the proxy puts on all it passes on, or the next client would get its answer.
"""

import asyncio
import contextlib

import pytest

from tests import http1
from tests.security.fronts import open_front, program
from tests.security.test_connections import ANOTHER_VERSION_OR_AUTHORITY, BAD_FRAMING
from tests.steps import Answer, Request

HIDDEN = b"GET /v1/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
ENDED = b"0\r\n\r\n" + HIDDEN  # to who reads chunks, a body that ends and a second request
HEX = b"%x" % len(HIDDEN)
CHUNK = HEX + b"\r\n" + HIDDEN + b"\r\n0\r\n\r\n"
QUIET_S = 0.3  # a proxy that has said nothing for so long waits for more


def post(*fields: bytes, body: bytes, start: bytes = b"POST /v1/x HTTP/1.1") -> bytes:
    """Return a request; #L in a field stands for the length of *body*, #X for the same in hex."""
    head = b"\r\n".join([start, b"Host: localhost", *fields, b"", b""])
    return head.replace(b"#L", b"%d" % len(body)).replace(b"#X", b"%x" % len(body)) + body


LENGTH, CHUNKED = b"Content-Length: #L", b"Transfer-Encoding: chunked"
LENGTHS = [
    b"+#L", b"#L ", b" #L", b"0#L", b"0x#X", b"#L, #L", b"#L, 0", b"1_#L", b"-#L", b"#L.0",
    b"#L\x0b", b"#L;", b"4294967296#L", b"18446744073709551616", b"0\r\nContent-Length: #L",
    b"#L\r\nContent-Length: 0", b"#L\r\nConnection: content-length", b"#L\r\nExpect: 200-ok",
    b"#L\r\nConnection: keep-alive, Content-Length", b"#L\r\nExpect: 100-continue",
    b"#L\r\nConnection: Upgrade\r\nUpgrade: h2c",
]  # fmt: skip
CODINGS = [
    b": chunked", b":\tchunked", b": \x0bchunked", b" : chunked", b": xchunked", b": CHUNKED",
    b": chunked, identity", b": identity, chunked", b": chunked\r\nTransfer-Encoding: x",
    b': "chunked"', b": chunked;a=b", b":\r\n chunked", b": chunked\r\nConnection: transfer-encoding",
]  # fmt: skip
SPELLED = [
    *(b"Transfer-Encoding" + coding for coding in CODINGS),
    *(b"Transfer_Encoding: chunked", b"X: a\nTransfer-Encoding: chunked"),
    b"X: a\rTransfer-Encoding: chunked",
]
SIZES = [
    b"#X;a=b", b"#X;\n", b"#X\n", b"#X \t", b"+#X", b"0x#X", b"-#X", b"#X\r", b"1_#X", b"#X\0",
    b"00000000000000000#X", b"10000000000000000#X",
]  # fmt: skip
STARTS = [
    b"GET /v1/x HTTP/1.1", b"HEAD /v1/x HTTP/1.1", b"POST http://localhost/v1/x HTTP/1.1",
    b"POST /-/healthy HTTP/1.1", b"GET / HTTP/1.1", b"POST /v1/x HTTP/1.0", b"POST /v1/../x HTTP/1.1",
    b"TRACE /v1/x HTTP/1.1", b"OPTIONS * HTTP/1.1",
]  # fmt: skip
AMBIGUOUS = [
    *(post(LENGTH, coding, body=ENDED) for coding in SPELLED),
    *(post(coding, LENGTH, body=ENDED) for coding in SPELLED),
    *(post(b"Content-Length: 4", coding, body=CHUNK) for coding in SPELLED),
    *(post(b"Content-Length: " + length, body=HIDDEN) for length in LENGTHS),
    *(post(LENGTH, body=HIDDEN, start=start) for start in STARTS),
    *(post(CHUNKED, body=CHUNK, start=start) for start in STARTS),
    *(post(CHUNKED, body=CHUNK.replace(HEX, size.replace(b"#X", HEX), 1)) for size in SIZES),
    post(CHUNKED, body=b"3\r\nabc" + ENDED),  # no line end behind the data
    post(CHUNKED, body=b"0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN),  # in a trailer
    post(CHUNKED, body=b"0\r\nX: a\r\n" + HIDDEN),
    post(CHUNKED, body=b"0\n\n" + HIDDEN),
    post(b"Connection: Upgrade", b"Upgrade: websocket", body=HIDDEN),
    post(body=HIDDEN),
    post(LENGTH, body=HIDDEN).replace(b"localhost", b"evil.example", 1),
]
SUITE = [
    *[sent + HIDDEN for sent in BAD_FRAMING],
    *[sent + HIDDEN for sent, _ in ANOTHER_VERSION_OR_AUTHORITY],
    *AMBIGUOUS,
]


def echo(request: Request) -> Answer:
    """An answer that says which request it belongs to."""
    return Answer(body=request.target.encode("latin-1"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_nothing_is_smuggled_past_a_proxy(gateway_process, upstream, tmp_path, name):
    if program(name) is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    upstream.choose = echo
    mark, stray = "3f1c8e52", []
    async with (
        gateway_process() as gw,
        open_front(name, tmp_path, gateway=gw.port, secret=mark) as front,
    ):
        await front.request("GET", "/v1/before")
        kept = (await gw.metrics())["gateway_client_connections"]
        for number, sent in enumerate(SUITE):
            reader, writer = await asyncio.open_connection(front.host, front.port)
            writer.write(sent)
            await read_until_quiet(reader)
            for path in (f"/v1/first-{number}", f"/v1/second-{number}"):
                answer = await front.request("GET", path)
                if (answer.status, answer.body) != (200, path.encode()):
                    stray.append((sent, path, answer.status, answer.body))
            writer.close()

    assert kept == 2, "without a connection that is kept, there is nothing to poison"
    assert stray == []
    marks = [http1.values(request.headers, "x-front") for request in upstream.requests]
    assert marks == [[mark]] * len(marks)
    assert len(marks) > 2 * len(SUITE)


async def read_until_quiet(reader: asyncio.StreamReader) -> None:
    """Read until the proxy hangs up, or has nothing to say."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while True:
            async with asyncio.timeout(QUIET_S):
                if not await reader.read(65_536):
                    return
