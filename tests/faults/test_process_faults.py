"""What happens to the process from outside: no disk, no descriptors, no time, another clock."""

import asyncio
import resource
import signal
import sqlite3
import sys
from typing import Any

import pytest

from gateway.config import load
from gateway.service import open_service
from tests import configuration
from tests.client import PATIENCE_S, GatewayClient
from tests.steps import Answer, Gate, held

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")


async def until(gw: GatewayClient, status: int) -> Any:
    """Return what `/-/ready` says once it answers *status*."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            ready = await gw.request("GET", "/-/ready")
            if ready.status == status:
                return ready.json()


def limit(pid: int, what: int, soft: int) -> None:
    """Give a running process another soft limit."""
    _, hard = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, hard))


async def test_a_full_disk_stops_new_calls_and_nothing_else(gateway_process, upstream, tmp_path):
    gate = Gate()
    async with gateway_process() as gw:
        before = await gw.chat()
        upstream.answer = held(gate, Answer(body=b'{"kept":true}'))
        running = await gw.send_chat()
        await upstream.wait_hits(2)

        limit(gw.process.pid, resource.RLIMIT_FSIZE, 4096)
        refused = await gw.chat()
        ready = await until(gw, 503)
        detached = await gw.chat(headers=[("Prefer", "respond-async")])
        gate.open()
        answer = await running.read()

        limit(gw.process.pid, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
        await until(gw, 200)
        after = await gw.chat()
        calls = {call["id"]: call for call in await gw.wait_calls(3, status="succeeded")}

    assert (refused.status, refused.code) == (503, "journal_unavailable")
    assert (detached.status, detached.code) == (503, "journal_unavailable")
    assert not next(each for each in ready["checks"] if each["name"] == "journal")["ok"]
    assert (answer.status, answer.body) == (200, b'{"kept":true}')
    assert calls.keys() == {before.call_id, answer.call_id, after.call_id}
    with sqlite3.connect(tmp_path / "gateway.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


async def test_without_descriptors_running_calls_go_on_and_new_ones_come_back(
    gateway_process, upstream
):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway_process() as gw:
        running = [await gw.send_chat() for _ in range(3)]
        await upstream.wait_hits(3)

        limit(gw.process.pid, resource.RLIMIT_NOFILE, 16)
        flood = [await gw.connect() for _ in range(40)]
        for each in flood:
            await each.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        gate.open()
        answers = [await each.read() for each in running]
        for each in flood:
            each.hang_up()

        limit(gw.process.pid, resource.RLIMIT_NOFILE, 1024)
        async with asyncio.timeout(PATIENCE_S):
            while (await gw.chat()).status != 200:
                pass
        complaints = len(gw.stderr_lines)

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert complaints < 100


async def test_a_stopped_process_goes_on_where_it_was(gateway_process, upstream):
    """Answers that came meanwhile are read before any deadline is looked at."""
    gate = Gate()
    upstream.answer = held(gate)
    patience = {"openai": {"timeouts": {"first_byte_s": 1.0}, "retry": {"max_attempts": 1}}}
    async with gateway_process(upstreams=patience) as gw:
        sent = [await gw.send_chat() for _ in range(5)]
        await upstream.wait_hits(5)
        gw.process.send_signal(signal.SIGSTOP)
        gate.open()
        await upstream.wait_until(lambda: upstream.in_flight == 0)
        await asyncio.sleep(1.8)  # the time-out passes while nobody is there to notice
        gw.process.send_signal(signal.SIGCONT)
        answers = [await each.read() for each in sent]

    assert [answer.status for answer in answers] == [200] * 5
    assert upstream.hits == 5


@pytest.mark.slow
@pytest.mark.parametrize("stopped_s", [0.0, 6.0])
async def test_what_times_out_after_a_stop_is_charged_to_no_upstream(
    gateway_process, upstream, stopped_s
):
    upstream.answer = held(Gate())
    fragile = {
        "timeouts": {"first_byte_s": 1.0},
        "retry": {"max_attempts": 1},
        "breaker": {"enabled": True, "min_attempts": 5},
    }
    async with gateway_process(upstreams={"openai": fragile}) as gw:
        await asyncio.sleep(0.6)  # by then it has given a sign of life
        sent = [await gw.send_chat() for _ in range(5)]
        await upstream.wait_hits(5)
        gw.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(stopped_s)
        gw.process.send_signal(signal.SIGCONT)
        answers = [await each.read() for each in sent]
        openai = await gw.api("GET", "/-/upstreams/openai")

    assert [answer.code for answer in answers] == ["first_byte_timeout"] * 5
    charged = (openai["breaker"]["state"], openai["recent"]["failed"])
    assert charged == (("closed", 0) if stopped_s else ("open", 5))


@pytest.mark.parametrize(
    "jump_s", [3600.0, -3600.0, -1.7e9, 4e8], ids=["+1h", "-1h", "1970", "2038"]
)
async def test_another_wall_clock_moves_no_timer(tmp_path, upstream, jump_s):
    clock = {"now": 1_780_000_000.0}
    gate = Gate()
    upstream.answer = held(gate)
    config = load(configuration.write(tmp_path / "config.toml", f"{upstream.url}/v1"), {})
    async with open_service(config, now=lambda: clock["now"]) as service:
        gw = GatewayClient("127.0.0.1", service.port)
        sent = await gw.send_chat(headers=[("x-gateway-timeout-s", "30")])
        await upstream.wait_hits(1)
        clock["now"] += jump_s
        late = await gw.send_chat()
        await upstream.wait_hits(2)
        gate.open()
        answers = [await sent.read(), await late.read()]
        calls = [await gw.final(each.call_id) for each in answers]
        listed = await gw.calls()
        gw.close()

    assert [call["status"] for call in calls] == ["succeeded", "succeeded"]
    assert all(0 <= call["duration_ms"] < 30_000 for call in calls)
    assert [call["id"] for call in listed] == [calls[1]["id"], calls[0]["id"]]
    assert upstream.hits == 2


async def test_a_stop_does_not_wait_for_a_journal_that_is_gone(gateway_process, upstream, tmp_path):
    upstream.answer = held(Gate())
    async with gateway_process(server={"drain_s": 0.2}) as gw:
        waiting = await gw.send_chat()
        await gw.chat(headers=[("Prefer", "respond-async")])
        await upstream.wait_hits(2)
        for each in tmp_path.glob("gateway.db*"):
            each.rename(each.with_name(f"moved-{each.name}"))
        await until(gw, 503)
        gw.terminate()
        told = await waiting.read()
        code = await gw.wait()

    assert told.code == "interrupted"
    assert code == 0
