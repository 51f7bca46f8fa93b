"""`gateway submit` as a shell sees it, against a running gateway and an upstream with a script."""

import asyncio
import json
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from tests import gateway_process as processes
from tests.client import PATIENCE_S
from tests.steps import Answer, Gate, held

ROUTE = "/v1/chat/completions"


def write_batch(path, count, **changes):
    lines = [
        {"custom_id": f"r-{n}", "method": "POST", "url": ROUTE, "body": {"model": "m", "n": n}}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(line | changes) + "\n" for line in lines))
    return path


def results(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines), "a custom_id stands there twice"
    return found


def append(path, text):
    with Path(path).open("a") as file:
        file.write(text)


def answering(request):
    return Answer(200, [("x-request-id", f"req-{request.json()['n']}")], request.body)


@pytest.fixture
def job(tmp_path):
    """Return the arguments of a job of *count* lines, and where its results go."""

    def make(count, *more, **changes):
        batch = write_batch(tmp_path / "batch.jsonl", count, **changes)
        out = tmp_path / "out.jsonl"
        config = ("--config", str(tmp_path / "config.toml"))
        return ("submit", str(batch), "--out", str(out), *config, *more), out

    return make


async def submit(*arguments):
    return await processes.run(*arguments)


async def test_each_line_has_its_result(gateway_process, upstream, job):
    upstream.choose = answering
    arguments, out = job(30, "--concurrency", "10")
    async with gateway_process() as gw:
        code, stdout, stderr = await submit(*arguments)
        calls = await gw.calls(limit=100)

    assert (code, stdout) == (0, "")
    assert "30 of 30 requests have a result" in stderr
    for n in range(30):
        result = results(out)[f"r-{n}"]
        call_id = result["id"].replace("batch_req_", "call_")
        assert call_id in {call["id"] for call in calls}
        assert result["error"] is None
        assert result["response"] == {
            "status_code": 200,
            "request_id": f"req-{n}",
            "body": {"model": "m", "n": n},
        }


async def test_numbers_and_texts_come_back_as_the_upstream_wrote_them(
    gateway_process, upstream, job
):
    upstream.script = [
        Answer(body=b'{\r\n "a": 1.10, "b": 123456789012345678901234567890 }'),
        Answer(200, [("Content-Type", "text/plain")], b'no "JSON"\n'),
    ]
    arguments, out = job(2, "--concurrency", "1")
    async with gateway_process():
        await submit(*arguments)

    first, second = out.read_text().splitlines()
    assert '"body":{   "a": 1.10, "b": 123456789012345678901234567890 }' in first
    assert json.loads(second)["response"]["body"] == 'no "JSON"\n'


async def test_failed_lines_make_it_partly_failed(gateway_process, upstream, job):
    """An upstream's error is a result; where there is no answer at all, `error` says why."""

    def choose(request):
        match request.json()["n"]:
            case 0:
                return Answer(400, body=b'{"error":{"message":"bad"}}')
            case 1:
                return held(Gate())
        return 200

    upstream.choose = choose
    arguments, out = job(3, "-H", "x-gateway-timeout-s: 0.3", "--concurrency", "1")
    async with gateway_process():
        code, _, stderr = await submit(*arguments)
        again = await submit(*arguments)

    found = results(out)
    assert (code, again[0]) == (6, 6)
    assert "3 of 3 requests have a result" in stderr
    assert "2 of them failed" in stderr
    assert found["r-0"]["response"]["status_code"] == 400
    assert found["r-1"]["response"] is None
    assert found["r-1"]["error"]["code"] == "batch_expired"
    assert upstream.hits == 3


async def test_a_refused_line_does_not_stop_the_others(gateway_process, upstream, job):
    arguments, out = job(2, "--concurrency", "1")
    too_large = {"custom_id": "big", "method": "POST", "url": ROUTE, "body": {"x": "x" * 2000}}
    append(arguments[1], json.dumps(too_large))
    async with gateway_process(server={"max_body_bytes": 1000}):
        code, _, _ = await submit(*arguments)

    assert code == 6
    assert results(out)["big"]["error"]["code"] == "body_too_large"
    assert upstream.hits == 2


async def test_bad_lines_are_told_with_their_numbers_before_anything_is_sent(
    gateway_process, upstream, job
):
    arguments, out = job(2)
    plain = {"custom_id": "r-1", "method": "POST", "url": ROUTE, "body": {}}
    wrong = (
        *({"custom_id": ""}, {"method": "GET"}, {"url": "http://a/v1"}, {"body": []}),
        *({"body": {"stream": True}}, {}),
    )
    lines = ["", "not JSON", *(json.dumps(plain | change) for change in wrong)]
    append(arguments[1], "\n".join(lines))
    async with gateway_process():
        code, _, stderr = await submit(*arguments)

    assert code == 2
    for number, word in enumerate(
        ("not JSON", "custom_id", "method", "url", "body", "stream", "line 2"), 4
    ):
        assert any(
            f"batch.jsonl:{number}: " in line and word in line for line in stderr.splitlines()
        )
    assert upstream.hits == 0
    assert not out.exists()


