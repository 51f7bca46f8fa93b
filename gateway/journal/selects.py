"""Every SELECT that shows calls, as functions over a connection inside a read transaction.

A list reads narrow rows, by the primary key or the indexes of the open states; never a body.
"""

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from pydantic_core import from_json, to_json

from gateway.errors import BadRequest
from gateway.journal.filters import Cursor, Filters
from gateway.journal.records import (
    AttemptRow,
    CallRecord,
    CallRow,
    DeliveryRow,
    Preview,
    RequestRow,
    columns,
)
from gateway.journal.search.scan import CLOCK_MS, Wanted, scan, seq_about

PIECE_BYTES = 1_048_576  # of a body in one reading: what one slow reader can hold of our memory

# What is put into a statement's text is column names of our own and conditions of filters.py.
# :owner limits a reading to the calls of one client; NULL: those of everybody.
CALL = f"""
    SELECT {columns(CallRow)} FROM calls
    WHERE id = :id AND (:owner IS NULL OR client = :owner)
"""  # noqa: S608
PREVIEWS = """
    SELECT seq, request, answer FROM texts
    WHERE volume IS NOT NULL AND seq IN (SELECT value FROM json_each(?))
"""
NEXT_OWN = """
    SELECT id, created_ms FROM calls
    WHERE client = ? AND client <> '' AND seq {} ? ORDER BY seq {} LIMIT 1
"""
CREATED = "SELECT created_ms FROM calls WHERE seq >= ? ORDER BY seq LIMIT 1"
REPLAYS = """
    SELECT replay_of, id FROM calls
    WHERE replay_of IN (SELECT value FROM json_each(?)) ORDER BY replay_of, seq
"""
REQUESTS = f"""
    SELECT {columns(RequestRow)} FROM requests WHERE seq IN (SELECT value FROM json_each(?))
"""  # noqa: S608
ATTEMPTS = f"""
    SELECT {columns(AttemptRow)} FROM attempts
    WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq, number
"""  # noqa: S608
ENDED = """
    SELECT seq, max(number) FROM attempts
    WHERE seq IN (SELECT value FROM json_each(?)) GROUP BY seq
"""
DELIVERIES = f"""
    SELECT {columns(DeliveryRow)} FROM deliveries WHERE seq IN (SELECT value FROM json_each(?))
"""  # noqa: S608
PIECE = """
    SELECT start, data FROM parts
    WHERE seq = :seq AND attempt = :attempt AND start >= (
        SELECT max(start) FROM parts WHERE seq = :seq AND attempt = :attempt AND start <= :start)
    ORDER BY start
"""
BOUNDS = """
    SELECT (SELECT start FROM parts WHERE seq = :seq AND attempt = :attempt
            ORDER BY start LIMIT 1),
           (SELECT start + length(data) FROM parts WHERE seq = :seq AND attempt = :attempt
            ORDER BY start DESC LIMIT 1)
"""
CHUNKS = """
    SELECT chunks FROM parts
    WHERE seq = :seq AND attempt = :attempt AND chunks IS NOT NULL ORDER BY start
"""


KEYED = """
    SELECT id, fingerprint, CASE WHEN complete THEN http_status END FROM calls
    WHERE client = ? AND idempotency_key = ? ORDER BY seq DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class KeyedCall:
    """A call as its Idempotency-Key finds it."""

    id: str
    fingerprint: str | None
    answered_with: int | None  #: the status of a complete answer of the upstream


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a list, in the list's order."""

    records: tuple[CallRecord, ...]
    has_more: bool  #: in the direction in which it was asked for
    cursor: Cursor | None = None  #: where to go on, if time ended before the page was full
    searched_to_ms: int | None = None  #: when the last call was accepted that was looked at then


@dataclass(frozen=True, slots=True)
class Count:
    """How many calls there are, as far as they were counted."""

    calls: int
    cursor: Cursor | None = None  #: where time ended


