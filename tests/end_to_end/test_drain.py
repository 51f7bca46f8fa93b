"""Stop: what somebody waits for is finished, what is new is refused, and nobody is left in doubt."""

import asyncio
import signal
from datetime import datetime, timedelta

import pytest

from tests import configuration
from tests import gateway_process as processes
from tests.steps import Gate, held, stream


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(gateway_process, upstream, number):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway_process(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        running = await gw.send_chat()
        await upstream.wait_hits(1)
        queued = await gw.send_chat()
        await gw.wait_calls(1, status="queued")
        gw.process.send_signal(number)
        refused = await until_draining(gw)
        ready = await gw.request("GET", "/-/ready")
        healthy = await gw.request("GET", "/-/healthy")
        calls = await gw.calls()
        gate.open()
        answers = [await running.read(), await queued.read()]
        code = await gw.wait()

    assert (refused.code, refused.header("x-gateway-call-id")) == ("draining", None)
    assert 1 <= int(refused.header("retry-after")) <= 60
    assert (ready.status, healthy.status, len(calls)) == (503, 200, 2)
    assert [(answer.status, answer.complete) for answer in answers] == [(200, True), (200, True)]
    assert code == 0


async def until_draining(gw):
    """Ask until a relayed request is refused; each that is not makes no upstream request."""
    while True:
        answer = await gw.request("GET", "/-/ready")
        if answer.status == 503:
            return await gw.chat()


async def test_a_gateway_with_nothing_to_do_stops_at_once(gateway_process):
    async with gateway_process() as gw:
        await gw.chat()
        gw.terminate()
        code = await gw.wait()

    assert code == 0


async def test_a_stream_in_flight_is_finished(gateway_process, upstream):
    gate = Gate()
    upstream.answer = stream([b"data: 1\n\n", b"data: [DONE]\n\n"], gate)
    async with gateway_process() as gw:
        sent = await gw.send_chat(stream=True)
        gate.release()
        await sent.read_until(b"1\n\n")
        gw.terminate()
        await until_draining(gw)
        gate.open()
        answer = await sent.read()
        code = await gw.wait()

    assert (answer.body, answer.complete) == (b"data: 1\n\ndata: [DONE]\n\n", True)
    assert code == 0


@pytest.mark.parametrize("how", ["second signal", "time is up"])
async def test_what_is_not_done_in_time_is_told_so(gateway_process, upstream, how):
    gate = Gate()
    upstream.choose = lambda request: (
        stream([b"data: 1\n\n", b"data: 2\n\n"], gate) if "stream" in request.target else held(gate)
    )
    gate.release()
    drain_s = 0.2 if how == "time is up" else 30
    async with gateway_process(server={"drain_s": drain_s}) as gw:
        streamed = await gw.send("POST", "/v1/stream", json={"stream": True})
        await streamed.read_until(b"1\n\n")
        plain = await gw.send_chat()
        await upstream.wait_hits(2)
        gw.terminate()
        if how == "second signal":
            await until_draining(gw)
            gw.terminate()
        answer, broken = await asyncio.gather(plain.read(), streamed.read())
        code = await gw.wait()
    async with gateway_process() as gw:
        calls = [await gw.call(exchange.call_id) for exchange in (plain, streamed)]

    assert (answer.status, answer.code) == (502, "interrupted")
    assert answer.header("x-should-retry") is None
    assert b'"code":"interrupted"' in broken.body
    assert not broken.complete
    assert code == 0
    for call in calls:
        assert (call["status"], call["error"]["code"]) == ("failed", "interrupted")
        (attempt,) = call["attempts"]
        assert (attempt["outcome"], attempt["ambiguous"]) == ("interrupted", True)


async def test_without_the_parser_that_withstands_smuggling_it_does_not_start(
    tmp_path, upstream, monkeypatch
):
    monkeypatch.setenv("AIOHTTP_NO_EXTENSIONS", "1")
    path = configuration.write(tmp_path / "config.toml", f"{upstream.url}/v1")
    code, _, said = await processes.run("run", "--config", str(path))

    assert code == 2
    assert said.endswith("unset AIOHTTP_NO_EXTENSIONS\n")


async def test_a_call_nobody_waits_for_is_given_back_for_the_next_start(gateway_process, upstream):
    """Its client left under finish; the upstream has its own key, so a start can send it again."""
    upstream.answer = held(Gate())
    table = {"openai": {"api_key": "sk-own"}}
    async with gateway_process(upstreams=table, server={"drain_s": 0.05}) as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        sent.hang_up()
        while not (await gw.call(call["id"]))["client_gone"]:
            pass
        gw.terminate()
        assert await gw.wait() == 0
    upstream.answer = 200
    async with gateway_process(upstreams=table) as gw:
        call = await gw.final(call["id"])

    assert call["status"] == "succeeded"
    lived = datetime.fromisoformat(call["finished_at"]) - datetime.fromisoformat(call["created_at"])
    assert abs(lived / timedelta(milliseconds=1) - call["duration_ms"]) < 100  # both lives of it
    assert [(a["outcome"], a["ambiguous"]) for a in call["attempts"]] == [
        ("interrupted", True),
        ("answered", False),
    ]


async def test_a_start_that_cannot_work_says_why_in_one_line(gateway_process, tmp_path):
    async with gateway_process() as gw:
        other = tmp_path / "other"
        other.mkdir()
        (other / "config.toml").write_text(
            f'[server]\nport = {gw.port}\n[upstreams.a]\nbase_url = "mock:"\n'
        )
        taken = await processes.run("run", "--config", str(other / "config.toml"))
        absent = await processes.run("run", "--config", str(other / "absent.toml"))

    assert (taken[0], absent[0]) == (1, 2)
    for code, out, err in (taken, absent):
        assert out == ""
        assert "Traceback" not in err, (code, err)
    assert str(gw.port) in taken[2]
    assert "absent.toml" in absent[2]
