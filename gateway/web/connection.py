"""The listener and its connections: what aiohttp leaves open to slow and hostile peers.

Invariant: no peer holds a connection for nothing. A handshake is over within `HANDSHAKE_S`; a head
that has begun is whole within `HEAD_S`; a client with something to read takes some of it every
`WRITE_IDLE_S`; there are never more connections than descriptors for them, and of one address,
a proxy's left out, at most half of those. What the parser itself refuses is answered like all that
is refused.
"""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from typing_extensions import override

from gateway.errors import BadRequest, Refused

log = structlog.get_logger()

HEAD_S = 10.0  # aiohttp waits for the rest of a head as long as for the next request
WRITE_IDLE_S = 30.0
HANDSHAKE_S = 10.0  # TLS; asyncio's own bound is a minute, and such a connection counts nowhere yet
GOODBYE_S = 5.0  # a peer's last word of TLS, once we have hung up
_TARGET_BYTES = 128  # of a head: enough to tell whose API was meant
READ_BYTES = 65_536  # taken from a socket at a time; asyncio would take four times as much
READ_BUFFER = (
    READ_BYTES // 2
)  # aiohttp stops reading at twice this, a body that waits costs no more
OWN_DESCRIPTORS = 64  # journal, listener, logs, webhooks

#: Answers a request that stays unread: (request, its path as far as it is known, why).
Refuse = Callable[[BaseRequest, str, Refused], Awaitable[web.StreamResponse]]


class Server(web.Server):
    """Makes a `Connection` of each that is accepted, as long as there are not too many."""

    def __init__(
        self,
        *args: Any,
        refuse: Refuse,
        is_proxy: Callable[[str], bool],
        max_connections: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.refuse = refuse
        self.is_proxy = is_proxy  #: whether others speak from that address
        self.max_connections = max_connections
        self.of_address: Counter[str] = Counter()  #: connections; "": of proxies

    @override
    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(RequestHandler):
    """One connection, from its first byte to its last."""

    __slots__ = ("_counted_as", "_head", "_head_timer", "_server", "_write_timer")

    def __init__(self, server: Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server
        self._counted_as = ""  # as when it began: a reload may change who is a proxy
        self._head = b""  # how the last head began
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer connected; one too many is hung up on."""
        super().connection_made(transport)
        with contextlib.suppress(AttributeError):  # uvloop's has a size of its own
            cast("Any", transport).max_size = READ_BYTES
        server, address = self._server, self._address()
        self._counted_as = address
        server.of_address[address] += 1
        is_crowd = address and server.of_address[address] > server.max_connections // 2
        if is_crowd or len(server.connections) > server.max_connections:
            self.force_close()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        """The peer is gone, and with it what was timed."""
        self._stop_head_timer()
        self._stop_write_timer()
        server, address = self._server, self._counted_as
        server.of_address[address] -= 1
        if not server.of_address[address]:
            del server.of_address[address]
        super().connection_lost(exc)

    def _address(self) -> str:
        """Whose connection this is; "" for a proxy and on loopback: these speak for everybody."""
        host = self.peername[0] if isinstance(self.peername, tuple) else ""
        return "" if host in ("127.0.0.1", "::1") or self._server.is_proxy(host) else host

    # -- a head that does not end

    @override
    def data_received(self, data: bytes) -> None:
        """Bytes arrived: of a head where nothing else is being read."""
        waiting = self._waiter
        if waiting is None or waiting.done():
            super().data_received(data)
            return
        if self._head_timer is None:
            self._head = data[:_TARGET_BYTES]
        super().data_received(data)
        if waiting.done():
            self._stop_head_timer()
        elif self._head_timer is None:
            self._head_timer = self._loop.call_later(HEAD_S, self.force_close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # -- a client that does not read

    @override
    def pause_writing(self) -> None:
        """The client is behind by a whole buffer."""
        super().pause_writing()
        self._expect_progress()

    @override
    def resume_writing(self) -> None:
        """It has caught up."""
        self._stop_write_timer()
        super().resume_writing()

    def _expect_progress(self, unsent: int | None = None) -> None:
        transport = self.transport
        if transport is None:
            return
        left = transport.get_write_buffer_size()
        if unsent is not None and left >= unsent:
            log.info("client_stopped_reading", unsent_bytes=left)
            transport.abort()
            return
        self._write_timer = self._loop.call_later(WRITE_IDLE_S, self._expect_progress, left)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    # -- a client that leaves while it is written to

    @override
    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What to answer where a handler failed; nothing, and no error, where its client is gone.

        A connection that broke is closing for one turn of the loop before anybody is told, and a
        write in that turn fails.

        Raises: ConnectionError, which the server takes for a client that left
        """
        transport = self.transport
        if isinstance(exc, ConnectionError) and (transport is None or transport.is_closing()):
            raise exc
        return super().handle_error(request, status, exc, message)

    # -- what the parser refuses

    @override
    def _make_error_handler(self, err_info: Any) -> Callable[..., Awaitable[web.StreamResponse]]:
        """Our refusal instead of a line of plain text."""
        path = _path(self._head)
        why = err_info.message.partition("\n")[0].partition(":")[0]  # it goes on with what was sent
        refused = BadRequest(f"this is not HTTP/1.1 as it has to be: {why}")

        async def handler(request: BaseRequest) -> web.StreamResponse:
            return await self._server.refuse(request, path, refused)

        return handler


class Site(web.BaseSite):
    """Listens on a bound socket, by TLS where there is a context."""

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        *,
        tls: ssl.SSLContext | None,
        backlog: int,
    ) -> None:
        super().__init__(runner, ssl_context=tls, backlog=backlog)
        self._listener = listener

    @property
    @override
    def name(self) -> str:
        """Where it listens, for aiohttp."""
        return str(self._listener.getsockname())

    @override
    async def start(self) -> None:
        """Accept connections from now on."""
        await super().start()
        server = self._runner.server
        assert server is not None
        by_tls = self._ssl_context is not None
        self._server = await asyncio.get_running_loop().create_server(
            server,
            sock=self._listener,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=HANDSHAKE_S if by_tls else None,
            ssl_shutdown_timeout=GOODBYE_S if by_tls else None,
        )


def _path(head: bytes) -> str:
    """The path of the request line of *head*; "/" where it has none."""
    words = head.partition(b"\n")[0].split(b" ")
    target = words[1].decode("latin-1") if len(words) > 1 else ""
    return target.partition("?")[0] if target.startswith("/") else "/"


def max_connections(in_flight: int) -> int:
    """How many clients may be connected while *in_flight* attempts are, by the descriptors we have.

    The soft limit is raised to the hard one first.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    left = (1_048_576 if hard == resource.RLIM_INFINITY else hard) - OWN_DESCRIPTORS
    return max(left - in_flight, left // 2)
