"""The command `gateway`, started by forking a process that has imported it.

Importing takes up to a second of a core, and the tests start the command some two hundred times. What
is forked is a process like any other: with a pid, signals, an exit code and standard streams of its
own. A test that changes the environment gets a new interpreter, as imports may depend on it.
"""

import asyncio
import multiprocessing
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["gateway.cli", "tests.forked"])


@dataclass(eq=False)
class Forked:
    """What a test needs of `asyncio.subprocess.Process`."""

    process: ForkServerProcess
    stdout: asyncio.StreamReader | None = None
    stderr: asyncio.StreamReader | None = None

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()

    async def wait(self) -> int:
        loop, sentinel = asyncio.get_running_loop(), self.process.sentinel
        ended = loop.create_future()
        # Two may wait for the same process, and a descriptor has one reader.
        own = os.dup(sentinel)
        loop.add_reader(own, lambda: ended.done() or ended.set_result(None))
        try:
            await ended
        finally:
            loop.remove_reader(own)
            os.close(own)
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    async def communicate(self) -> tuple[bytes, bytes]:
        async def read(stream: asyncio.StreamReader | None) -> bytes:
            return b"" if stream is None else await stream.read()

        out, err = await asyncio.gather(read(self.stdout), read(self.stderr))
        await self.wait()
        return out, err


async def start(*arguments: str, stderr: Any = PIPE) -> Any:
    """Start `gateway` with *arguments* and without a stdin; its stdout is a pipe."""
    if _environment() != _ENVIRONMENT:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *arguments),
            stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=stderr,
        )  # fmt: skip
    out, their_out = await _open_pipe()
    err, their_err = await _open_pipe() if stderr is PIPE else (None, os.dup(stderr.fileno()))
    try:
        streams = _Descriptor(their_out), _Descriptor(their_err)
        process = _SERVER.Process(target=_run, args=(arguments, *streams), daemon=True)
        process.start()
    finally:
        os.close(their_out)
        os.close(their_err)
    return Forked(process, out, err)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


_ENVIRONMENT = _environment()


async def _open_pipe() -> tuple[asyncio.StreamReader, int]:
    """A stream of what is written to the descriptor."""
    ours, theirs = os.pipe()
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    return reader, theirs


@dataclass(frozen=True)
class _Descriptor:
    """A file descriptor that arrives open in the other process."""

    number: int

    def __reduce__(self) -> Any:
        return _arrived, (DupFd(self.number),)


def _arrived(sent: Any) -> int:
    return int(sent.detach())


def _run(arguments: tuple[str, ...], out: int, err: int) -> None:
    """Be the command. Raises: SystemExit."""
    from gateway.cli import main

    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, standard in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(ours, standard)
        os.close(ours)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in enumerate("rww"))
    sys.stderr.reconfigure(errors="backslashreplace", line_buffering=True)
    sys.argv = ["gateway", *arguments]
    main()
