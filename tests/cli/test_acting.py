"""`gateway calls cancel | replay | export | tail` as a shell sees them, against a running gateway."""

import asyncio
import json
import os
import sys

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.gateway_process import run, start
from tests.security.keys import by, make_key
from tests.steps import Answer, Gate, held, stream

ASYNC = [("Prefer", "respond-async")]


async def calls(gw, *arguments):
    """Run `gateway calls` where the config of *gw* leads: exit code, stdout, stderr."""
    return await run("calls", *arguments, "--config", str(gw.config))


async def test_cancel_by_id(gateway, upstream):
    upstream.answer = held(Gate())
    async with gateway() as gw:
        ids = [(await gw.chat(headers=ASYNC)).json()["id"] for _ in range(2)]
        done = await calls(gw, "cancel", *ids)
        listed = await gw.calls(status="cancelled")

    assert done == (0, f"{ids[0]} cancelled\n{ids[1]} cancelled\n", "")
    assert len(listed) == 2


async def test_some_that_fail_are_exit_6_and_all_of_them_say_why(gateway, upstream):
    async with gateway() as gw:
        answer = await gw.chat()
        partly = await calls(gw, "replay", answer.call_id, "call_nowhere")
        none = await calls(gw, "replay", "call_nowhere")

    assert partly[0] == 6
    assert partly[1].startswith("call_")
    assert partly[2].startswith("call_nowhere: ")
    assert (none[0], none[1]) == (3, "")


async def test_replay_by_id_prints_the_new_id(gateway, upstream):
    async with gateway() as gw:
        answer = await gw.chat()
        code, out, _ = await calls(
            gw, "replay", answer.call_id, "--model", "o3", "--body-patch", '{"n": 2}'
        )
        call = await gw.final(out.strip())
        _, shown, _ = await calls(gw, "replay", answer.call_id, "--json")

    assert code == 0
    assert (call["replay_of"], call["model"]) == (answer.call_id, "o3")
    assert upstream.requests[1].json() == {"model": "o3", "messages": [], "n": 2}
    assert json.loads(shown)["replay_of"] == answer.call_id


async def test_many_are_counted_first_and_need_a_yes(gateway, upstream):
    async with gateway() as gw:
        for _ in range(2):
            await gw.chat()
        asked = await calls(gw, "replay", "--status", "succeeded")
        hits = upstream.hits
        done = await calls(gw, "replay", "--status", "succeeded", "--of-model", "gpt*", "--yes")
        nothing = await calls(gw, "cancel", "--status", "queued")
        _, out, _ = await calls(gw, "cancel", "--status", "queued", "--json")

    assert (asked[0], asked[1], hits) == (2, "", 2)
    assert "Replay 2 calls?" in asked[2]
    assert done == (0, "2 of 2 calls replayed\n", "")
    assert nothing == (0, "0 of 0 calls cancelled\n", "")
    assert json.loads(out) == {"object": "bulk", "matched": 0, "done": 0, "refused": []}


@pytest.mark.parametrize(("reply", "code", "hits"), [(b"y\n", 0, 2), (b"n\n", 1, 1)])
async def test_a_terminal_is_asked(gateway, upstream, reply, code, hits):
    controller, terminal = os.openpty()
    async with gateway() as gw:
        await gw.chat()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "calls", "replay", "--status", "succeeded"),
            *("--config", str(gw.config)),
            stdin=terminal,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(terminal)
        os.write(controller, reply)
        await process.communicate()
        await gw.wait_calls(hits, status="succeeded")
    os.close(controller)

    assert process.returncode == code
    assert upstream.hits == hits


async def test_partly_refused_is_exit_6(gateway, upstream):
    async with gateway() as gw:
        await gw.chat()
        secret = await gw.chat(headers=[("Authorization", "Bearer own")])
        done = await calls(gw, "replay", "--status", "succeeded", "--yes")

    assert done == (6, "1 of 2 calls replayed\n", f"{secret.call_id}: conflict\n")


async def test_calls_are_deleted_by_id_or_by_filters(gateway, upstream):
    async with gateway() as gw:
        key = await make_key(gw)
        named, *kept = [(await gw.chat()).call_id for _ in range(2)]
        for _ in range(2):
            await gw.chat(headers=by(key["key"]))
        of_key = ("delete", "--key-id", key["id"])
        counted, by_id = await asyncio.gather(
            calls(gw, *of_key, "--dry-run"), calls(gw, "delete", named, "call_nowhere")
        )
        before = await gw.calls()
        done = await calls(gw, *of_key, "--yes")
        left = await gw.calls()

    assert counted == (0, "2 calls\n", "")
    assert len(before) == 3
    assert by_id[:2] == (6, f"{named} deleted\n")
    assert by_id[2].startswith("call_nowhere: ")
    assert done == (0, "2 of 2 calls deleted\n", "")
    assert [call["id"] for call in left] == kept


@pytest.mark.parametrize(
    "arguments",
    [
        ("delete",),
        ("delete", "--yes"),
        ("delete", "call_1", "--all"),
        ("delete", "call_1", "--dry-run"),
        ("cancel",),
        ("cancel", "call_1", "--status", "queued"),
        ("replay", "call_1", "--body-patch", "{"),
        ("tail", "call_1", "--json"),
        ("tail", "--offset", "3"),
    ],
)
def test_wrong_usage_is_exit_2(arguments):
    done = CliRunner().invoke(main, ["calls", *arguments])

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr


