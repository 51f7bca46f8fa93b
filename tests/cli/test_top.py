"""`gateway top`: the real command, in a real terminal or without one."""

import json
import termios

from tests.gateway_process import run
from tests.steps import Gate, held
from tests.terminal import open_terminal


async def test_once_tells_machines_how_things_stand(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        call = await gw.send_chat()
        await upstream.wait_hits(1)
        code, out, err = await run("top", "--once", "--json", "--config", str(gw.config))
        gate.open()
        await call.read()

    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["stats"]["in_flight"] == 1
    assert [each["name"] for each in told["upstreams"]] == ["openai"]
    assert [each["status"] for each in told["calls"]] == ["running"]


async def test_without_a_terminal_it_prints_once(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        call = await gw.send_chat()
        await upstream.wait_hits(1)
        code, out, err = await run("top", "--config", str(gw.config))
        gate.open()
        await call.read()

    assert (code, err) == (0, "")
    assert "in flight 1" in out
    assert "lag" not in out  # nothing is shown that one look cannot tell
    assert call.call_id in out
    assert "\x1b" not in out


async def test_a_terminal_shows_calls_until_q_and_is_left_as_it_was(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw, open_terminal("top", "--config", str(gw.config)) as terminal:
        before = terminal.modes()
        await terminal.wait_for("in flight 0")
        call = await gw.send_chat()
        await upstream.wait_hits(1)
        at = await terminal.wait_for("in flight 1")
        running = (await gw.calls())[0]["id"]
        await terminal.wait_for(running, beyond=at - 1000)
        assert not terminal.modes() & termios.ICANON
        terminal.press("q")
        code = await terminal.wait()
        after = terminal.modes()
        gate.open()
        await call.read()

    assert code == 0
    assert after == before
    assert after & termios.ICANON
    assert terminal.written.rindex("\x1b[?1049l") > terminal.written.rindex("\x1b[?1049h")


async def test_keys_pause_tune_and_cancel_after_asking(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw, open_terminal("top", "--config", str(gw.config)) as terminal:
        await terminal.wait_for("in flight 0")
        call = await gw.send_chat()
        await upstream.wait_hits(1)
        running = (await gw.calls())[0]["id"]
        at = await terminal.wait_for(running)
        terminal.press("+")
        at = await terminal.wait_for("limit of openai, now 100: 101_", beyond=at)
        terminal.press("\x7f\x7f\x7f7\r")
        at = await terminal.wait_for("1/7", beyond=at)
        terminal.press("P")
        at = await terminal.wait_for("pause openai? y or n", beyond=at)
        terminal.press("y")
        at = await terminal.wait_for("paused", beyond=at)
        terminal.press("jC")
        at = await terminal.wait_for(f"cancel {running}? y or n", beyond=at)
        terminal.press("n")
        terminal.press("Cy")
        await terminal.wait_for(f"{running} is cancelled", beyond=at)
        terminal.press("q")
        code = await terminal.wait()
        shown = await gw.api("GET", "/-/upstreams/openai")
        cancelled = await gw.call(running)
        await call.read()

    assert code == 0
    assert (shown["max_in_flight"], shown["paused"]) == (7, True)
    assert cancelled["status"] == "cancelled"


async def test_nothing_recorded_plays_with_the_terminal(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    evil = {"model": "\x1b]0;owned\x07\u202egpt", "messages": []}
    async with gateway() as gw, open_terminal("top", "--config", str(gw.config)) as terminal:
        await terminal.wait_for("in flight 0")
        call = await gw.send_chat(json=evil)
        await terminal.wait_for("\\x1b]0;owned")
        terminal.press("q")
        await terminal.wait()
        gate.open()
        await call.read()

    assert "\x1b]0;owned" not in terminal.written
    assert "\u202e" not in terminal.written


async def test_no_gateway_is_exit_4(tmp_path):
    code, out, _ = await run("top", "--once", "--url", "http://127.0.0.1:9")

    assert (code, out) == (4, "")
