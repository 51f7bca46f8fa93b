"""An AI API that does as it is told, on a real socket of the test's own loop.

    upstream.script = [503, stall(0.05), 200]  # one step a request, in order of arrival
    upstream.answer = Answer(body=b"…")        # every request beyond the script
    upstream.choose = lambda request: …        # or the step decided by looking at the request

Steps are in tests/steps.py. `wait_…()` return when something has happened, so that no test sleeps.
Every request is kept byte for byte (`requests`), with `hits`, `in_flight`, `peak` and `connections`
counted here, at the only place that cannot be fooled. `in_flight` ends with the answer's last byte,
or when the client closes its connection.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests import http1
from tests.steps import Connection, Request, Step, as_play


class _Reader(asyncio.StreamReader):
    """A reader that calls *on_end* the moment the peer ends the connection."""

    def __init__(self) -> None:
        super().__init__(limit=2**26)
        self.on_end: Callable[[], None] = lambda: None

    def feed_eof(self) -> None:
        super().feed_eof()
        self.on_end()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.on_end()


@dataclass(eq=False)
class ScriptedUpstream:
    """The server. `async with` opens and closes it; a bug in a step fails the test at the end."""

    script: list[Step] = field(default_factory=list)
    answer: Step = 200
    choose: Callable[[Request], Step] | None = None
    requests: list[Request] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def hits(self) -> int:
        """How many requests arrived whole."""
        return len(self.requests)

    @property
    def request(self) -> Request:
        """The one request that arrived."""
        (request,) = self.requests
        return request

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self._waiters: list[asyncio.Future[None]] = []
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._running: set[asyncio.Task[None]] = set()
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_listening()
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def listen(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        self._server = await self.loop.create_server(
            lambda: asyncio.StreamReaderProtocol(_Reader(), self._connect),
            "127.0.0.1",
            self.port,
            backlog=1024,
            ssl=self.tls,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        """Refuse new connections; the open ones stay."""
        self._server.close()

    async def wait_until(self, claim: Callable[[], bool]) -> None:
        """Return once *claim* holds; asked again whenever a request or connection comes or ends."""
        while not claim():
            waiter = self.loop.create_future()
            self._waiters.append(waiter)
            await waiter

    async def wait_hits(self, hits: int) -> None:
        """Return once *hits* requests have arrived in all."""
        await self.wait_until(lambda: self.hits >= hits)

    async def wait_idle(self) -> None:
        """Return once nothing is in flight."""
        await self.wait_until(lambda: self.in_flight == 0)

    async def wait_closed(self, request: Request) -> float:
        """Return the moment (loop clock) at which the client closed the connection of *request*."""
        await request.connection.closed.wait()
        assert request.connection.closed_at is not None
        return request.connection.closed_at

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(len(self.connections) + 1, reader, writer)
        self.connections.append(connection)
        task = self._tasks.create_task(self._serve(connection))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        assert isinstance(reader, _Reader)
        reader.on_end = lambda: self._ended(connection, task)
        self._changed()

    def _ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        if connection.closed_at is None:
            connection.closed_at = self.loop.time()
            connection.closed.set()
            task.cancel()

    async def _serve(self, connection: Connection) -> None:
        try:
            while not connection.writer.is_closing():
                request = await self._read(connection)
                await self._play(request)
        except (*http1.BROKEN, asyncio.LimitOverrunError):
            pass
        finally:
            connection.close()

    async def _read(self, connection: Connection) -> Request:
        reader = connection.reader
        start_line, headers = await http1.read_head(reader)
        method, target, _ = start_line.split(" ")
        if http1.value(headers, "expect") == "100-continue":
            connection.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b"".join([piece async for piece in http1.read_pieces(reader, headers)])
        now = self.loop.time()
        return Request(self.hits + 1, method, target, headers, body, connection, now)

    async def _play(self, request: Request) -> None:
        self.requests.append(request)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self._changed()
        try:
            if self.script:
                step = self.script.pop(0)
            else:
                step = self.choose(request) if self.choose else self.answer
            await as_play(step)(request)
        finally:
            self.in_flight -= 1
            self._changed()
