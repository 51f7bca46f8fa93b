"""Telemetry: one line and a few numbers a call, and honest health."""

import json

from tests.steps import Gate, held


async def test_each_call_leaves_one_canonical_line_with_its_id(gateway_process, upstream):
    upstream.script = [200, 503, 200, 400]
    async with gateway_process() as gw:
        ids = [(await gw.chat()).call_id for _ in range(3)]
        gw.terminate()
        await gw.wait()
        lines = [json.loads(line) for line in gw.stderr_lines if line.startswith("{")]

    finals = [line for line in lines if line["event"] in ("call_succeeded", "call_failed")]
    assert [line["call_id"] for line in finals] == ids
    assert [line["event"] for line in finals] == ["call_succeeded", "call_succeeded", "call_failed"]
    assert [line["attempts"] for line in finals] == [1, 2, 1]
    for line in finals:
        assert (line["upstream"], line["level"]) == ("openai", "info")
        assert line.keys() >= {"timestamp", "status", "duration_ms", "queued_ms"}
    about_calls = [line for line in lines if line["event"].startswith(("call_", "attempt_"))]
    assert all("call_id" in line for line in about_calls)


async def test_everything_but_the_banner_goes_to_stderr(gateway_process):
    async with gateway_process() as gw:
        await gw.chat()
        gw.terminate()
        await gw.wait()
        rest = await gw.process.stdout.read()

    assert gw.banner == f"gateway: listening on {gw.url}\n"
    assert rest == b""


async def test_metrics_count_calls_and_attempts(gateway, upstream):
    gate = Gate()
    upstream.script = [200, 503, 200, 400, held(gate)]
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        for _ in range(3):
            await gw.chat()
        running = await gw.send_chat()
        await upstream.wait_hits(5)
        queued = await gw.send_chat()
        await gw.wait_calls(1, status="queued")
        metrics = await gw.metrics()
        gate.open()
        await running.read()
        await queued.read()

    def total(*words):
        found = [n for sample, n in metrics.items() if all(word in sample for word in words)]
        assert found, f"no sample with {words} in {sorted(metrics)}"
        return sum(found)

    assert total("calls_total", 'upstream="openai"', "succeeded") == 2
    assert total("calls_total", 'upstream="openai"', "failed") == 1
    assert total("attempts_total", "answered") == 4
    assert total("in_flight{", 'upstream="openai"') >= 1
    assert total("queue_length", 'detached="false"') == 1
    assert total("loop_lag") >= 0
    assert total("commit", "_count") >= 3


async def test_a_refused_request_is_counted_though_it_makes_no_call(gateway):
    async with gateway(server={"max_body_bytes": 10}) as gw:
        await gw.request("POST", "/v1/x", body=b"x" * 11)
        metrics = await gw.metrics()

    refused = {sample: n for sample, n in metrics.items() if "body_too_large" in sample and n}
    assert list(refused.values()) == [1]


async def test_every_metric_that_is_promised_is_there(gateway):
    from gateway.telemetry.metrics import Metrics

    async with gateway() as gw:
        await gw.chat()
        text = (await gw.request("GET", "/-/metrics")).body.decode()

    described = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    promised = Metrics().names()
    missing = [
        name for name in promised if name not in described | {f"{d}_total" for d in described}
    ]
    assert missing == []


async def test_health_says_no_more_than_asked(gateway):
    async with gateway() as gw:
        healthy = await gw.api("GET", "/-/healthy")
        ready = await gw.api("GET", "/-/ready")

    assert healthy["ok"] is True
    assert ready["ok"] is True


async def test_the_api_describes_itself(gateway):
    async with gateway() as gw:
        described = await gw.api("GET", "/-/openapi.json")

    assert described["openapi"].startswith("3.1")
    assert {"/-/calls", "/-/calls/{id}", "/-/metrics", "/-/reload"} <= described["paths"].keys()
