"""What a scripted upstream can do with a request.

A step is a status, an `Answer`, what one of the functions here returns (`stream`, `stall`, `held`,
`hang`, `raw`, `cut`, `reset`), or any coroutine function that takes the `Request` and writes to it.
Tests never sleep: a `Gate` lets answers and chunks out one by one.
"""

import asyncio
import json
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests import http1
from tests.http1 import Headers

JSON: Headers = (("Content-Type", "application/json"),)
SSE: Headers = (("Content-Type", "text/event-stream; charset=utf-8"),)


class Gate:
    """What passes here waits for its turn: one a `release()`, or everything after `open()`."""

    def __init__(self) -> None:
        self._turns = 0.0
        self._waiting: list[asyncio.Future[None]] = []  # in order of arrival

    def release(self, turns: float = 1) -> None:
        self._turns += turns
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def open(self) -> None:
        self.release(math.inf)

    async def wait_turn(self) -> None:
        while self._turns < 1:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
        self._turns -= 1


class Connection:
    """One connection a client made; says when the client has closed it, without being read."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number  #: from 1
        self.reader = reader
        self.writer = writer
        self.closed = asyncio.Event()
        self.closed_at: float | None = None  #: loop clock

    def close(self) -> None:
        """End it after what was written."""
        self.writer.close()

    def reset(self) -> None:
        """End it with RST instead of FIN; what was written and not yet read may be lost."""
        linger_not = struct.pack("ii", 1, 0)
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self.writer.transport.abort()


@dataclass(eq=False)
class Request:
    """What arrived, exactly as it stood on the wire."""

    number: int  #: from 1, over all connections
    method: str
    target: str
    headers: Headers
    body: bytes
    connection: Connection
    arrived_at: float  #: loop clock, when the body was complete

    def header(self, name: str) -> str | None:
        return http1.value(self.headers, name)

    def json(self) -> Any:
        return json.loads(self.body)

    async def write(self, data: bytes) -> None:
        """Send the next bytes of the answer."""
        writer = self.connection.writer
        writer.write(data)
        await writer.drain()


Play: TypeAlias = Callable[[Request], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """A whole answer; framed by Content-Length, or chunked where it is given in *chunks*.

    With a *gate* the head leaves at once, then each chunk and at last the end wait for their turn.
    Fields of *headers* that frame the message replace the ones that would be added; `Connection:
    close` closes, and without a length of its own such an answer has none: its end is the close.
    """

    status: int = 200
    headers: Headers = JSON
    body: bytes = b'{"ok":true}'
    chunks: Sequence[bytes] | None = None
    gate: Gate | None = None
    reason: str = "Because"

    @property
    def closes(self) -> bool:
        return http1.value(self.headers, "connection") == "close"

    def head(self) -> bytes:
        framing: Headers = ()
        names = {name.lower() for name, _ in self.headers}
        if self.chunks is not None and not names & {"content-length", "transfer-encoding"}:
            framing = [("Transfer-Encoding", "chunked")]
        elif not (self.closes or self.status in (204, 304) or "content-length" in names):
            framing = [("Content-Length", str(len(self.body)))]
        return http1.head(f"HTTP/1.1 {self.status} {self.reason}", [*self.headers, *framing])

    async def __call__(self, request: Request) -> None:
        await request.write(self.head())
        if request.method != "HEAD" and self.status not in (204, 304):
            await self._write_body(request)
        if self.closes:
            request.connection.close()

    async def _write_body(self, request: Request) -> None:
        is_chunked = b"Transfer-Encoding: chunked" in self.head()
        for piece in [self.body] if self.chunks is None else self.chunks:
            if self.gate:
                await self.gate.wait_turn()
            await request.write(http1.chunk(piece) if is_chunked else piece)
        if is_chunked:
            if self.gate:
                await self.gate.wait_turn()
            await request.write(http1.chunk(b""))


Step: TypeAlias = int | Answer | Play


def as_play(step: Step) -> Play:
    """Return what *step* does; a bare status is an answer with a small JSON body."""
    if isinstance(step, int):
        return Answer(step) if step < 400 else Answer(step, body=b'{"error":{"message":"no"}}')
    return step


def stream(chunks: Sequence[bytes], gate: Gate | None = None, headers: Headers = SSE) -> Answer:
    """Answer with a chunked event stream."""
    return Answer(200, headers, chunks=chunks, gate=gate)


def stall(seconds: float, then: Step = 200) -> Play:
    """Answer after *seconds*."""

    async def play(request: Request) -> None:
        await asyncio.sleep(seconds)
        await as_play(then)(request)

    return play


def held(gate: Gate, then: Step = 200) -> Play:
    """Answer when *gate* lets it."""

    async def play(request: Request) -> None:
        await gate.wait_turn()
        await as_play(then)(request)

    return play


def hang() -> Play:
    """Never answer."""

    async def play(_: Request) -> None:
        await asyncio.Event().wait()

    return play


def raw(data: bytes) -> Play:
    """Write *data*, whatever it is, and close."""

    async def play(request: Request) -> None:
        await request.write(data)
        request.connection.close()

    return play


def cut(answer: Answer, after: int) -> Play:
    """Send head and *after* bytes of the body of *answer*, then close in the middle."""

    async def play(request: Request) -> None:
        whole = answer.body if answer.chunks is None else b"".join(answer.chunks)
        piece = whole[:after]
        is_chunked = answer.chunks is not None
        await raw(answer.head() + (http1.chunk(piece) if is_chunked and piece else piece))(request)

    return play


def reset(after: bytes = b"") -> Play:
    """Write *after* and break the connection with RST."""

    async def play(request: Request) -> None:
        if after:
            await request.write(after)
        request.connection.reset()

    return play
