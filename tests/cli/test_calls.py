"""`gateway calls` as a shell sees it: exit code, stdout, stderr; from a file and from a gateway."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.call import Failure, Options, Outcome, Status
from gateway.cli import client
from gateway.cli.calls import OPTIONS, calls
from gateway.journal.filters import PARAMETERS
from gateway.journal.lock import Lock, hold_lock, lock_path
from tests.client import GatewayClient
from tests.recorded_api import OpenCalls, open_api
from tests.recorded_calls import RecordedCalls, answered

BINARY = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work beside a config.toml that says where the journal is, and needs a secret elsewhere."""
    (tmp_path / "config.toml").write_text(
        '[journal]\npath = "gateway.db"\n[upstreams.a]\nbase_url = "mock:"\napi_key = "${UNSET}"\n'
    )
    monkeypatch.chdir(tmp_path)
    for name in ("GATEWAY_URL", "GATEWAY_KEY", "UNSET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def recorded(directory: Path) -> Iterator[RecordedCalls]:
    """Yield the journal that the config names."""
    with RecordedCalls(directory / "gateway.db") as recorded:
        yield recorded


@pytest.fixture
async def api(recorded: RecordedCalls) -> AsyncIterator[GatewayClient]:
    """Yield a gateway over that journal that wants the key `secret`."""
    async with open_api(recorded, OpenCalls(), key="secret") as api:
        yield api


@contextmanager
def running(journal: Path, url: str | None, token: str = "secret") -> Iterator[Lock]:
    """Hold the lock of *journal* as a gateway at *url* does."""
    with hold_lock(journal) as lock:
        if url is not None:
            lock.write(url=url, token=token)
        yield lock


def run(*arguments: str, **environ: str) -> Result:
    """Run `gateway calls` with *arguments*, in a thread, because it has an event loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(CliRunner().invoke, calls, arguments, env=environ).result()


async def run_beside(*arguments: str, **environ: str) -> Result:
    """The same while servers of this test answer."""
    return await asyncio.to_thread(run, *arguments, **environ)


# the file


def test_the_file_is_listed_when_no_gateway_runs(recorded: RecordedCalls) -> None:
    recorded.answer()
    recorded.add(
        status=Status.FAILED, failure=Failure(code="queue_timeout", message="no slot"), model="o3"
    )
    done = run("list")

    assert (done.exit_code, done.stderr) == (0, "")
    header, newest, oldest = done.stdout.splitlines()
    assert header.split()[:3] == ["id", "created", "status"]
    assert newest.split() == [
        "call_00000000000000000000000002", "2026-09-21T14:13:22.000Z", "failed", "openai", "o3",
        "queue_timeout",
    ]  # fmt: skip
    assert oldest.split()[:4] == [
        "call_00000000000000000000000001", "2026-09-21T14:13:21.000Z", "succeeded", "200",
    ]  # fmt: skip


def test_ids_are_whole_on_a_narrow_terminal(
    recorded: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = recorded.answer()
    monkeypatch.setattr("gateway.cli.tables.PIPE_WIDTH", 40)

    assert call.id in run("list").stdout


def test_json_is_the_lists_json(recorded: RecordedCalls) -> None:
    ids = [recorded.answer().id for _ in range(2)]
    page = json.loads(run("list", "--json").stdout)

    assert page["object"] == "list"
    assert [call["id"] for call in page["data"]] == ids[::-1]
    assert "attempts" not in page["data"][0]


def test_every_filter_of_the_api_is_an_option(recorded: RecordedCalls) -> None:
    recorded.answer()
    recorded.add(
        options=Options(tags={"team": "search"}, idempotency_key="once"),
        attempts=[answered(status=429)],
        answer=1,
        status=Status.FAILED,
        model="claude-1",
        key_id="k1",
        client="key:k1",
        duration_ms=2000.0,
    )
    chosen = {
        "q": "model:claude* http:4xx",
        "status": "failed,expired",
        "upstream": "open*",
        "model": "claude-*",
        "path": "/v1/*",
        "key": "k1",
        "tag": "team:search",
        "idempotency_key": "once",
        "http_status": "429",
        "min_duration_ms": "1500",
        "since": "2026-09-21T14:13:22Z",
        "until": "2026-09-21T14:13:23Z",
        "limit": "5",
        "order": "asc",
        "expand": "all",
    }
    assert chosen.keys() == PARAMETERS.keys() - {"after", "before", "cursor"}
    arguments = [
        part for name, value in chosen.items() for part in (OPTIONS[name].split()[0], value)
    ]
    page = json.loads(run("list", "--json", *arguments).stdout)

    assert [call["model"] for call in page["data"]] == ["claude-1"]
    assert page["data"][0]["attempts"][0]["status"] == 429


def test_a_list_with_more_says_on_stderr_how_to_go_on(recorded: RecordedCalls) -> None:
    ids = [recorded.answer().id for _ in range(4)]
    done = run("list", "--limit", "2")
    back = run("list", "--limit", "1", "--before", ids[0])

    assert f"--after {ids[2]}" in done.stderr
    assert "--after" not in done.stdout
    assert f"--before {ids[1]}" in back.stderr


def test_a_call_is_shown_with_its_attempts(recorded: RecordedCalls) -> None:
    call = recorded.add(
        attempts=[answered(1, status=503), answered(2)],
        answer=2,
        options=Options(tags={"team": "search"}),
    )
    done = run("show", call.id)
    lines = [line.split() for line in done.stdout.splitlines()]

    assert (done.exit_code, done.stderr) == (0, "")
    assert ["id", call.id] in lines
    assert ["tags.team", "search"] in lines
    assert ["response.status", "200"] in lines
    assert lines[-2][:2] == ["1", "openai"]
    assert lines[-2][-2:] == ["answered", "503"]
    assert call.id == json.loads(run("show", "--json", call.id).stdout)["id"]


def test_recorded_text_cannot_play_with_the_terminal(recorded: RecordedCalls) -> None:
    call = recorded.answer()
    recorded.change(call, model="[red]\x1b[31m\x9b\r\n", path="/\x07")

    for done in (run("list"), run("show", call.id)):
        assert "[red]\\x1b[31m\\x9b\\r\\n" in done.stdout
        assert not {"\x1b", "\x9b", "\r", "\x07"} & set(done.stdout)


@pytest.mark.parametrize("body", [b"", BINARY])
def test_bodies_go_to_stdout_byte_for_byte(recorded: RecordedCalls, body: bytes) -> None:
    call = recorded.add(request=body, attempts=[answered(body=body[::-1])], answer=1)

    for what, expected in (("request", body), ("response", body[::-1])):
        done = run(what, call.id)
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout_bytes == expected


def test_another_file_can_be_named(recorded: RecordedCalls, directory: Path) -> None:
    call = recorded.answer(b"kept")
    recorded.close()
    (directory / "gateway.db").rename(directory / "old.db")
    (directory / "config.toml").unlink()

    assert run("response", call.id, "--db", "old.db").stdout_bytes == b"kept"


# the gateway


async def test_the_running_gateway_is_found_by_its_lock(
    recorded: RecordedCalls, api: GatewayClient, directory: Path
) -> None:
    call = recorded.add(request=BINARY, attempts=[answered(body=BINARY, status=503)], answer=1)
    with running(directory / "gateway.db", api.url):
        asked = [
            await run_beside(*arguments)
            for arguments in (
                ("list", "--json", "--tag", "a&b:c d"),
                ("show", call.id, "--json"),
                ("request", call.id),
                ("response", call.id, "--attempt", "1"),
            )
        ]

    assert [(done.exit_code, done.stderr) for done in asked] == [(0, "")] * 4
    assert json.loads(asked[0].stdout)["data"] == []
    assert json.loads(asked[1].stdout)["id"] == call.id
    assert asked[2].stdout_bytes == BINARY
    assert asked[3].stdout_bytes == BINARY


async def test_a_gateway_is_named_by_url_and_key_or_by_the_environment(
    recorded: RecordedCalls, api: GatewayClient
) -> None:
    recorded.answer()

    for done in (
        await run_beside("list", "--url", api.url, "--key", "secret"),
        await run_beside("list", GATEWAY_URL=f"{api.url}/", GATEWAY_KEY="secret"),
    ):
        assert done.exit_code == 0, done.stderr
        assert "call_" in done.stdout


async def test_waiting_for_an_answer_is_passed_on(recorded: RecordedCalls) -> None:
    open_calls = OpenCalls()
    call = recorded.add(status=Status.RUNNING, attempts=[answered(body=b"done")], answer=1)
    async with open_api(recorded, open_calls) as api, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(run_beside("response", call.id, "--wait", "9", "--url", api.url))
        await open_calls.waiting.wait()
        recorded.change(call, status="succeeded")
        open_calls.over.set()

    assert open_calls.waited == [(call.id, 9.0)]
    assert asked.result().stdout_bytes == b"done"


# what fails


@pytest.mark.parametrize("over_http", [False, True])
@pytest.mark.parametrize(
    ("arguments", "exit_code", "reason"),
    [
        (("list", "--limit", "0"), 2, "limit: must be"),
        (("list", "--after", "call_x"), 2, "after: there is no such call"),
        (("show", "call_x"), 3, "no such call"),
        (("request", "../x"), 3, "no such call"),
        (("response", "call_x"), 3, "no such call"),
        (("response", "call_1", "--attempt", "9"), 3, "no attempt 9"),
        (("response", "call_1"), 1, "incomplete"),
        (("response", "call_2"), 1, "call_2 is running: it has no answer yet"),
        (("response", "call_3"), 1, "no slot"),
        (("response", "call_4"), 3, "retention removed"),
        (("response", "call_5"), 1, "cancelled"),
    ],
)
async def test_what_cannot_be_had_says_why(
    recorded: RecordedCalls,
    api: GatewayClient,
    over_http: bool,
    arguments: tuple[str, ...],
    exit_code: int,
    reason: str,
) -> None:
    cut = answered(body=b"half", complete=False, outcome=Outcome.BROKEN)
    recorded.add(id="call_1", attempts=[cut], answer=1, status=Status.FAILED)
    recorded.add(id="call_2", status=Status.RUNNING)
    recorded.add(
        id="call_3",
        status=Status.EXPIRED,
        failure=Failure(code="queue_timeout", message="no slot"),
    )
    recorded.purge(recorded.add(id="call_4", attempts=[answered(body=b"gone")], answer=1))
    recorded.add(id="call_5", status=Status.CANCELLED)
    where = ("--url", api.url, "--key", "secret") if over_http else ()
    done = await run_beside(*arguments, *where)

    assert exit_code == done.exit_code, done.output
    assert reason in done.stderr
    assert done.stdout_bytes == (b"half" if "incomplete" in reason else b"")


async def test_a_wrong_key_is_exit_5(api: GatewayClient) -> None:
    done = await run_beside("list", "--url", api.url, "--key", "wrong")

    assert (done.exit_code, done.stdout) == (5, "")
    assert "gateway key" in done.stderr


def test_a_lock_that_may_not_be_read_is_exit_5_and_names_the_way_out(
    recorded: RecordedCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_lock(journal: Path) -> None:  # root reads every file, so a mode would not do
        raise PermissionError(13, "Permission denied", str(lock_path(journal)))

    monkeypatch.setattr(client, "read_lock", read_lock)
    done = run("list")

    assert done.exit_code == 5
    assert "gateway.db.lock" in done.stderr
    assert "--url" in done.stderr
    assert "--key" in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", None])
def test_a_gateway_that_does_not_answer_is_exit_4(
    recorded: RecordedCalls, directory: Path, url: str | None
) -> None:
    with running(directory / "gateway.db", url):
        done = run("list")

    assert (done.exit_code, done.stdout) == (4, "")


def test_a_stale_lock_is_not_called(recorded: RecordedCalls, directory: Path) -> None:
    recorded.answer()
    with running(directory / "gateway.db", "http://127.0.0.1:1"):
        pass

    assert run("list").exit_code == 0


def test_neither_gateway_nor_journal_is_exit_4() -> None:
    done = run("list")

    assert done.exit_code == 4
    assert "gateway.db" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--config", "missing.toml"),
        ("list", "--db", "missing.db"),
        ("list", "--url", "127.0.0.1:8080"),
        ("list", "--colour", "red"),
        ("response", "call_1", "--attempt", "0"),
    ],
)
def test_wrong_usage_is_exit_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr


def test_a_file_that_is_no_journal_is_exit_1(directory: Path) -> None:
    (directory / "other.db").write_bytes(b"something else" * 100)
    done = run("list", "--db", "other.db")

    assert done.exit_code == 1
    assert "other.db" in done.stderr


async def test_something_that_is_no_gateway_is_told_so(upstream) -> None:
    done = await run_beside("list", "--url", upstream.url)

    assert done.exit_code == 1
    assert "is it a gateway?" in done.stderr