async def test_an_interrupted_job_goes_on_and_sends_nothing_twice(gateway_process, upstream, job):
    gate = Gate()
    upstream.choose = lambda request: held(gate, answering(request))
    arguments, out = job(40, "--concurrency", "15")
    async with gateway_process(upstreams={"openai": {"max_in_flight": 10}}) as gw:
        process = await processes.start(*arguments)
        await upstream.wait_hits(10)
        gate.release(5)
        await upstream.wait_hits(15)
        while out.read_text().count("\n") < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a file tells nobody
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
        with out.open("ab") as file:  # as if the machine had stopped in the middle of a line
            file.write(b'{"id":"batch_req_01K","custom_')
        gate.open()
        code, _, _ = await submit(*arguments)
        calls = await gw.calls(limit=100)

    assert process.returncode == 130
    assert b"run the same command again" in stderr
    assert code == 0
    assert len(results(out)) == 40
    assert (upstream.hits, len(calls)) == (40, 40)


async def test_a_gateway_that_dies_and_comes_back_loses_nothing(gateway_process, upstream, job):
    gate = Gate()
    upstream.choose = lambda request: held(gate, answering(request))
    arguments, out = job(20, "--concurrency", "20")
    async with gateway_process(upstreams={"openai": {"max_in_flight": 5}}) as gw:
        process = await processes.start(*arguments)
        await upstream.wait_hits(5)
        await gw.wait_calls(15, status="queued")
        gw.kill()
        await gw.wait()
    gate.open()
    async with gateway_process(upstreams={"openai": {"max_in_flight": 5}}) as gw:
        _, stderr = await process.communicate()
        calls = await gw.calls(limit=100)

    assert (process.returncode, stderr.count(b"20 of 20")) == (0, 1)
    assert len(results(out)) == 20
    assert len(calls) == 20
    assert upstream.hits == 25  # the five in flight went again, as their calls say


async def test_a_job_is_known_again_after_a_restart_that_changed_the_token(
    gateway_process, upstream, job
):
    """Where keys are required the commands show the lock file's, which every start makes anew."""
    upstream.choose = answering
    tables = {"auth": {"required": True}, "upstreams": {"openai": {"api_key": "sk-1"}}}
    arguments, out = job(5)
    async with gateway_process(**tables) as gw:
        first, _, _ = await submit(*arguments)
        gw.kill()
        await gw.wait()
    told = results(out)
    out.unlink()  # so that all lines are sent again, and only the gateway knows them
    async with gateway_process(**tables):
        again, _, _ = await submit(*arguments)

    assert (first, again) == (0, 0)
    assert results(out) == told
    assert upstream.hits == 5
    assert {request.header("authorization") for request in upstream.requests} == {"Bearer sk-1"}


async def test_without_a_gateway_it_is_unreachable(gateway_process, job):
    arguments, _ = job(1)
    async with gateway_process():
        pass
    code, _, stderr = await submit(*arguments)

    assert code == 4
    assert "0 of 1 requests have a result" in stderr


async def test_a_gateway_that_stays_away_is_waited_for_no_longer_than_asked(
    gateway_process, upstream, job
):
    upstream.answer = held(Gate())
    arguments, _ = job(2, "--patience", "0.2")
    async with gateway_process() as gw:
        process = await processes.start(*arguments)
        await upstream.wait_hits(2)
        gw.kill()
        await process.communicate()

    assert process.returncode == 4


async def test_a_full_queue_is_waited_for(gateway_process, upstream, job):
    arguments, out = job(6, "--concurrency", "6")
    tables = {
        "upstreams": {"openai": {"max_in_flight": 1}},
        "limits": {"max_queued_detached": 2},
    }
    async with gateway_process(**tables):
        code, _, _ = await submit(*arguments)

    assert code == 0
    assert len(results(out)) == upstream.hits == 6


async def test_a_file_that_holds_something_else_is_left_alone(gateway_process, job):
    arguments, out = job(1)
    out.write_text("my only copy")
    async with gateway_process():
        code, _, stderr = await submit(*arguments)

    assert code == 2
    assert "out.jsonl:1" in stderr
    assert out.read_text() == "my only copy"


async def test_a_terminal_shows_a_bar(gateway_process, upstream, job):
    arguments, _ = job(3)
    async with gateway_process():
        ours, theirs = pty.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", *arguments), stderr=theirs, stdout=theirs
            )
            async with asyncio.timeout(PATIENCE_S):
                code = await process.wait()
            shown = os.read(ours, 65_536).decode()
        finally:
            os.close(ours)
            os.close(theirs)

    assert code == 0
    assert "3/3" in shown
    assert "0 failed" in shown
