"""kill -9 at any instant, start again: nothing accepted is lost, nothing is done that was not told.

The scenario has calls that wait and calls that do not, streams, retries, cancels, hang-ups and
Idempotency-Keys (`scenario.py`); the checker compares the client's log, the upstream's and the
journal (`checker.py`). Some runs are part of every test run; the matrix is marked `slow`.
"""

import asyncio
import os
import random
import shutil
import sys

import pytest

from tests.crash.dying import GATEWAY, Journey, configure, running

COUNT = 200  # requests of the whole scenario
HITS = 1.1  # of the upstream, a request

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


async def live_and_die(tmp_path, upstream, *, durability, seed, lives, count):
    """Let so many gateways die on one journal, at random instants; what the checker found.

    Some die before they have done what the one before them left.
    """
    rng = random.Random(seed)
    journey = Journey(configure(tmp_path / "config.toml", upstream, durability), upstream, rng)
    settled = True
    while lives or not settled:
        async with running(journey.config) as gateway:
            assert gateway is not None, (tmp_path / "stderr.txt").read_text()
            if not settled and (not lives or rng.random() < 0.7):
                await journey.settle(gateway)
                settled = True
            if lives:
                doom = journey.after(rng.randint(0, int(HITS * count)), rng.uniform(0, 0.02))
                await journey.play(gateway, count, doom)
                lives, settled = lives - 1, False
    assert journey.sent
    return journey.found


@pytest.mark.parametrize("durability", ["process", "power-loss"])
async def test_a_killed_gateway_has_lost_nothing(tmp_path, upstream, durability):
    found = await live_and_die(tmp_path, upstream, durability=durability, seed=1, lives=3, count=60)

    assert found == []


@pytest.mark.parametrize(("how", "loses"), [("slow", False), ("early", True)])
async def test_the_checker_finds_what_a_journal_that_answers_early_loses(
    tmp_path, upstream, how, loses
):
    """Commits as slow in both, and the same death: on the first 202. One had not waited for them."""
    config = configure(tmp_path / "config.toml", upstream, "process")
    journey = Journey(config, upstream, random.Random(2))
    async with running(config, (sys.executable, "-m", "tests.crash.early_answers", how)) as gateway:
        assert gateway is not None, (tmp_path / "stderr.txt").read_text()
        await journey.play(gateway, 40, journey.first_accepted())
    async with running(config) as gateway:
        assert gateway is not None, (tmp_path / "stderr.txt").read_text()
        await journey.settle(gateway)

    assert loses == any(finding.startswith("lost: ") for finding in journey.found)
    assert loses or journey.found == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("durability", ["process", "power-loss"])
@pytest.mark.parametrize("seed", range(25))
async def test_matrix_of_random_instants(tmp_path, upstream, durability, seed):
    """150 deaths."""
    found = await live_and_die(
        tmp_path, upstream, durability=durability, seed=seed, lives=3, count=COUNT
    )

    assert found == []


@needs_strace
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("syscall", "nth"),
    [
        *(("fdatasync", nth) for nth in range(1, 142, 2)),  # between a commit and its answer
        *(("pwrite64", nth) for nth in range(1, 5001, 100)),  # in the middle of a commit
        *(("/^send", nth) for nth in range(1, 961, 16)),  # before a byte to client or upstream
    ],
)
async def test_matrix_of_commits_and_sends(tmp_path, upstream, syscall, nth):
    """The process dies as its *nth* such system call begins, at its start or later.

    A whole run makes about 140, 5,000 and 960 of them (in the thread that makes most).
    """
    inject = f"inject={syscall}:signal=KILL:when={nth}"
    strace = ("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={syscall}", "-e", inject)
    rng = random.Random(nth)
    config = configure(tmp_path / "config.toml", upstream, "power-loss")
    journey = Journey(config, upstream, rng)
    async with running(config, (*strace, *GATEWAY)) as gateway:
        if gateway is not None:
            await journey.play(gateway, COUNT, gateway.process.wait())
    async with running(config) as gateway:
        assert gateway is not None, (tmp_path / "stderr.txt").read_text()
        await journey.settle(gateway)

    assert journey.found == []


@needs_strace
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("syscall", "error", "nth"),
    [
        *(("fdatasync", "EIO", nth) for nth in range(1, 142, 10)),
        *(("pwrite64", "ENOSPC", nth) for nth in range(700, 5001, 350)),
        *(("pwrite64", "EIO", nth) for nth in range(700, 5001, 700)),
    ],
)
async def test_matrix_of_errors_of_the_disk(tmp_path, upstream, syscall, error, nth):
    """The disk fails once, the process lives on by itself; at its end it is killed nevertheless.

    strace counts in each thread, and the journal goes on in a new one: had that to write more
    than *nth* pages at once, the disk would fail for ever.
    """
    inject = f"inject={syscall}:error={error}:when={nth}"
    strace = ("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={syscall}", "-e", inject)
    config = configure(tmp_path / "config.toml", upstream, "power-loss")
    journey = Journey(config, upstream, random.Random(nth))
    async with running(config, (*strace, *GATEWAY)) as gateway:
        if gateway is not None:
            await journey.play(gateway, COUNT, asyncio.Event().wait())
            said = (tmp_path / "stderr.txt").read_text()
            assert "background_crashed" not in said
            assert "Traceback" not in said
    async with running(config) as gateway:
        assert gateway is not None, (tmp_path / "stderr.txt").read_text()
        await journey.settle(gateway)

    assert journey.found == []
