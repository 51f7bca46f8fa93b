"""The schema: numbered .sql files, applied once each, each wholly or not at all.

`PRAGMA user_version` says how many have been applied. It is part of the file and of the
transaction, so a process killed at any step leaves the old schema or the new one.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

SCHEMA = Path(__file__).parent / "schema"


def load_migrations(directory: Path = SCHEMA) -> tuple[str, ...]:
    """The scripts in *directory* (`0001_….sql`, `0002_….sql`, no gap) in their order."""
    paths = sorted(directory.glob("*.sql"))
    for number, path in enumerate(paths, start=1):
        if path.name.partition("_")[0] != f"{number:04}":
            raise ValueError(f"{path}: migration {number} should stand here")
    return tuple(path.read_text(encoding="utf-8") for path in paths)


def migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Apply what *connection*'s file lacks of *migrations*.

    Raises: sqlite3.Error, with everything before the failing script applied and nothing of it
    """
    applied = user_version(connection)
    for number, script in enumerate(migrations[applied:], start=applied + 1):
        # executescript() commits an open transaction first, so the script opens its own.
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
            )
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def user_version(connection: sqlite3.Connection) -> int:
    """How many migrations the file has seen."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
