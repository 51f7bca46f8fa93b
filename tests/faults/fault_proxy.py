"""A TCP proxy that spoils connections on purpose, between the gateway and its upstream.

It knows nothing of HTTP: bytes of the answer are counted from 0 on each connection, and a `Fault`
says what happens at which of them. Connections take the faults of `script` one by one, then `fault`.
"""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import Self

_RESETS = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to one connection; nothing of it: a plain tunnel."""

    delay_s: float = 0.0  #: before the answer's first byte
    piece_bytes: int = 65_536  #: the answer is forwarded in pieces of so many bytes …
    pause_s: float = 0.0  #: … with such a pause after each
    after: int | None = None  #: bytes of the answer, after which comes `then`
    then: str = "cut"  #: "cut": FIN; "reset": RST; "half_close"; "stall"; "garbage"
    swallow_request: bool = False  #: the request never reaches the upstream


@dataclass(eq=False)
class FaultProxy:
    """Listens on loopback in front of *target_port*. `async with` opens and closes it."""

    target_port: int
    fault: Fault = Fault()
    script: list[Fault] = field(default_factory=list)
    port: int = 0
    connections: int = 0

    async def __aenter__(self) -> Self:
        self._tunnels: list[asyncio.Task[None]] = []
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for tunnel in self._tunnels:
            tunnel.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        fault = self.script.pop(0) if self.script else self.fault
        self._tunnels.append(self._tasks.create_task(self._tunnel(reader, writer, fault)))

    async def _tunnel(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault
    ) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        there = self._tasks.create_task(_forward(reader, up_writer, fault))
        try:
            await _answer(up_reader, writer, fault)
        except ConnectionError:
            pass  # the other end is fed up
        finally:
            there.cancel()
            writer.close()
            up_writer.close()


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            if not fault.swallow_request:
                writer.write(data)
                await writer.drain()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
    """Forward the answer as far as *fault* lets it."""
    sent = 0
    if fault.after == 0 and not fault.swallow_request:
        await reader.read(1)  # the request was heard, so this is a fault of its answer
    elif fault.delay_s:
        data = await reader.read(fault.piece_bytes)
        await asyncio.sleep(fault.delay_s)
        writer.write(data)
        sent = len(data)
    while fault.after is None or sent < fault.after:
        left = fault.piece_bytes if fault.after is None else fault.after - sent
        data = await reader.read(min(fault.piece_bytes, left))
        if not data:
            return
        writer.write(data)
        await writer.drain()
        sent += len(data)
        if fault.pause_s:
            await asyncio.sleep(fault.pause_s)
    await _spoil(writer, fault.then)


async def _spoil(writer: asyncio.StreamWriter, then: str) -> None:
    if then == "reset":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
        writer.transport.abort()
    elif then == "half_close":
        with contextlib.suppress(OSError):  # the other side was faster, and has reset it
            writer.write_eof()
        await asyncio.Event().wait()
    elif then == "garbage":
        writer.write(b"\x00\xffgarbage\r\n\r\n" * 8)
        await writer.drain()
    elif then == "stall":
        await asyncio.Event().wait()


@contextlib.contextmanager
def black_hole() -> "contextlib.AbstractContextManager[int]":
    """Yield a port whose connections are never accepted: its queue is full, the handshake hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    try:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
            fillers.append(filler)
        yield listener.getsockname()[1]
    finally:
        for each in (*fillers, listener):
            each.close()
