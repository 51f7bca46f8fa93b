"""`gateway db`: the journal's file is checked, copied, measured and pruned, whoever runs on it."""

import json
import sqlite3
import stat
from contextlib import closing

from tests.gateway_process import run

DAY_MS = 86_400_000


async def db(gw, *arguments):
    """Run `gateway db` where the config of *gw* leads: exit code, stdout, stderr."""
    return await run("db", *arguments, "--config", str(gw.config))


async def test_a_whole_file_is_said_to_be(gateway, upstream):
    async with gateway() as gw:
        await gw.chat()
        up = await db(gw, "check")
    down = await db(gw, "check", "--full", "--json")

    assert up == (0, f"{gw.db} is whole\n", "")
    assert down[0] == 0
    assert json.loads(down[1])["ok"] is True


async def test_damage_is_told_and_is_exit_1(gateway, upstream):
    async with gateway() as gw:
        for _ in range(20):
            await gw.chat()
    content = bytearray(gw.db.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 64] = b"\xff" * 64
    gw.db.write_bytes(content)
    code, out, _ = await db(gw, "check")

    assert code == 1
    assert out


async def test_a_backup_is_the_journal_as_it_is_while_a_gateway_runs(gateway, upstream, tmp_path):
    copy = tmp_path / "copy.db"
    async with gateway() as gw:
        answer = await gw.chat()
        done = await db(gw, "backup", str(copy), "--json")
        again = await db(gw, "backup", str(copy))
        after = await gw.chat()
    listed = await run("calls", "list", "--db", str(copy), "--json")
    checked = await run("db", "check", "--db", str(copy), "--full")

    assert done[0] == 0
    assert json.loads(done[1]) == {
        "object": "backup", "path": str(copy), "bytes": copy.stat().st_size,
    }  # fmt: skip
    assert again[0] == 1
    assert "exists" in again[2]
    assert after.status == 200
    assert [call["id"] for call in json.loads(listed[1])["data"]] == [answer.call_id]
    assert checked[0] == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


async def test_a_backup_that_cannot_be_written_leaves_nothing(gateway, upstream, tmp_path):
    async with gateway() as gw:
        code, _, err = await db(gw, "backup", str(tmp_path / "missing" / "copy.db"))

    assert code == 1
    assert "missing" in err


async def test_stats_count_what_there_is(gateway, upstream):
    async with gateway() as gw:
        answer = await gw.chat()
        code, out, _ = await db(gw, "stats", "--json")
        _, shown, _ = await db(gw, "stats")
        call = await gw.call(answer.call_id)

    stats = json.loads(out)
    assert code == 0
    assert stats["calls"] == {"succeeded": 1}
    assert stats["attempts"] == 1
    assert stats["body_bytes"] == call["request"]["bytes"] + call["response"]["bytes"]
    assert stats["oldest_call_at"] == stats["newest_call_at"] == call["created_at"]
    assert stats["bytes"] > 0
    assert "calls.succeeded" in shown


async def test_prune_does_it_now_through_the_gateway_or_on_the_file(gateway, upstream):
    async with gateway() as gw:
        first, second = await gw.chat(), await gw.chat()
        age(gw, first.call_id)
        up = await db(gw, "prune", "--json")
    age(gw, second.call_id)
    down = await db(gw, "prune", "--json")

    assert (up[0], json.loads(up[1])) == (0, {"object": "prune", "bodies": 1, "calls": 0})
    assert (down[0], json.loads(down[1])) == (0, {"object": "prune", "bodies": 1, "calls": 0})
    with closing(sqlite3.connect(gw.db)) as connection:
        assert connection.execute("SELECT count(*) FROM parts").fetchone() == (0,)


def age(gw, call_id):
    """Have the call ended 31 days earlier."""
    with closing(sqlite3.connect(gw.db)) as connection, connection:
        connection.execute(
            "UPDATE calls SET created_ms = created_ms - :ms, finished_ms = finished_ms - :ms"
            " WHERE id = :id",
            {"ms": 31 * DAY_MS, "id": call_id},
        )


async def test_a_missing_journal_is_exit_3(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[upstreams.a]\nbase_url = "mock:"\n')
    done = await run("db", "stats", "--config", str(config))

    assert (done[0], done[1]) == (3, "")
    assert "gateway.db" in done[2]
