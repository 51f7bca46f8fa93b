"""One gateway a journal."""

import json
import os
import stat
import subprocess
import sys

import pytest

from gateway.errors import JournalLocked, JournalUnavailable
from gateway.journal.lock import LockInfo, hold_lock, lock_path, read_lock

HOLDER = """
import sys
from pathlib import Path
from gateway.journal.lock import hold_lock
with hold_lock(Path(sys.argv[1])) as lock:
    lock.write(url="http://127.0.0.1:8080", token="secret")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def db(tmp_path):
    """Return where the journal would be."""
    return tmp_path / "gateway.db"


@pytest.fixture
def holder(db):
    """Yield a process that holds the journal."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(db)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_told_who_holds_the_journal(db, holder):
    with pytest.raises(JournalLocked, match=f"in use by process {holder.pid}"), hold_lock(db):
        pass


def test_commands_find_the_gateway_through_its_lock(db, holder):
    expected = LockInfo(pid=holder.pid, url="http://127.0.0.1:8080", token="secret")

    assert expected == read_lock(db)
    assert "secret" not in repr(expected)


def test_the_lock_of_a_killed_process_is_stale(db, holder):
    holder.kill()
    holder.wait()

    assert lock_path(db).read_bytes()
    assert read_lock(db) is None
    with hold_lock(db):
        assert os.getpid() == read_lock(db).pid


def test_nobody_holds_a_journal_that_never_was(db):
    assert read_lock(db) is None


def test_the_lock_file_is_its_owners_alone_even_where_it_was_not(db):
    lock_path(db).touch(mode=0o644)

    with hold_lock(db) as lock:
        lock.write(url="http://127.0.0.1:1", token="t")

        assert stat.S_IMODE(lock_path(db).stat().st_mode) == 0o600


def test_what_is_written_last_replaces_all_before(db):
    with hold_lock(db) as lock:
        lock.write(url="http://127.0.0.1:8080/" + "long" * 50, token="t")
        lock.write(url="http://127.0.0.1:1", token="t")

        assert json.loads(lock_path(db).read_bytes())["url"] == "http://127.0.0.1:1"


def test_a_held_lock_without_readable_content_is_still_held(db):
    with hold_lock(db):
        lock_path(db).write_bytes(b"{")

        assert LockInfo(pid=0) == read_lock(db)


def test_a_journal_in_a_missing_directory_is_told_plainly(tmp_path):
    with (
        pytest.raises(JournalUnavailable, match="missing"),
        hold_lock(tmp_path / "missing/gateway.db"),
    ):
        pass
