"""The gateway as a process of its own, for signals, sudden death and restarts."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.client import PATIENCE_S, GatewayClient
from tests.forked import start


class GatewayProcess(GatewayClient):
    """A client of the process; it listens by the time a test sees it."""

    def __init__(self, process: asyncio.subprocess.Process, *, port: int, banner: str) -> None:
        super().__init__("127.0.0.1", port)
        self.process = process
        self.banner = banner  #: the first line on stdout
        self.stderr_lines: list[str] = []

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def wait_stderr(self, words: str) -> str:
        """Return the first line on stderr that holds *words*."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for line in self.stderr_lines:
                    if words in line:
                        return line
                await asyncio.sleep(0.002)


async def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command `gateway` to its end: exit code, stdout, stderr."""
    process = await start(*arguments)
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def open_gateway_process(config: Path) -> AsyncIterator[GatewayProcess]:
    """Run `gateway run` on *config* and a free port; kill it at the end if it still lives."""
    process = await start("run", "--config", str(config), "--port", "0")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            banner = (await process.stdout.readline()).decode()
        if not banner:
            said = (await process.stderr.read()).decode()
            raise AssertionError(f"it ended with {await process.wait()} and said: {said}")
        gateway = GatewayProcess(process, port=int(banner.rpartition(":")[2]), banner=banner)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_collect(process.stderr, gateway.stderr_lines))
            try:
                yield gateway
            finally:
                gateway.close()
                if process.returncode is None:
                    process.kill()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _collect(stream: asyncio.StreamReader, lines: list[str]) -> None:
    while line := await stream.readline():
        lines.append(line.decode().rstrip("\n"))
