"""The schema moves whole or not at all."""

import sqlite3
from contextlib import closing

import pytest

from gateway.journal.keys import select_keys
from gateway.journal.migrate import load_migrations, migrate, user_version


@pytest.fixture
def connection(tmp_path):
    """Yield a connection to an empty file."""
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as connection:
        yield connection


def tables(connection):
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}


def test_each_migration_is_applied_once(connection):
    scripts = ("CREATE TABLE one (a);", "CREATE TABLE two (a);")

    migrate(connection, scripts[:1])
    migrate(connection, scripts)
    migrate(connection, scripts)

    assert {"one", "two"} == tables(connection)
    assert user_version(connection) == 2


def test_a_failing_migration_leaves_the_version_before_it(connection):
    scripts = ("CREATE TABLE one (a);", "CREATE TABLE two (a); CREATE TABLE one (a);")

    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, scripts)

    assert {"one"} == tables(connection)
    assert user_version(connection) == 1
    assert not connection.in_transaction


def test_a_script_that_cannot_be_read_changes_nothing(connection):
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, ("CREATE TABLE one (a); CREATE TABEL two (a);",))

    assert set() == tables(connection)
    assert user_version(connection) == 0


def test_scripts_are_numbered_without_gap(tmp_path):
    for name in ("0001_calls.sql", "0003_later.sql"):
        (tmp_path / name).write_text("SELECT 1;")

    with pytest.raises(ValueError, match=r"0003_later\.sql: migration 2"):
        load_migrations(tmp_path)


def test_keys_of_an_older_file_are_without_the_bounds_that_came_later(connection):
    scripts = load_migrations()
    migrate(connection, scripts[:5])
    connection.execute(
        "INSERT INTO keys (id, name, hash, scopes, upstreams, models, bodies, created_ms, created_by)"
        " VALUES ('old', 'app', zeroblob(32), '[]', '[]', '[]', 'full', 0, 'cli')"
    )

    migrate(connection, scripts)

    (key,) = select_keys(connection)
    assert (key.id, key.max_queued, key.max_body_bytes) == ("old", None, None)


def test_a_final_status_is_final_whatever_the_code_believes(connection):
    migrate(connection, load_migrations())
    columns = {row[1]: row for row in connection.execute("PRAGMA table_info(calls)")}
    needed = [name for name, row in columns.items() if row[3] and name != "status"]
    connection.execute(
        f"INSERT INTO calls (seq, status, {', '.join(needed)})"
        f" VALUES (1, 'failed'{', 0' * len(needed)})"
    )

    with pytest.raises(sqlite3.IntegrityError, match="never changes"):
        connection.execute("UPDATE calls SET status = 'queued'")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE calls SET status = 'lost'")
