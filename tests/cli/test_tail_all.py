"""`gateway calls tail` without an id: the real command follows all calls."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.client import PATIENCE_S
from tests.gateway_process import start
from tests.terminal import open_terminal


class Lines:
    """What the command prints, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def until(self, words: str) -> str:
        """Return the next line that holds *words*."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self.process.stdout.readline()).decode():
                if words in line:
                    return line.rstrip("\n")
        raise AssertionError(f"it ended without {words}")

    async def call(self, **values: Any) -> Any:
        """Return the next JSON line with these *values*."""
        while True:
            call = json.loads(await self.until("{"))
            if call.items() >= values.items():
                return call

    async def watching(self) -> None:
        """Return once it says that it watches."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while b"watching all calls" not in await self.process.stderr.readline():
                pass


@asynccontextmanager
async def tail(*arguments: str) -> AsyncIterator[Lines]:
    """Run the command without a terminal; it watches by the time a test sees it."""
    process = await start("calls", "tail", *arguments)
    lines = Lines(process)
    try:
        await lines.watching()
        yield lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_every_call_is_a_line_of_json_for_each_event(gateway, upstream):
    upstream.script = [503, 200]
    async with gateway() as gw, tail("--json", "--config", str(gw.config)) as lines:
        answer = await gw.chat()
        running = await lines.call(id=answer.call_id)
        paused = await lines.call(wait_reason="backoff")
        final = await lines.call(status="succeeded")
        listed = (await gw.calls())[0]

    assert running["status"] == "running"
    assert paused["status"] == "queued"
    assert {name: final[name] for name in listed if name != "preview"} == {
        name: listed[name] for name in listed if name != "preview"
    }


async def test_filters_choose(gateway, upstream):
    upstream.script = [400, 200, 400]
    async with (
        gateway(upstreams={"openai": {}, "other": {}}) as gw,
        tail("--status", "failed", "--upstream", "oth*", "--config", str(gw.config)) as lines,
    ):
        await gw.chat()
        await gw.chat(path="/other/v1/chat/completions")
        failed = await gw.chat(path="/other/v1/chat/completions")
        line = await lines.until("call_")

    assert failed.call_id in line
    assert "failed" in line
    assert "upstream_error" in line


async def test_every_filter_of_a_list_chooses(gateway, upstream):
    filters = [
        *(("-q", "refund"), ("-q", "id:call_* status:failed"), ("--tag", "team:search")),
        *(("--path", "/v1/wanted*"), ("--idempotency-key", "order-7"), ("--http-status", "404")),
    ]
    headers = [("x-gateway-tags", "team=search"), ("Idempotency-Key", "order-7")]
    upstream.script = [200, 404]
    async with gateway() as gw, AsyncExitStack() as stack:
        config = ("--config", str(gw.config))
        tails = [await stack.enter_async_context(tail(*each, *config)) for each in filters]
        other = await gw.chat(json={"model": "m", "input": "something else"})
        wanted = await gw.chat(
            path="/v1/wanted/it", headers=headers, json={"model": "m", "input": "my refund, please"}
        )
        lines = [await each.until("call_") for each in tails]

    assert (other.status, wanted.status) == (200, 404)
    assert [wanted.call_id in line for line in lines] == [True] * len(filters)


async def test_a_filter_that_makes_no_sense_ends_it(gateway):
    async with gateway() as gw:
        process = await start("calls", "tail", "--tag", "team", "--config", str(gw.config))
        _, err = await process.communicate()

    assert process.returncode == 2
    assert b"NAME:VALUE" in err


@pytest.mark.slow
async def test_a_restarted_gateway_is_found_again_and_nothing_is_left_out(
    gateway_process, upstream, tmp_path
):
    config = str(tmp_path / "config.toml")
    async with AsyncExitStack() as stack:
        async with gateway_process() as gw:
            lines = await stack.enter_async_context(tail("--json", "--config", config))
            before = await gw.chat()
            seen = await lines.call(id=before.call_id, status="succeeded")
            gw.terminate()
            await gw.wait()
        async with gateway_process() as gw:
            missed = await gw.chat()  # it may or may not watch again by now
            final = await lines.call(id=missed.call_id, status="succeeded")
            await lines.watching()

    assert (seen["id"], final["id"]) == (before.call_id, missed.call_id)


async def test_a_terminal_gets_lines_and_no_recorded_control_characters(gateway, upstream):
    evil = {"model": "\x1b[2Jgpt", "messages": []}
    async with (
        gateway() as gw,
        open_terminal("calls", "tail", "--config", str(gw.config), columns=200) as terminal,
    ):
        await terminal.wait_for("watching")
        answer = await gw.chat(json=evil)
        await terminal.wait_for("succeeded")
        terminal.process.send_signal(signal.SIGINT)
        code = await terminal.wait()

    assert code == 130
    assert answer.call_id in terminal.written
    assert "\\x1b[2Jgpt" in terminal.written
    assert "\x1b[2J" not in terminal.written


async def test_filters_and_an_id_exclude_each_other():
    process = await start("calls", "tail", "call_1", "--status", "failed")
    _, err = await process.communicate()

    assert process.returncode == 2
    assert b"no filters" in err
