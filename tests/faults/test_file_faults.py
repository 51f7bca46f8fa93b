"""What happens to the journal's file under a running gateway: told everywhere, and healed by itself.

Each fault begins while a client waits for its answer, and ends before the gateway does: nobody
starts it again, nobody tells it that all is well.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager, suppress

import pytest

from tests.client import PATIENCE_S
from tests.running_journal import make_call, open_running
from tests.steps import Answer, Gate, held

DISK_BYTES = 64 * 1024 * 1024  # far more than the calls of a second
ANSWER = Answer(body=b'{"kept":true}')

#: System calls that change files or the disk.
WRITES = "pwrite64,ftruncate,fdatasync,fsync,unlink"


@contextmanager
def full(disk, _):
    """Another program takes what is left of the disk."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        with suppress(OSError):
            while filler.write(bytes(65_536)):
                pass
        yield
        filler.truncate(0)


@contextmanager
def read_only(_, pid):
    """The kernel makes the file system read-only, as it does after an error of the disk."""
    tracing = ["-e", f"trace={WRITES}", "-e", f"inject={WRITES}:error=EROFS", "-p", str(pid)]
    with subprocess.Popen(["strace", "-f", "-qq", "-o", os.devnull, *tracing]) as tracer:
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)  # it lets go of the process


@contextmanager
def locked(disk, _):
    """Another program writes, and takes its time."""
    with closing(sqlite3.connect(disk / "gateway.db", isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        yield
        time.sleep(10.0)


@contextmanager
def vanished(disk, _):
    """Somebody moves the files away, and back."""
    files = disk / "gateway.db", disk / "gateway.db-wal"
    for each in files:
        each.rename(each.with_name(f"away-{each.name}"))
    yield
    for each in files:
        each.with_name(f"away-{each.name}").rename(each)


@contextmanager
def replaced(disk, _):
    """Somebody puts another journal there, as a restored backup would be."""
    path, away = disk / "gateway.db", disk / "away.db"
    path.rename(away)
    shutil.copyfile(away, path)
    yield
    away.replace(path)


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, where this user may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


async def refused(gw):
    """Make calls until one is refused: that answer, and the ids of those that were not."""
    accepted = []
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await gw.chat()).status == 200:
            accepted.append(answer.call_id)
    return answer, accepted


async def ready(gw, status):
    """What `/-/ready` says once it answers *status*."""
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await gw.request("GET", "/-/ready")).status != status:
            pass
    return answer.json()


@pytest.mark.parametrize(
    "fault",
    [
        full,
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (read_only, locked, vanished, replaced)
        ),
    ],
    ids=lambda fault: fault.__name__,
)
async def test_whatever_befalls_the_file_is_told_and_passes(gateway_process, upstream, disk, fault):
    if fault is read_only and shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    gate = Gate()
    upstream.script = [held(gate, ANSWER)]
    async with gateway_process(journal={"path": "disk/gateway.db"}) as gw:
        running = await gw.send_chat()
        await upstream.wait_hits(1)

        with fault(disk, gw.process.pid):
            told, accepted = await refused(gw)
            detached = await gw.chat(headers=[("Prefer", "respond-async")])
            checks = (await ready(gw, 503))["checks"]
            metrics = await gw.metrics()
            shown = await gw.request("GET", "/-/journal")
            gate.open()
            answer = await running.read()

        await ready(gw, 200)
        after = await gw.chat()
        kept = await gw.request("GET", f"/-/calls/{answer.call_id}/response?wait=5")
        calls = await gw.wait_calls(len(accepted) + 2, status="succeeded")
        healed = await gw.metrics()

    for each in (told, detached):
        assert (each.status, each.code) == (503, "journal_unavailable")
        assert 1 <= int(each.header("retry-after")) <= 60
        assert each.header("x-gateway-call-id") is None
    (journal,) = [check for check in checks if check["name"] == "journal"]
    assert not journal["ok"]
    assert journal["detail"]
    assert [check["name"] for check in checks if not check["ok"]] == ["journal"]
    assert metrics["gateway_journal_available"] == 0
    assert shown.status == 503 or shown.json()["problem"] == journal["detail"]
    assert (answer.status, answer.body, answer.complete) == (200, ANSWER.body, True)
    assert after.status == 200
    assert healed["gateway_journal_available"] == 1
    assert kept.body == answer.body
    assert {call["id"] for call in calls} == {*accepted, answer.call_id, after.call_id}
    with closing(sqlite3.connect(disk / "gateway.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_damaged_page_stops_new_calls_and_no_answer(gateway, upstream, tmp_path):
    db = tmp_path / "gateway.db"
    async with open_running(db) as journal:
        for _ in range(200):
            await journal.accept(make_call(journal.next_seq()))
    gate = Gate()
    upstream.script = [held(gate, ANSWER)]
    async with gateway() as gw:
        running = await gw.send_chat()
        await upstream.wait_hits(1)
        flip_a_page(db)
        await gw.service.journal.quick_check()

        told = await gw.chat()
        checks = (await ready(gw, 503))["checks"]
        metrics = await gw.metrics()
        shown = await gw.api("GET", "/-/journal")
        gate.open()
        answer = await running.read()
    flip_a_page(db)
    async with gateway() as gw:
        after = await gw.chat()
        kept = await gw.request("GET", f"/-/calls/{answer.call_id}/response")

    assert (told.status, told.code) == (503, "journal_unavailable")
    assert "is damaged" in next(each["detail"] for each in checks if each["name"] == "journal")
    assert metrics["gateway_journal_available"] == 0
    assert "is damaged" in shown["problem"]
    assert shown["integrity"].startswith("damaged: ")
    assert (answer.status, answer.body, answer.complete) == (200, ANSWER.body, True)
    assert (after.status, kept.body) == (200, ANSWER.body)


def flip_a_page(db):
    """Damage the index of ids, and mend it."""
    with closing(sqlite3.connect(db)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_calls_1'"
        ).fetchone()
    with db.open("r+b") as file:
        at = (root - 1) * 4096 + 3  # how many cells the page has
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0xFF]))
