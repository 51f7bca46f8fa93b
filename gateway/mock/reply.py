"""How an answer leaves: when, and whole, in half, or not at all.

Counted from the arrival of the request's head, a plain answer, an error and a reset come when the
latency is over; a stream begins after a tenth of it and ends with it, its pieces evenly spread.
Answers are made when they are due, so that a waiting request holds little memory.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import ceil

from aiohttp import web
from pydantic_core import to_json

from gateway.mock.question import JsonObject
from gateway.mock.settings import Plan

FIRST_PIECE = 0.1  # of the latency: a model thinks a little, then talks for the rest of the time

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: close() sends RST


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to *request*, which arrived at *arrived* (loop time), on its way as planned."""

    request: web.Request
    arrived: float
    plan: Plan
    headers: Mapping[str, str]

    async def plain(self, make: Callable[[], JsonObject]) -> web.StreamResponse:
        """Send what *make* makes, as JSON."""
        await self._wait(1.0)
        headers = {**self.headers, **_retry_after(self.plan.retry_after_s)}
        response = json_response(make(), self.plan.status, headers)
        return await self._half(response) if self.plan.fault == "cut" else response

    async def stream(self, pieces: Iterator[bytes], count: int) -> web.StreamResponse:
        """Send *pieces*, of which there are *count*, as Server-Sent Events.

        Cut, half of them are sent, without the chunk that ends the answer.
        """
        headers = {
            **self.headers,
            **_retry_after(self.plan.retry_after_s),
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
        }
        response = web.StreamResponse(status=self.plan.status, headers=headers)
        is_cut = self.plan.fault == "cut"
        with suppress(ConnectionError):  # the client left between two pieces
            for i, piece in enumerate(islice(pieces, count // 2 if is_cut else count)):
                await self._wait(FIRST_PIECE + (1 - FIRST_PIECE) * i / (count - 1))
                await response.prepare(self.request)  # only the first time
                await response.write(piece)
        if is_cut:
            self._hang_up()
        return response

    async def none(self) -> web.StreamResponse:
        """Answer nothing: reset the connection, or hang until the client leaves."""
        await self._wait(1.0)
        if self.plan.fault == "hang":
            await asyncio.get_running_loop().create_future()  # its leaving cancels this
        if transport := self.request.transport:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        return web.Response()  # goes nowhere

    async def _half(self, whole: web.Response) -> web.StreamResponse:
        """Declare *whole*, send half of its body, hang up."""
        body = whole.body
        assert isinstance(body, bytes)
        headers = {**whole.headers, "Content-Length": str(len(body))}
        response = web.StreamResponse(status=whole.status, headers=headers)
        with suppress(ConnectionError):
            await response.prepare(self.request)
            if self.request.method != "HEAD" and whole.status not in (204, 304):
                await response.write(body[: len(body) // 2])
        self._hang_up()
        return response

    def _hang_up(self) -> None:
        if transport := self.request.transport:
            transport.close()  # what is written still leaves

    async def _wait(self, share: float) -> None:
        """Until *share* of the latency is over; at least other requests get their turn."""
        due = self.arrived + share * self.plan.latency_s
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


def json_response(data: JsonObject, status: int, headers: Mapping[str, str]) -> web.Response:
    """Write *data* as an answer."""
    return web.Response(
        body=to_json(data), status=status, headers=headers, content_type="application/json"
    )


def _retry_after(seconds: float | None) -> dict[str, str]:
    """`Retry-After` knows whole seconds; a fraction is told in `retry-after-ms` as well."""
    if seconds is None:
        return {}
    if seconds == int(seconds):
        return {"Retry-After": str(int(seconds))}
    return {"Retry-After": str(ceil(seconds)), "retry-after-ms": f"{seconds * 1000:.0f}"}
