"""Answers written as raw bytes: the upstream's head and body travel as they came.

aiohttp's own response would add Date, Server and Content-Type and fold header names; a relay may
not. Framing is ours: the upstream's Content-Length where it declared one, else chunks (HTTP/1.1) or
the end of the connection (HTTP/1.0).
"""

import socket
import struct
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal, cast

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from aiohttp.web_request import BaseRequest
from typing_extensions import override

from gateway.call import Headers

_LINGER_NOT = struct.pack("ii", 1, 0)  # close() sends RST instead of FIN
_NO_BODY = frozenset({204, 205, 304})
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}

Framing = Literal["none", "length", "chunked", "close"]


class RawResponse(web.StreamResponse):
    """One answer on one connection: `start`, any number of `send`, then `end` or `cut`.

    Given back to aiohttp's server it is already written; the server only asks for keep-alive.
    """

    def __init__(
        self,
        request: BaseRequest,
        *,
        status: int,
        reason: str | None,
        headers: Headers,
        extra: Iterable[tuple[str, str]] = (),
        length: int | None,
    ) -> None:
        super().__init__(status=status)
        self._request = request
        self._writer = cast("StreamWriter", request.writer)
        self._head_reason = reason
        self._head_headers = headers
        self._head_extra = extra
        self.framing: Framing
        if request.method == "HEAD" or status in _NO_BODY:
            self.framing = "none"
        elif length is not None:
            self.framing = "length"
        elif request.version >= HttpVersion11:
            self.framing = "chunked"
        else:
            self.framing = "close"
        self._length = length
        # Whoever is answered before their request has ended is not listened to any further.
        whole = request.content.is_eof()
        self._keep_alive = request.keep_alive and whole and self.framing != "close"
        self._taken = 0
        self._held = b""
        self.started = False

    def head(self) -> bytes:
        """Status line and header fields, with our framing."""
        phrase = (
            self._head_reason.encode("utf-8", "surrogateescape")
            if self._head_reason is not None
            else _PHRASES.get(self.status, b"")
        )
        lines = [b"HTTP/1.1 %d %s" % (self.status, phrase)]
        lines += [name + b": " + value for name, value in self._head_headers]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in self._head_extra]
        if self.framing == "chunked":
            lines.append(b"Transfer-Encoding: chunked")
        elif self.framing == "length" or (self._length is not None and self.status != 204):
            lines.append(b"Content-Length: %d" % (self._length or 0))
        if not self._keep_alive:
            lines.append(b"Connection: close")
        elif self._request.version < HttpVersion11:
            lines.append(b"Connection: keep-alive")
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    @property
    def buffered(self) -> int:
        """Bytes given to the connection that the client has not taken yet."""
        transport = self._request.transport
        return 0 if transport is None else transport.get_write_buffer_size()

    async def start(self, data: bytes = b"") -> None:
        """Write the head, and the first bytes of the body in the same packet."""
        self.started = True
        await self._writer.write(self.head() + self._framed(data))

    async def send(self, data: bytes) -> None:
        """Write body bytes; waits while the client is slow. Raises ConnectionError once it is gone."""
        if data and self.framing != "none":
            await self._writer.write(self._framed(data))

    async def push(self, data: bytes) -> None:
        """Write body bytes without ever waiting; see `buffered`. Raises ConnectionError."""
        if data and self.framing != "none":
            await self._writer.write(self._framed(data), drain=False)

    async def end(self, data: bytes = b"") -> None:
        """Write the end of a whole answer: nothing before this call tells the client it is complete."""
        last = self._framed(self._held + data, ends=True) + (
            b"0\r\n\r\n" if self.framing == "chunked" else b""
        )
        if not self.started:
            self.started = True
            last = self.head() + last
        if last:
            await self._writer.write(last)
        await self._writer.write_eof()

    async def cut(self) -> None:
        """Leave the answer visibly incomplete: whatever was sent arrives, the end never does."""
        self._keep_alive = False
        transport = self._request.transport
        if transport is None:
            return
        if self.framing == "close":  # a plain close would look like the end of the body: reset
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            transport.abort()
        else:
            transport.close()

    def _framed(self, data: bytes, *, ends: bool = False) -> bytes:
        if not data or self.framing == "none":
            return b""
        if self.framing == "length" and not ends:
            # The byte that completes the declared length is the end of the answer, so it waits
            # for `end`.
            self._taken += len(data)
            if self._taken >= (self._length or 0):
                data, self._held = data[:-1], data[-1:]
        if self.framing == "chunked":
            return b"%x\r\n%b\r\n" % (len(data), data)
        return data

    # What aiohttp's server calls once the handler has returned.
    @override
    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Nothing is left to prepare."""
        return self._writer

    @override
    async def write_eof(self, data: Any = b"") -> None:
        """Nothing is left to write."""
