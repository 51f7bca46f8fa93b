"""Synchronous code and the gateway: submit, do something else, collect. Nothing but urllib."""

import asyncio
import json
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests import sync_client
from tests.steps import Answer, Gate, held

ROOT = Path(__file__).parents[1]
SCRIPT = Path(sync_client.__file__)
COUNT = 30


def answering(request):
    prompt = request.json()["messages"][0]["content"]
    answer = {"choices": [{"message": {"content": f"You said: {prompt}"}}]}
    return Answer(body=json.dumps(answer).encode())


async def test_the_script_of_the_readme_collects_what_it_asked_for(gateway_process, upstream):
    gate = Gate()
    upstream.choose = lambda request: held(gate, answering(request))
    async with gateway_process() as gw:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SCRIPT)),
            env={"GATEWAY_URL": gw.url, "no_proxy": "*"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        prompts = "".join(f"question {n}\n" for n in range(COUNT))
        talking = asyncio.gather(process.communicate(prompts.encode()))
        await upstream.wait_hits(COUNT)  # all are asked before the first is answered
        gate.open()
        ((stdout, _),) = await talking

    assert process.returncode == 0
    assert stdout.decode().splitlines() == [f"You said: question {n}" for n in range(COUNT)]
    assert upstream.peak == COUNT


async def test_polling_tells_where_each_call_stands(gateway_process, upstream):
    upstream.choose = lambda request: 503 if request.json()["n"] == 0 else Answer(body=request.body)
    table = {"openai": {"retry": {"max_attempts": 1}}}
    async with gateway_process(upstreams=table) as gw:
        answers, failed = await asyncio.to_thread(submit_poll_collect, gw.url)

    assert [answer["n"] for answer in answers] == list(range(1, COUNT))
    assert [error.code for error in failed] == [503]


def submit_poll_collect(url):
    """What a program does that cannot wait: ask from time to time, take what is done."""
    pending = []
    for n in range(COUNT):
        headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
        body = json.dumps({"model": "gpt-4o-mini", "n": n}).encode()
        with urlopen(Request(f"{url}/v1/chat/completions", body, headers)) as response:
            assert response.status == 202
            assert response.headers["Preference-Applied"] == "respond-async"
            pending.append(url + response.headers["Location"])
    calls = pending.copy()
    while pending:
        with urlopen(f"{pending[0]}?wait=1") as response:
            if json.load(response)["finished_at"] is not None:
                pending.pop(0)
    answers, failed = [], []
    for call in calls:
        try:
            with urlopen(f"{call}/response") as response:
                answers.append(json.load(response))
        except HTTPError as error:
            failed.append(error)
            error.close()
    return answers, failed


def test_the_readme_shows_the_script_that_is_tested_here():
    readme = (ROOT / "README.md").read_text()

    assert SCRIPT.read_text() in readme
