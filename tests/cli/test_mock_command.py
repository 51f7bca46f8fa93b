"""`gateway mock`, as a user starts and stops it."""

import asyncio
import signal
import socket
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from gateway.cli.mock import mock
from tests.client import Client

PATIENCE_S = 20.0
COMMAND = (sys.executable, "-c", "from gateway.cli.mock import mock; mock()")


@asynccontextmanager
async def running(*arguments):
    """Start it; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_answers_and_stops_at_a_signal(number):
    arguments = ("--port", "0", "--latency-s", "0", "--tokens", "3", "--jitter", "0.5")
    async with running(*arguments) as process:
        line = (await process.stdout.readline()).decode()
        address = urlsplit(line.split()[-1])
        answer = await Client(address.hostname, address.port).request(
            "POST", "/v1/chat/completions", json={}
        )
        process.send_signal(number)
        rest, complaints = await process.communicate()

    assert line.startswith("gateway mock: listening on http://127.0.0.1:")
    assert answer.json()["usage"]["completion_tokens"] == 3
    assert (process.returncode, rest, complaints) == (0, b"", b"")


async def test_a_taken_port_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with running("--port", str(taken.getsockname()[1])) as process:
            said, complaints = await process.communicate()

    assert (process.returncode, said) == (1, b"")
    assert complaints.startswith(b"gateway mock: ")
    assert complaints.count(b"\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--latency-s", "-1"],
        ["--jitter", "1.5"],
        ["--failure-rate", "2"],
        ["--failure", "teapot"],
        ["--tokens", "many"],
        ["--port", "65536"],
        ["--speed", "1"],
    ],
)
def test_impossible_options_are_a_usage_error(arguments):
    result = CliRunner().invoke(mock, arguments)

    assert result.exit_code == 2
    assert result.stdout == ""