def select_call(
    connection: sqlite3.Connection, call_id: str, owner: str | None
) -> CallRecord | None:
    """The call of that id, whole, if it is *owner*'s."""
    row = connection.execute(CALL, {"id": call_id, "owner": owner}).fetchone()
    return _records(connection, [CallRow(*row)], expand=True)[0] if row else None


def select_page(
    connection: sqlite3.Connection, filters: Filters, owner: str | None, within_s: float
) -> Page:
    """The calls of *owner* that *filters* choose. Raises BadRequest for an unknown cursor."""
    wanted = _wanted(connection, filters, owner)
    done = scan(
        connection,
        wanted,
        columns(CallRow),
        most=filters.limit + 1,
        deadline=time.monotonic() + within_s,
    )
    rows = [CallRow(*row) for row in done.rows]
    has_more = len(rows) > filters.limit
    del rows[filters.limit :]
    if wanted.ascending != filters.ascending:
        rows.reverse()
    records = _records(connection, rows, expand=filters.expand)
    if has_more or done.stopped_at is None:
        return Page(records, has_more)
    if owner is None:
        (created_ms,) = connection.execute(CREATED, (done.stopped_at,)).fetchone()
        return Page(records, True, Cursor(done.stopped_at, wanted.ascending), created_ms)
    beyond = NEXT_OWN.format(*((">", "ASC") if wanted.ascending else ("<", "DESC")))
    found = connection.execute(beyond, (owner, done.stopped_at)).fetchone()
    if found is None:
        return Page(records, False)
    call_id, created_ms = found
    return Page(records, True, Cursor(None, wanted.ascending, call_id), created_ms)


def select_count(
    connection: sqlite3.Connection,
    filters: Filters,
    owner: str | None,
    within_s: float,
    most: int,
) -> Count:
    """How many calls of *owner* the conditions of *filters* choose, up to *most*."""
    wanted = _wanted(connection, filters, owner)
    deadline = time.monotonic() + within_s
    done = scan(connection, wanted, None, most=most, deadline=deadline)
    cursor = None if done.stopped_at is None else Cursor(done.stopped_at, wanted.ascending)
    return Count(done.count, cursor)


def _wanted(connection: sqlite3.Connection, filters: Filters, owner: str | None) -> Wanted:
    """What to look for and where.

    A `before` alone reads against the list's order: its page is the one next to that call.
    """
    conditions, values = filters.conditions, dict(filters.values)
    if owner is not None:
        # The second leads to the index, which leaves out those who present no credential.
        conditions = (*conditions, "client = :owner", "client <> ''" if owner else "TRUE")
        values["owner"] = owner
    low, high = [], [] if filters.newest_seq is None else [filters.newest_seq]
    for name, cursor, towards_later in (
        ("after", filters.after, filters.ascending),
        ("before", filters.before, not filters.ascending),
    ):
        if cursor is not None:
            found = connection.execute(CALL, {"id": cursor, "owner": owner}).fetchone()
            if found is None:
                raise BadRequest(f"{name}: there is no such call")
            seq = CallRow(*found).seq
            low.append(seq + 1) if towards_later else high.append(seq - 1)
    upwards = filters.ascending != (filters.before is not None and filters.after is None)
    if (begin := filters.cursor) is not None:
        upwards = begin.upwards
        first = _first(connection, begin, owner)
        low.append(first) if upwards else high.append(first)
    if filters.since_ms is not None:
        low.append(seq_about(connection, filters.since_ms - CLOCK_MS))
    if filters.until_ms is not None:
        high.append(seq_about(connection, filters.until_ms + CLOCK_MS))
    return Wanted(
        conditions=conditions,
        values=values,
        expressions=filters.expressions,
        globs=filters.globs,
        low=max(low, default=None),
        high=min(high, default=None),
        ascending=upwards,
    )


def _first(connection: sqlite3.Connection, begin: Cursor, owner: str | None) -> int:
    """The seq of the call at which the search goes on."""
    if begin.seq is not None:
        return begin.seq + (1 if begin.upwards else -1)
    found = connection.execute(CALL, {"id": begin.call_id, "owner": owner}).fetchone()
    if found is None:
        raise BadRequest("cursor: there is no such call any more")
    return CallRow(*found).seq