async def test_a_filter_that_the_gateway_refuses_is_exit_2(gateway, upstream):
    async with gateway() as gw:
        code, out, err = await calls(gw, "cancel", "--status", "odd")

    assert (code, out) == (2, "")
    assert "status" in err


@pytest.mark.parametrize("arguments", [("cancel", "call_1"), ("tail", "call_1")])
async def test_without_a_gateway_nothing_can_be_done(gateway, upstream, arguments):
    async with gateway() as gw:
        config = gw.config
    code, out, _ = await run("calls", *arguments, "--config", str(config))

    assert (code, out) == (4, "")


async def test_export_is_the_same_with_the_gateway_down(gateway, upstream):
    async with gateway() as gw:
        await gw.chat()
        answer = await gw.request("GET", "/-/calls/export")
        up = await calls(gw, "export", "--status", "succeeded")
    down = await calls(gw, "export", "--status", "succeeded")

    assert up == down == (0, answer.body.decode(), "")


async def test_tail_prints_what_was_recorded_and_what_comes(gateway, upstream):
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", b"data: 2\n\n"], gate)
    async with gateway() as gw:
        sent = await gw.send_chat(stream=True)
        gate.release()
        await sent.read_until(b"1\n\n")
        process = await start("calls", "tail", sent.call_id, "--config", str(gw.config))
        first = await process.stdout.readline()
        gate.open()
        rest, _ = await process.communicate()
        skipped = await calls(gw, "tail", sent.call_id, "--offset", "9")

    assert process.returncode == 0
    assert first + rest == b"data: 1\n\ndata: 2\n\n"
    assert skipped == (0, "data: 2\n\n", "")


class Proxy:
    """Stands before a gateway: `port` can change, and one answer is cut after some bytes."""

    def __init__(self, port, *, cut_after=None):
        self.port = port
        self.cut_after = cut_after
        self.followed = asyncio.Queue()  #: targets of requests that follow an answer

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            back, forth = await asyncio.open_connection("127.0.0.1", self.port)
            forth.write(head)
            target = head.split(b" ")[1].decode()
            if "follow" in target:
                self.followed.put_nowait(target)
            while data := await back.read(65536):
                writer.write(data)
                if self.cut_after and self.cut_after in data:
                    self.cut_after = None
                    break
            forth.close()
        except OSError:
            pass
        writer.close()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error):
        self._server.close()


async def test_tail_goes_on_where_a_connection_was_lost(gateway, upstream):
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", b"data: 2\n\n"], gate)
    async with gateway() as gw, Proxy(gw.port, cut_after=b"data: 1") as proxy:
        sent = await gw.send_chat(stream=True)
        gate.release()
        await sent.read_until(b"1\n\n")
        process = await start("calls", "tail", sent.call_id, "--url", proxy.url)
        first = await proxy.followed.get()
        second = await proxy.followed.get()
        gate.open()
        out, err = await process.communicate()

    assert (process.returncode, out, err) == (0, b"data: 1\n\ndata: 2\n\n", b"")
    assert first.endswith("follow=true&offset=0")
    assert second.endswith("follow=true&offset=9&attempt=1")


async def test_tail_outlives_the_gateway(gateway_process, upstream):
    """Killed and started again, it goes on with the call, and tail with it."""
    gate = Gate()
    upstream.answer = held(gate, Answer(body=b"at last"))
    async with gateway_process() as gw:
        call_id = (await gw.chat(headers=ASYNC)).json()["id"]
        await upstream.wait_hits(1)
        proxy = await Proxy(gw.port).__aenter__()
        process = await start("calls", "tail", call_id, "--url", proxy.url)
        await proxy.followed.get()
        gw.kill()
        await gw.wait()
    async with gateway_process() as gw:
        proxy.port = gw.port
        await upstream.wait_hits(2)
        gate.open()
        out, err = await process.communicate()
        call = await gw.call(call_id)
    await proxy.__aexit__()

    assert (process.returncode, out, err) == (0, b"at last", b"")
    assert [attempt["outcome"] for attempt in call["attempts"]] == ["interrupted", "answered"]


async def test_tail_never_joins_the_bytes_of_two_attempts(gateway_process, upstream, tmp_path):
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", b"data: 2\n\n"], gate)
    gate.release()
    async with gateway_process() as gw:
        call_id = (await gw.chat(headers=ASYNC)).json()["id"]
        config = str(tmp_path / "config.toml")
        process = await start("calls", "tail", call_id, "--config", config)
        first = await process.stdout.readline()
        gw.kill()
        await gw.wait()
    async with gateway_process():
        await upstream.wait_hits(2)
        gate.open()
        rest, err = await process.communicate()

    assert process.returncode == 1
    assert first + rest == b"data: 1\n\n"
    assert b"attempt" in err


async def test_tail_of_an_answer_that_broke_off_says_so(gateway, upstream):
    async def cut(request):
        await request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"x" * 300_000)
        request.connection.close()

    upstream.answer = cut
    async with gateway() as gw:
        answer = await gw.chat()
        code, out, err = await calls(gw, "tail", answer.call_id)

    assert (code, len(out)) == (1, 300_000)
    assert "incomplete" in err


async def test_tail_of_a_call_without_an_answer_says_why(gateway, upstream):
    upstream.answer = held(Gate(), Answer())
    async with gateway() as gw:
        call_id = (await gw.chat(headers=ASYNC)).json()["id"]
        await gw.request("POST", f"/-/calls/{call_id}/cancel")
        code, out, err = await calls(gw, "tail", call_id)

    assert (code, out) == (1, "")
    assert "cancelled" in err
