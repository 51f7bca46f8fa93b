"""A task of the process that crashes comes back, and everybody can see that it did."""

import asyncio

from gateway.background import Background


async def test_a_task_that_crashes_is_started_again():
    crashed: list[str] = []
    runs = 0
    well = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise RuntimeError("a bug")
        well.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        background = Background(tasks, crashed=crashed.append, first_pause_s=0.001)
        task = background.start("sweeper", run)
        await well.wait()
        assert crashed == ["sweeper", "sweeper"]
        assert background.failing == {"sweeper": "RuntimeError: a bug"}
        task.cancel()


async def test_a_task_that_returns_is_done_and_counts_as_well():
    async def once() -> None:
        return

    async with asyncio.TaskGroup() as tasks:
        background = Background(tasks, crashed=lambda _: None)
        background.failing["check"] = "an earlier bug"
        background.start("check", once)

    assert background.failing == {}


async def test_a_bug_does_not_end_the_others():
    async def broken() -> None:
        raise ValueError("a bug")

    ran = asyncio.Event()

    async def healthy() -> None:
        ran.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        background = Background(tasks, crashed=lambda _: None)
        started = [background.start("broken", broken), background.start("healthy", healthy)]
        await ran.wait()
        assert not started[1].done()
        for task in started:
            task.cancel()


async def test_a_task_that_ran_long_enough_is_well_again(monkeypatch):
    monkeypatch.setattr("gateway.background.WELL_S", 0.0)
    runs = 0
    looked = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("a bug")
        await asyncio.sleep(0)  # the loop gets to what is due
        await asyncio.sleep(0)
        looked.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        background = Background(tasks, crashed=lambda _: None, first_pause_s=0.001)
        task = background.start("sweeper", run)
        await looked.wait()
        assert background.failing == {}
        task.cancel()