def select_replays(
    connection: sqlite3.Connection, call_ids: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """For each of *call_ids* that was replayed: the ids of its replays, oldest first."""
    rows = connection.execute(REPLAYS, (to_json(list(call_ids)).decode(),))
    return {
        replayed: tuple(call_id for _, call_id in group)
        for replayed, group in groupby(rows, lambda row: row[0])
    }


def select_keyed(connection: sqlite3.Connection, client: str, key: str) -> KeyedCall | None:
    """The newest call that *client* sent under the Idempotency-Key *key*."""
    row = connection.execute(KEYED, (client, key)).fetchone()
    return KeyedCall(*row) if row else None


def select_request(connection: sqlite3.Connection, seq: int) -> RequestRow | None:
    """Headers and hash of a call's request."""
    row = connection.execute(REQUESTS, (to_json([seq]).decode(),)).fetchone()
    return RequestRow(*row) if row else None


def select_piece(connection: sqlite3.Connection, seq: int, attempt: int, start: int) -> bytes:
    """Up to `PIECE_BYTES` of a body from offset *start*; empty where that byte is not here."""
    pieces: list[bytes] = []
    size = 0
    place = {"seq": seq, "attempt": attempt, "start": start}
    for part_start, data in connection.execute(PIECE, place):
        fresh = data[start + size - part_start :] if part_start <= start + size else b""
        if not fresh or (pieces and size + len(fresh) > PIECE_BYTES):
            break  # a gap, the end, or enough
        pieces.append(fresh)
        size += len(fresh)
    return b"".join(pieces)


def select_body_bytes(connection: sqlite3.Connection, seq: int, attempt: int) -> int:
    """How much of a body is here, from its beginning. Parts follow each other without a gap."""
    first, end = connection.execute(BOUNDS, {"seq": seq, "attempt": attempt}).fetchone()
    return int(end) if first == 0 else 0


def select_chunks(connection: sqlite3.Connection, seq: int, attempt: int) -> list[tuple[int, int]]:
    """(ms since the attempt started, bytes) of each piece as it arrived, if they were several."""
    rows = connection.execute(CHUNKS, {"seq": seq, "attempt": attempt})
    return [(ms, size) for (chunks,) in rows for ms, size in from_json(chunks)]


def _records(
    connection: sqlite3.Connection, rows: list[CallRow], *, expand: bool
) -> tuple[CallRecord, ...]:
    if not rows:
        return ()
    replays = select_replays(connection, [row.id for row in rows])
    shown = (to_json([row.seq for row in rows]).decode(),)
    previews = {seq: Preview(*texts) for seq, *texts in connection.execute(PREVIEWS, shown)}
    ended_attempts = dict(connection.execute(ENDED, shown))
    requests: dict[int, RequestRow] = {}
    attempts: dict[int, tuple[AttemptRow, ...]] = {}
    deliveries: dict[int, DeliveryRow] = {}
    if hooked := [row.seq for row in rows if row.webhook is not None]:
        found = connection.execute(DELIVERIES, (to_json(hooked).decode(),))
        deliveries = {row[0]: DeliveryRow(*row) for row in found}
    if expand:
        seqs = (to_json([row.seq for row in rows]).decode(),)
        requests = {row[0]: RequestRow(*row) for row in connection.execute(REQUESTS, seqs)}
        ended = [AttemptRow(*row) for row in connection.execute(ATTEMPTS, seqs)]
        attempts = {seq: tuple(group) for seq, group in groupby(ended, lambda row: row.seq)}
    return tuple(
        CallRecord(
            row=row,
            replays=replays.get(row.id, ()),
            request=requests.get(row.seq),
            attempts=attempts.get(row.seq, ()),
            ended_attempts=ended_attempts.get(row.seq, 0),
            delivery=deliveries.get(row.seq),
            preview=previews.get(row.seq),
        )
        for row in rows
    )
