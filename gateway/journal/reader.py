"""The journal, read while it is written, or when no gateway runs.

Readers never hold the writer up. Each reading is one short transaction in one hop to the thread of
its connection: what it returns is of one instant, and no transaction is open while anybody awaits.
Lists have a connection and a time limit of their own, and so have those for which calls must be
looked for: a slow one delays no body, no single call and nobody's first page.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from gateway.call import Call, Request
from gateway.errors import Gone, JournalDamaged, JournalUnavailable
from gateway.journal.audit import AuditPage, select_audit
from gateway.journal.condition import Contents, select_contents
from gateway.journal.connection import in_thread, open_read_only
from gateway.journal.deliveries import (
    DeliveryTry,
    PendingDelivery,
    select_pending,
    select_tries,
)
from gateway.journal.filters import Cursor, Filters, Selection
from gateway.journal.keys import Key, select_keys, select_usage
from gateway.journal.migrate import load_migrations, user_version
from gateway.journal.pauses import select_paused
from gateway.journal.records import CallRecord, header_fields
from gateway.journal.redaction import REDACTED
from gateway.journal.selects import (
    KeyedCall,
    Page,
    select_body_bytes,
    select_call,
    select_chunks,
    select_count,
    select_keyed,
    select_page,
    select_piece,
    select_replays,
    select_request,
)
from gateway.journal.shapes import Json
from gateway.journal.statistics.stats import Now, tell_statistics
from gateway.journal.statistics.windows import Window

P = ParamSpec("P")
T = TypeVar("T")

LIST_WITHIN_S = 0.3  # to look at a million calls, which no index serves, takes about 1 s
CATCH_UP_SHARE = 0.75  # of that time, in which what just happened is made searchable first
PAGE_CALLS = 100  # of many calls read in one go


class Reader:
    """What the journal holds. See `open_reader`.

    Every method raises JournalUnavailable when the file cannot be read.
    """

    def __init__(
        self,
        singles: aiosqlite.Connection,
        lists: aiosqlite.Connection,
        searches: aiosqlite.Connection,
        *,
        list_within_s: float,
    ) -> None:
        #: asked before full text is searched for, with the seconds it may take
        self.catch_up: Callable[[float], Awaitable[None]] | None = None
        self._singles = singles
        self._lists = lists
        self._searches = searches
        self._list_within_s = list_within_s

    async def call(self, call_id: str, *, owner: str | None = None) -> CallRecord | None:
        """The call of that id with all but its bodies; None also where it is not *owner*'s."""
        return await _read(self._singles, select_call, call_id, owner)

    async def calls(self, filters: Filters, *, owner: str | None = None) -> Page:
        """The calls that *filters* choose among *owner*'s, as many as are found in time.

        Raises: BadRequest, for an unknown cursor
        """
        within_s = await self._catch_up(filters)
        return await _read(self._of(filters), select_page, filters, owner, within_s)

    async def count(
        self, filters: Filters, *, owner: str | None = None, most: int, within_s: float | None
    ) -> tuple[int, bool]:
        """How many calls *filters* choose, up to *most*; and whether there may be more.

        *within_s*: None: all are counted, however long it takes, in pieces
        """
        await self._catch_up(filters)
        found = 0
        while True:
            seconds = self._list_within_s if within_s is None else within_s
            counted = await _read(
                self._of(filters), select_count, filters, owner, seconds, most - found + 1
            )
            found += counted.calls
            if found > most:
                return most, True
            if counted.cursor is None or within_s is not None:
                return found, counted.cursor is not None
            filters = replace(filters, cursor=counted.cursor)

    async def pages(
        self,
        selection: Selection,
        *,
        owner: str | None = None,
        expand: bool = False,
        page_calls: int = PAGE_CALLS,
    ) -> AsyncGenerator[tuple[CallRecord, ...], None]:
        """All calls that *selection* chooses, in pieces, each of them a reading by itself.

        Calls accepted since the first piece are not among them.
        """
        left = selection.at_most
        newest = (await self.calls(Filters(limit=1))).records
        if not newest:
            return
        filters = replace(selection.filters, newest_seq=newest[0].seq, expand=expand)
        while left != 0:
            limit = page_calls if left is None else min(page_calls, left)
            page = await self.calls(replace(filters, limit=limit), owner=owner)
            cursor = page.cursor
            if page.records:
                yield page.records
                left = None if left is None else left - len(page.records)
                cursor = cursor or Cursor(page.records[-1].seq, filters.ascending)
            if not page.has_more:
                return
            filters = replace(filters, cursor=cursor)

    def _of(self, filters: Filters) -> aiosqlite.Connection:
        """Where many or long readings do not hold up what somebody looks at."""
        return self._searches if filters.conditions else self._lists

    async def _catch_up(self, filters: Filters) -> float:
        """Let what just happened be found by full text; the seconds that are left."""
        if not filters.expressions or self.catch_up is None:
            return self._list_within_s
        began = time.monotonic()
        await self.catch_up(CATCH_UP_SHARE * self._list_within_s)
        left = began + self._list_within_s - time.monotonic()
        return max(left, (1 - CATCH_UP_SHARE) * self._list_within_s)

    async def keyed(self, client: str, key: str) -> KeyedCall | None:
        """The newest call that *client* sent under the Idempotency-Key *key*."""
        return await _read(self._singles, select_keyed, client, key)

    async def paused(self) -> frozenset[str]:
        """Names of the upstreams that were paused and not let go on."""
        return await _read(self._singles, select_paused)

    async def keys(self) -> list[Key]:
        """Every gateway key there ever was, the oldest first."""
        return await _read(self._singles, select_keys)

    async def key_usage(self, day: int) -> dict[str, int]:
        """Tokens that the calls of each key used on that *day* (days since the epoch, UTC)."""
        return await _read(self._singles, select_usage, day)

    async def audit(self, limit: int, *, after: int | None, before: int | None) -> AuditPage:
        """Up to *limit* entries of the audit trail, newest first, beside a cursor."""
        return await _read(self._lists, select_audit, limit, after, before)

    async def statistics(self, window: Window, now: Now) -> Json:
        """Totals and series of *window*."""
        return await _read(self._lists, tell_statistics, window, now)

    async def contents(self) -> Contents:
        """What is in the file, without looking at all of it."""
        return await _read(self._lists, select_contents)

    async def pending_deliveries(self) -> list[PendingDelivery]:
        """The webhooks that are still to be told, those due first before the others."""
        return await _read(self._lists, select_pending)

    async def delivery_tries(self, seq: int) -> list[DeliveryTry]:
        """How telling the webhook of a call went, try by try."""
        return await _read(self._singles, select_tries, seq)

    async def replays(self, call_id: str) -> tuple[str, ...]:
        """Ids of the calls that repeat this one, oldest first."""
        found = await _read(self._singles, select_replays, [call_id])
        return found.get(call_id, ())

    async def body(self, seq: int, attempt: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """The recorded bytes of *attempt* (0: of the request) from offset *start* on.

        They come in pieces of at most 1 MiB. Each piece is a reading by itself, so the body can
        grow or be removed meanwhile: the end is where the next byte is not here.
        """
        while piece := await _read(self._singles, select_piece, seq, attempt, start):
            yield piece
            start += len(piece)

    async def body_bytes(self, seq: int, attempt: int) -> int:
        """How much of that body is here, from its beginning; 0 once retention removed it."""
        return await _read(self._singles, select_body_bytes, seq, attempt)

    async def chunks(self, seq: int, attempt: int) -> list[tuple[int, int]]:
        """How an answer arrived: (ms since its attempt started, bytes) of each piece.

        Empty for a body that came in one.
        """
        return await _read(self._singles, select_chunks, seq, attempt)

    async def request(self, call: Call) -> Request:
        """The request of *call* with its body, and with its headers where *call* has none.

        What was redacted of them is left out.

        Raises: Gone, when the body is not here
        """
        body = b"".join([piece async for piece in self.body(call.seq, 0)])
        if len(body) != call.request.body_bytes:
            raise Gone("retention removed the body of this request")
        headers = call.request.headers
        if not headers and (row := await _read(self._singles, select_request, call.seq)):
            headers = tuple(
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in header_fields(row.headers)
                if value != REDACTED
            )
        return replace(call.request, headers=headers, body=body)


@asynccontextmanager
async def open_reader(path: Path, *, list_within_s: float = LIST_WITHIN_S) -> AsyncIterator[Reader]:
    """Read the journal at *path*: opened after its writer and closed before it, or without one.

    Raises: JournalDamaged, when there is no journal of this version
    """
    async with _connect(path) as singles, _connect(path) as lists, _connect(path) as searches:
        yield Reader(singles, lists, searches, list_within_s=list_within_s)


@asynccontextmanager
async def _connect(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    try:
        connection = await open_read_only(path)
    except sqlite3.Error as error:
        raise JournalDamaged(f"{path} cannot be opened: {error}") from error
    try:
        await in_thread(connection, _check_version, path)
        yield connection
    finally:
        await connection.close()


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    try:
        version, known = user_version(connection), len(load_migrations())
    except sqlite3.Error as error:
        raise JournalDamaged(f"{path} cannot be read: {error}") from error
    if version == 0:
        raise JournalDamaged(f"{path} is not a journal")
    if version > known:
        raise JournalDamaged(f"{path} was written by a newer gateway")
    if version < known:
        raise JournalDamaged(f"{path} is of an older gateway: `gateway run` brings it up to date")


async def _read(
    connection: aiosqlite.Connection,
    select: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    abandoned = False

    def transaction(raw: sqlite3.Connection) -> T:
        if abandoned:  # while it waited for those before it: it costs those after it nothing
            raise asyncio.CancelledError
        raw.execute("BEGIN")
        try:
            return select(raw, *args, **kwargs)
        finally:
            if raw.in_transaction:  # SQLite ends it by itself after an I/O error
                raw.execute("ROLLBACK")

    try:
        return await in_thread(connection, transaction)
    except asyncio.CancelledError:
        abandoned = True
        raise
    except sqlite3.Error as error:
        raise JournalUnavailable(f"the journal cannot be read: {error}") from error
