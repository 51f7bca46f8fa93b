"""kill -9 at any instant: what was acknowledged is in the file."""

import asyncio
import random
import re
import shutil
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import closing

import pytest

from gateway.journal.writer import open_journal
from tests.counted_calls import counted, ended
from tests.running_journal import NOW, committed

#: Accepts and finishes calls, small ones and large ones, and tells of each commit.
RECORDER = """
import asyncio, os, sys
from pathlib import Path
from gateway.call import Part
from tests.running_journal import begin_attempt, end_attempt, end_call, make_call, open_running

async def client(journal, size):
    while True:
        call = make_call(journal.next_seq(), body=bytes(size))
        begin_attempt(call)
        await journal.accept(call)
        os.write(1, f"accepted {call.seq}\\n".encode())
        attempt = end_attempt(call, body_bytes=size)
        end_call(call)
        parts = [Part(attempt=1, start=0, data=b"a" * 100)]
        await journal.update(call, ended=[attempt], parts=parts)
        os.write(1, f"finished {call.seq}\\n".encode())

async def keep_statistics(journal):
    while True:
        await journal.keep_statistics({}, sampled_until=0)

async def main():
    async with open_running(Path(sys.argv[1]), durability=sys.argv[2]) as journal:
        async with asyncio.TaskGroup() as clients:
            clients.create_task(keep_statistics(journal))
            for size in (100, 100, 100, 2_000_000):
                clients.create_task(client(journal, size))

asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["process", "power-loss"])
@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_process_leaves_all_that_it_acknowledged(tmp_path, durability, seed):
    db = tmp_path / "gateway.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RECORDER, str(db), durability, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdout
    told = [await process.stdout.readline() for _ in range(random.Random(seed).randint(20, 200))]
    process.kill()
    rest, _ = await process.communicate()
    acknowledged = {"accepted": set(), "finished": set()}
    lines = (b"".join(told) + rest).decode()
    for event, seq in re.findall(r"^(accepted|finished) (\d+)\n", lines, re.MULTILINE):
        acknowledged[event].add(int(seq))

    async with open_journal(db, durability=durability, now=lambda: NOW) as journal:
        still_open = {call.seq for call in await journal.open_calls()}
        assert await journal.quick_check() == []

    found = dict(committed(db, "SELECT seq, status FROM calls"))
    assert acknowledged["accepted"] <= found.keys()
    assert {"succeeded"} == {found[seq] for seq in acknowledged["finished"]}
    assert still_open == {seq for seq, status in found.items() if status == "running"}
    bodies = dict(
        committed(db, "SELECT seq, sum(length(data)) FROM parts WHERE attempt = 0 GROUP BY 1")
    )
    sizes = dict(committed(db, "SELECT seq, request_bytes FROM calls"))
    assert bodies == sizes  # no call without its whole body, no body without its call
    assert counted(db, now=NOW) == ended(db)


async def test_a_first_start_that_died_while_it_made_the_file_is_made_good(tmp_path):
    """SQLite keeps a rollback journal until the file has its write-ahead log."""
    half, db = tmp_path / "half.db", tmp_path / "gateway.db"
    with closing(sqlite3.connect(half, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the end
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE calls (x)")
        for _ in range(20):
            connection.execute("INSERT INTO calls VALUES (zeroblob(4000))")
        for end in ("", "-journal"):
            shutil.copyfile(f"{half}{end}", f"{db}{end}")
    assert db.stat().st_size > 0

    async with open_journal(db, durability="process", now=lambda: NOW) as journal:
        assert await journal.open_calls() == []
