"""The power fails at any instant: whatever somebody was told is there when it is back.

A real gateway runs under strace, which keeps every byte that it writes, every sync and every send
in one order. From that the files are made again as a power cut may leave them (`power_cut.py`), and
opened as a start opens them.
"""

import json
import os
import random
import shutil
import signal

import pytest

from tests.crash import scenario
from tests.crash.disk_trace import STRACE, Write, read_trace
from tests.crash.dying import GATEWAY, configure, running
from tests.crash.histories import Sent, UpstreamLog
from tests.crash.power_cut import Disk, Told, lay_out, missing, moments, start_again

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

KINDS = ("plain", "detached", "stream")


def requests(count, *, large_every):
    """Return so many requests, all kinds in turn, that the upstream answers at once."""
    does = [{"n": n, "latency_s": 0, "refuse": 0} for n in range(count)]
    for each in does[::large_every]:
        each["large"] = True
    for each in does[KINDS.index("stream") :: len(KINDS)]:
        each |= {"stream": True, "chunks": 4}
    return [
        Sent(n, KINDS[n % len(KINDS)], json.dumps(each).encode()) for n, each in enumerate(does)
    ]


async def traced(tmp_path, upstream, *, durability, sent):
    """Let a gateway answer *sent* and stop; what it did, event by event."""
    config = configure(tmp_path / "config.toml", upstream, durability)
    upstream.choose = scenario.obedient(UpstreamLog())
    trace = tmp_path / "trace"
    async with running(config, (*STRACE, str(trace), *GATEWAY)) as gateway:
        assert gateway is not None, (tmp_path / "stderr.txt").read_text()
        await scenario.play(gateway, sent)
        os.kill(json.loads(gateway.lock.read_text())["pid"], signal.SIGTERM)
        await gateway.dead()
    events = read_trace(trace)
    trace.unlink()  # some 70 MB
    return events


async def cut(events, tmp_path, *, durability, cuts):
    """Cut the power so often, half of it as somebody is told something.

    Returns: all that was told in the end; what is wrong after which event, where something is
    """
    rng = random.Random(cuts)
    said = moments(events)
    instants = set(rng.sample(sorted(said), cuts // 2))
    others = sorted(set(range(min(said), len(events))) - instants)
    instants |= set(rng.sample(others, cuts - len(instants)))
    disk, told, wrong = Disk(), Told(), {}
    for at, event in enumerate(events):
        disk.take(event)
        for message in said.get(at, ()):
            told.take(message)
        if at in instants:
            path = lay_out(tmp_path / "image", disk.after_a_cut(rng))
            journal, found = await start_again(path, durability=durability)
            if found := [*found, *missing(told, journal)]:
                wrong[at] = found
            shutil.rmtree(path.parent)
    return told, wrong


def is_checkpointed(events):
    """Whether pages went from the log into the file while calls came and went."""
    said = moments(events)
    meanwhile = events[min(said) : max(said)]
    return any(isinstance(each, Write) and each.file == "gateway.db" for each in meanwhile)


@pytest.mark.parametrize(
    ("count", "cuts"),
    [
        (24, 24),
        pytest.param(150, 400, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
async def test_a_power_cut_loses_nothing_that_anybody_was_told(tmp_path, upstream, count, cuts):
    sent = requests(count, large_every=10)
    events = await traced(tmp_path, upstream, durability="power-loss", sent=sent)
    told, wrong = await cut(events, tmp_path, durability="power-loss", cuts=cuts)

    assert count < 150 or is_checkpointed(events)
    assert wrong == {}
    assert len(told.calls) == len(told.answers) == len(told.sent) == count
    assert told.answers.items() == {
        (call_id, (status, digest)) for each in sent for call_id, status, digest in each.answers
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_without_syncs_the_same_cuts_lose_calls_and_harm_no_file(tmp_path, upstream):
    """Were it otherwise, the test above would show nothing."""
    sent = requests(150, large_every=10)
    events = await traced(tmp_path, upstream, durability="process", sent=sent)
    _, wrong = await cut(events, tmp_path, durability="process", cuts=400)

    assert len(wrong) > 100  # of 400: 254, where that was measured
    assert {kind.partition(":")[0] for found in wrong.values() for kind in found} == {"lost"}
