"""An AI API that costs next to no CPU, so that a measurement shows the proxy and not the upstream.

Every POST is answered alike: after `--latency-s` (`/warm-up`: at once) with `--size` bytes, or,
when its body says `"stream": true`, with `--chunks` events at `--chunks-per-s`, each with its
number and this machine's monotonic clock (ns) as `content`: "NUMBER:CLOCK ". `GET /__stats` tells
calls, calls in flight, and their peak. Only what tests/bench sends is understood: HTTP/1.1, one
request at a time on a connection, bodies with Content-Length or chunked.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import time
from dataclasses import dataclass

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
STREAM = re.compile(rb'"stream":\s*true')

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"bench","choices":[{"index":0,"delta":{"content":"%d:%d "},'
    b'"finish_reason":null}]}\n\n'
)
LAST_EVENT = b"data: [DONE]\n\n"


@dataclass(slots=True, kw_only=True)
class Upstream:
    """How calls are answered, and how many there were."""

    latency_s: float
    answer: bytes
    chunks: int
    gap_s: float
    rng: random.Random
    calls: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0

    def began(self) -> None:
        """A call has arrived whole."""
        self.calls += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def stats(self) -> bytes:
        """The counters as JSON."""
        names = ("calls", "in_flight", "peak_in_flight")
        return json.dumps({name: getattr(self, name) for name in names}).encode()


class Connection(asyncio.Protocol):
    """One client connection: a request is read whole, answered by a timer, then the next."""

    def __init__(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self.upstream = upstream
        self.loop = loop
        self.transport: asyncio.WriteTransport | None = None
        self.received = b""
        self.busy = False
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.timer is not None:
            self.timer.cancel()
        if self.busy:
            self.upstream.in_flight -= 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.busy or (end := self.received.find(b"\r\n\r\n")) < 0:
            return
        head, end = self.received[:end], end + 4
        body_end = self._body_end(head, end)
        if body_end is None:
            return
        body, self.received = self.received[end:body_end], self.received[body_end:]
        if head.startswith(b"GET /__stats "):
            self.transport.write(plain_answer(self.upstream.stats()))
            return
        self.busy = True
        self.upstream.began()
        respond = self._stream if STREAM.search(body) else self._answer
        if self.upstream.latency_s and not head.startswith(b"POST /warm-up "):
            self.timer = self.loop.call_later(self.upstream.latency_s, respond)
        else:
            respond()

    def _body_end(self, head: bytes, start: int) -> int | None:
        """Where the body that begins at *start* ends; None: not all of it is here."""
        if found := CONTENT_LENGTH.search(head):
            end = start + int(found.group(1))
            return end if len(self.received) >= end else None
        if CHUNKED.search(head):
            end = self.received.find(b"0\r\n\r\n", start)
            return end + 5 if end >= 0 else None
        return start

    def _ended(self) -> None:
        self.busy = False
        self.timer = None
        self.upstream.in_flight -= 1

    def _answer(self) -> None:
        self.transport.write(self.upstream.answer)
        self._ended()

    def _stream(self) -> None:
        """Send the head, then events from a random phase on: real streams do not march in step."""
        self.transport.write(STREAM_HEAD)
        start = self.loop.time() + self.upstream.rng.random() * self.upstream.gap_s
        self.timer = self.loop.call_at(start, self._event, 1, start)

    def _event(self, number: int, due: float) -> None:
        event = EVENT % (number, time.monotonic_ns())
        if number == self.upstream.chunks:
            event += LAST_EVENT
            self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))
            self._ended()
            return
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        due += self.upstream.gap_s
        self.timer = self.loop.call_at(due, self._event, number + 1, due)


def plain_answer(body: bytes) -> bytes:
    """A 200 with *body*, as it goes over the wire."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def completion(size: int) -> bytes:
    """A chat completion of about *size* bytes of JSON."""
    message = {"role": "assistant", "content": ""}
    answer = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 180, "total_tokens": 200},
    }
    message["content"] = "word " * ((size - len(json.dumps(answer))) // 5)
    return json.dumps(answer).encode()


async def serve(upstream: Upstream, port: int) -> None:
    """Answer until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(
        lambda: Connection(upstream, loop), "127.0.0.1", port, backlog=16384
    )
    bound = server.sockets[0].getsockname()[1]
    print(f"upstream: listening on http://127.0.0.1:{bound}", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--size", type=int, default=1024, help="bytes of a plain answer")
    parser.add_argument("--chunks", type=int, default=500, help="events in a stream")
    parser.add_argument("--chunks-per-s", type=float, default=50.0)
    options = parser.parse_args()
    upstream = Upstream(
        latency_s=options.latency_s,
        answer=plain_answer(completion(options.size)),
        chunks=options.chunks,
        gap_s=1 / options.chunks_per_s,
        rng=random.Random(1),
    )
    import uvloop  # less CPU for the same answers

    uvloop.run(serve(upstream, options.port))


if __name__ == "__main__":
    main()
