"""A bug in any task of the process: everybody can see it, the task comes back, calls go on."""

import asyncio
import inspect
import re
from typing import Any

from gateway import service
from gateway.journal.retention import Retention
from gateway.journal.search.indexer import Search
from gateway.journal.unkept import Unkept
from gateway.journal.writer import Journal
from gateway.relay.relay import Relay
from gateway.relay.sampling import Sampling
from gateway.relay.webhooks.sending import Webhooks
from gateway.web.events import Events
from gateway.web.security.keyring import KeyRing
from tests.client import PATIENCE_S

TASKS = {
    "posting": (Relay, "run"),
    "loop_lag": (service, "watch_loop_lag"),
    "quick_check": (Journal, "quick_check"),
    "search": (Search, "run"),
    "retention": (Retention, "run"),
    "sampling": (Sampling, "run"),
    "key_use": (KeyRing, "run"),
    "unkept": (Unkept, "run"),
    "webhooks": (Webhooks, "run"),
    "events": (Events, "run"),
}


async def test_a_bug_in_any_task_shows_and_the_task_runs_again(
    gateway, upstream, monkeypatch, capfd
):
    again: set[str] = set()
    all_again = asyncio.Event()

    def crash_once(name: str, owner: Any, attribute: str) -> None:
        run, runs = getattr(owner, attribute), []

        async def broken_at_first(*args: Any, **named: Any) -> Any:
            runs.append(1)
            if len(runs) == 1:
                raise ZeroDivisionError("a bug")
            again.add(name)
            if again == TASKS.keys():
                all_again.set()
            return await run(*args, **named)

        monkeypatch.setattr(owner, attribute, broken_at_first)

    for name, place in TASKS.items():
        crash_once(name, *place)
    async with gateway() as gw:
        started = {task.get_name() for task in asyncio.all_tasks()} & TASKS.keys()
        await gw.request("GET", "/-/healthy")  # by now every task had its first step
        ready = await gw.request("GET", "/-/ready")
        metrics = await gw.metrics()
        answer = await gw.chat()
        async with asyncio.timeout(PATIENCE_S):
            await all_again.wait()
        all_failing = set(gw.service.background.failing) | {"quick_check"}  # it is done, and well

    assert started == TASKS.keys() == all_failing
    check = next(each for each in ready.json()["checks"] if each["name"] == "background")
    assert (ready.status, ready.json()["ok"], check["ok"]) == (200, True, False)
    assert check["detail"] == ", ".join(sorted(TASKS))
    crashes = {
        re.findall('"(.*)"', sample)[0]: number
        for sample, number in metrics.items()
        if sample.startswith("gateway_background_crashes_total")
    }
    assert crashes == dict.fromkeys(TASKS, 1.0)
    assert answer.status == 200
    assert capfd.readouterr().err.count('"background_crashed"') == len(TASKS)


def test_every_task_of_the_process_is_one_of_these():
    """What the composition root starts by itself is the journal's writer alone: its end is the end."""
    text = inspect.getsource(service._open)

    assert re.findall(r"tasks\.create_task\(([\w.]+)", text) == ["journal.run"]
    assert text.count("background.start(") == 3
