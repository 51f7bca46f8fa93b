"""A command of ours in a terminal of its own, whose screen and keys a test has."""

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.client import PATIENCE_S


@dataclass(eq=False)
class Terminal:
    """The command and all that it wrote, escapes included."""

    process: asyncio.subprocess.Process
    fd: int
    written: str = ""
    _news: asyncio.Event | None = None

    async def wait_for(self, words: str, *, beyond: int = 0) -> int:
        """Return once *words* were written from position *beyond* on; where they end."""
        async with asyncio.timeout(PATIENCE_S):
            while (at := self.written.find(words, beyond)) < 0:
                self._news = asyncio.Event()
                await self._news.wait()
        return at + len(words)

    def press(self, keys: str) -> None:
        """Type *keys*."""
        os.write(self.fd, keys.encode())

    async def wait(self) -> int:
        """Return the exit code once the command has ended."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    def modes(self) -> int:
        """The terminal's local modes: whether it echoes, and waits for whole lines."""
        return int(termios.tcgetattr(self.fd)[3])

    def _read(self) -> None:
        try:
            data = os.read(self.fd, 65_536)
        except OSError:  # its other end is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self.fd)
        self.written += data.decode(errors="replace")
        if self._news is not None:
            self._news.set()


@asynccontextmanager
async def open_terminal(
    *arguments: str, columns: int = 80, rows: int = 24
) -> AsyncIterator[Terminal]:
    """Run the command `gateway` with *arguments* in a terminal of that size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        environment.pop(name, None)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    terminal = Terminal(process, ours)
    asyncio.get_running_loop().add_reader(ours, terminal._read)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
