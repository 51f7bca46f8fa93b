"""The audit trail: who logged in, made or revoked keys, changed limits, reloaded, replayed, deleted.

Invariant: entries are only ever added; the file itself refuses to change or remove one.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import JsonValue
from pydantic_core import from_json, to_json

from gateway.journal.shapes import Json, rfc3339
from gateway.journal.transaction import transaction

INSERT = "INSERT INTO audit (at_ms, actor, action, target, detail) VALUES (?, ?, ?, ?, ?)"
PAGE = "SELECT id, at_ms, actor, action, target, detail FROM audit WHERE id {} ? ORDER BY id {} LIMIT ?"
NEWEST = 1 << 62  # above every id


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that somebody did."""

    at_ms: int
    actor: str  #: id of a key, `session:<id of a key>`, `cli`, or `anonymous`
    action: str  #: `key.created`, `upstream.changed`, …
    target: str | None = None  #: what it was done to
    detail: Json | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A piece of the trail, newest first."""

    entries: tuple[tuple[int, Entry], ...]  #: with their ids
    has_more: bool

    def json(self) -> Json:
        """As the API lists it."""
        data: list[JsonValue] = [_shown(number, entry) for number, entry in self.entries]
        return {
            "object": "list",
            "data": data,
            "first_id": self.entries[0][0] if self.entries else None,
            "last_id": self.entries[-1][0] if self.entries else None,
            "has_more": self.has_more,
        }


def add(entry: Entry) -> Callable[[sqlite3.Connection], bool]:
    """The writer's step that records *entry*; see `Journal.work`."""

    def step(connection: sqlite3.Connection) -> bool:
        with transaction(connection):
            insert_entry(connection, entry)
        return True

    return step


def insert_entry(connection: sqlite3.Connection, entry: Entry) -> None:
    """Add *entry* within the open transaction."""
    detail = to_json(entry.detail or {}).decode()
    connection.execute(INSERT, (entry.at_ms, entry.actor, entry.action, entry.target, detail))


def select_audit(
    connection: sqlite3.Connection, limit: int, after: int | None, before: int | None
) -> AuditPage:
    """Up to *limit* entries: the newest, those that follow *after* (older), or precede *before*."""
    backwards = before is not None and after is None
    if backwards:
        rows = connection.execute(PAGE.format(">", "ASC"), (before, limit + 1)).fetchall()
    else:
        start = NEWEST if after is None else after
        rows = connection.execute(PAGE.format("<", "DESC"), (start, limit + 1)).fetchall()
    chosen = rows[:limit]
    if backwards:
        chosen.reverse()
    entries = tuple(
        (number, Entry(at_ms=at, actor=who, action=what, target=target, detail=from_json(detail)))
        for number, at, who, what, target, detail in chosen
    )
    return AuditPage(entries, has_more=len(rows) > limit)


def _shown(number: int, entry: Entry) -> Json:
    return {
        "object": "audit",
        "id": number,
        "at": rfc3339(entry.at_ms),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "detail": entry.detail,
    }
