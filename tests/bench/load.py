"""Sends calls over keep-alive connections and times each one; costs little CPU itself.

    load.py URL --connections 64 --duration-s 5     closed loop: the next call when one is answered
    load.py URL --rate 100 --duration-s 10          open loop: 100 calls/s, come what may
    load.py URL --burst 1000 [--stream]             all at once, each on a connection of its own

In the open loop and the burst a call's time runs from the moment it was *due*, so neither a stalled
server nor a late generator hides queueing (no coordinated omission); `late_ms` tells how late the
generator was. With `--stream` the events' clocks give each chunk's time on the way. Prints one JSON
object. A call without its answer after `--limit-s` is an error like any other.
"""

import argparse
import asyncio
import collections
import gc
import json
import random
import re
import time
from urllib.parse import urlsplit

import httptools

CLOCK = re.compile(rb'"content":"\d+:(\d+) ')
DONE = b"data: [DONE]"
now = time.monotonic  # a uvloop's own clock moves in whole milliseconds


class Connection(asyncio.Protocol):
    """One connection: at most one call at a time, whose end it reports to its `Load`."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.transport: asyncio.Transport | None = None
        self.due: float | None = None  # of the call in flight

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, due: float) -> None:
        """Send the call that was due at *due*."""
        self.due = due
        self.tail = b""
        self.done = not self.load.stream
        self.parser = httptools.HttpResponseParser(self)
        self.load.sent_at(due, now())
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        if self.due is None:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()
            self.transport = None
            self._finish("unreadable answer")

    def on_body(self, piece: bytes) -> None:
        if not self.load.stream:
            return
        arrived = time.monotonic_ns()
        text = self.tail + piece
        self.load.chunks_s += [(arrived - int(sent)) / 1e9 for sent in CLOCK.findall(text)]
        self.done = self.done or DONE in text
        self.tail = text[text.rfind(b"\n\n") + 2 :] if b"\n\n" in text else text

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        if status != 200:
            self._finish(f"status {status}")
        else:
            self._finish(None if self.done else "stream cut")

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._finish("connection lost")

    def _finish(self, error: str | None) -> None:
        if self.due is None:
            return
        due, self.due = self.due, None
        self.load.ended(self, due, error)


class Load:
    """The calls of one run and their times, in seconds of the monotonic clock."""

    def __init__(self, url: str, *, size: int, stream: bool) -> None:
        parts = urlsplit(url)
        self.address = parts.hostname, parts.port
        self.stream = stream
        self.request = request_bytes(parts.path or "/", parts.netloc, size=size, stream=stream)
        self.idle: list[Connection] = []
        self.opened: list[Connection] = []
        self.sent = self.due_count = 0
        self.again_until = 0.0  # closed loop: until when a next call follows
        self.calls_s: list[float] = []
        self.chunks_s: list[float] = []
        self.late_s: list[float] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.last_end = 0.0
        self.all_ended = asyncio.Event()

    def sent_at(self, due: float, sent: float) -> None:
        """A call left its queue of one."""
        self.sent += 1
        self.late_s.append(sent - due)

    def ended(self, connection: Connection, due: float, error: str | None) -> None:
        """A call has its answer, or *error*."""
        self.last_end = now()
        if error is None:
            self.calls_s.append(self.last_end - due)
        else:
            self.errors[error] += 1
        if connection.transport is not None and connection.parser.should_keep_alive():
            if self.last_end < self.again_until:
                self.due_count += 1
                connection.send(now())
                return
            self.idle.append(connection)
        self._check_all_ended()

    def _check_all_ended(self) -> None:
        if len(self.calls_s) + self.errors.total() == self.due_count:
            self.all_ended.set()

    async def _open(self) -> Connection | None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), *self.address
            )
        except OSError as error:
            self.errors[f"connect: {error.strerror or error}"] += 1
            self._check_all_ended()
            return None
        self.opened.append(connection)
        return connection

    async def _send_on_new(self, due: float) -> None:
        if connection := await self._open():
            connection.send(due)

    async def closed(self, connections: int, duration_s: float) -> None:
        """Keep *connections* busy for *duration_s*, then take the answers still due."""
        self.due_count = connections
        ready = [await self._open() for _ in range(connections)]
        self.again_until = now() + duration_s
        for connection in filter(None, ready):
            connection.send(now())
        await self.all_ended.wait()

    async def open(self, rate: float, duration_s: float) -> None:
        """A call in each 1/*rate* s for *duration_s*, on an idle connection or a new one."""
        self.due_count = round(rate * duration_s)
        rng = random.Random(1)  # the moment within its slot: in step with no timer's ticks
        start = now()
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.due_count):
                due = start + (number + rng.random()) / rate
                await asyncio.sleep(max(0.0, due - now()))
                while self.idle and self.idle[-1].transport is None:
                    self.idle.pop()
                if self.idle:
                    self.idle.pop().send(due)
                else:
                    tasks.create_task(self._send_on_new(due))
        await self.all_ended.wait()

    async def burst(self, calls: int) -> None:
        """*calls* at once."""
        self.due_count = calls
        due = now()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(calls):
                tasks.create_task(self._send_on_new(due))
        await self.all_ended.wait()

    def close(self) -> None:
        """Close every connection; calls without an answer count as errors."""
        missing = self.due_count - len(self.calls_s) - self.errors.total()
        if missing:
            self.errors["no answer in time"] += missing
        for connection in self.opened:
            connection.due = None
            if connection.transport is not None:
                connection.transport.abort()

    def result(self, start: float) -> dict[str, object]:
        """What was seen since *start*."""
        wall_s = max(self.last_end - start, 1e-9)
        return {
            "sent": self.sent,
            "ok": len(self.calls_s),
            "errors": dict(self.errors),
            "wall_s": round(wall_s, 4),
            "calls_per_s": round(len(self.calls_s) / wall_s, 1),
            "call_ms": distribution(self.calls_s),
            "late_ms": distribution(self.late_s),
            "chunk_ms": distribution(self.chunks_s),
        }


def request_bytes(path: str, host: str, *, size: int, stream: bool) -> bytes:
    """One POST with a chat body of *size* bytes, as it goes over the wire."""
    message = {"role": "user", "content": ""}
    chat: dict[str, object] = {"model": "bench", "messages": [message]}
    if stream:
        chat["stream"] = True
    message["content"] = "x" * (size - len(json.dumps(chat)))
    body = json.dumps(chat).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nUser-Agent: bench\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def distribution(seconds: list[float]) -> dict[str, float]:
    """Count, mean, percentiles (nearest rank) and maximum in ms; empty without values."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    figures: dict[str, float] = {"count": len(ordered)}
    figures["mean"] = round(sum(ordered) / len(ordered) * 1000, 3)
    for percent in (50, 90, 99):
        rank = -(-len(ordered) * percent // 100)
        figures[f"p{percent}"] = round(ordered[rank - 1] * 1000, 3)
    figures["max"] = round(ordered[-1] * 1000, 3)
    return figures


async def run(options: argparse.Namespace) -> dict[str, object]:
    """One run as *options* describe it, at most `limit_s` long."""
    load = Load(options.url, size=options.size, stream=options.stream)
    gc.freeze()
    gc.disable()  # a run is short, and a collection would show as somebody's latency
    start = now()
    try:
        async with asyncio.timeout(options.limit_s):
            if options.connections:
                await load.closed(options.connections, options.duration_s)
            elif options.rate:
                await load.open(options.rate, options.duration_s)
            else:
                await load.burst(options.burst)
    except TimeoutError:
        pass  # told by close(): "no answer in time"
    load.close()
    return load.result(start)


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--connections", type=int, help="closed loop")
    mode.add_argument("--rate", type=float, help="open loop, calls/s")
    mode.add_argument("--burst", type=int, help="calls at once")
    parser.add_argument("--duration-s", type=float, default=5.0)
    parser.add_argument("--limit-s", type=float, default=60.0, help="for the whole run")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a request body")
    parser.add_argument("--stream", action="store_true", help="ask for event streams")
    options = parser.parse_args()
    import uvloop  # less CPU for the same calls

    print(json.dumps(uvloop.run(run(options))))


if __name__ == "__main__":
    main()
