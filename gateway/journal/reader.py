"""The journal, read while it is written, or when no gateway runs.

Readers never hold the writer up. Each reading is one short transaction in one hop to the thread of
its connection: what it returns is of one instant, and no transaction is open while anybody awaits.
Lists have a connection and a time limit of their own: a slow one delays no body and no single call.
"""

import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from gateway.call import Call, Request
from gateway.errors import BadRequest, Gone, JournalDamaged, JournalUnavailable
from gateway.journal.audit import AuditPage, select_audit
from gateway.journal.condition import Contents, select_contents
from gateway.journal.connection import in_thread, open_read_only
from gateway.journal.deliveries import (
    DeliveryTry,
    PendingDelivery,
    select_pending,
    select_tries,
)
from gateway.journal.filters import Filters, Selection
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
from gateway.journal.stats import Now, tell_statistics
from gateway.journal.windows import Window

P = ParamSpec("P")
T = TypeVar("T")

LIST_WITHIN_S = 5.0  # a list that has to look at a million calls takes about 1 s
PAGE_CALLS = 100  # of many calls read in one go
STEPS = 10_000  # of SQLite's machine between two looks at the clock: about 1 ms


class Reader:
    """What the journal holds. See `open_reader`.

    Every method raises JournalUnavailable when the file cannot be read.
    """

    def __init__(
        self, singles: aiosqlite.Connection, lists: aiosqlite.Connection, *, list_within_s: float
    ) -> None:
        self._singles = singles
        self._lists = lists
        self._list_within_s = list_within_s

    async def call(self, call_id: str, *, owner: str | None = None) -> CallRecord | None:
        """The call of that id with all but its bodies; None also where it is not *owner*'s."""
        return await _read(self._singles, select_call, call_id, owner)

    async def calls(self, filters: Filters, *, owner: str | None = None) -> Page:
        """The calls that *filters* choose among *owner*'s.

        Raises: BadRequest, for an unknown cursor, or when looking for them takes too long
        """
        return await _read(self._lists, self._in_time, select_page, filters, owner)

    async def count(self, selection: Selection, *, owner: str | None = None) -> int:
        """How many calls *selection* chooses. Raises: BadRequest, when that takes too long."""
        found = await _read(self._lists, self._in_time, select_count, selection.filters, owner)
        return found if selection.at_most is None else min(found, selection.at_most)

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

        Raises: BadRequest, when looking for a piece takes too long
        """
        filters, left = selection.filters, selection.at_most
        newest = (await self.calls(Filters(limit=1))).records
        if not newest:
            return
        conditions = (*filters.conditions, "seq <= ?", f"seq {'>' if filters.ascending else '<'} ?")
        top = newest[0].seq
        last = 0 if filters.ascending else top + 1
        has_more = True
        while has_more and left != 0:
            page = await self.calls(
                replace(
                    filters,
                    conditions=conditions,
                    values=(*filters.values, top, last),
                    limit=page_calls if left is None else min(page_calls, left),
                    expand=expand,
                ),
                owner=owner,
            )
            if page.records:
                yield page.records
                last = page.records[-1].seq
            has_more = page.has_more
            left = None if left is None else left - len(page.records)

    def _in_time(
        self,
        connection: sqlite3.Connection,
        select: Callable[[sqlite3.Connection, Filters, str | None], T],
        filters: Filters,
        owner: str | None,
    ) -> T:
        deadline = time.monotonic() + self._list_within_s
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
        try:
            return select(connection, filters, owner)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            raise BadRequest(
                f"looking for these calls takes more than {self._list_within_s:g} s; narrow it with"
                " other filters"
            ) from error
        finally:
            connection.set_progress_handler(None, 0)

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
    async with _connect(path) as singles, _connect(path) as lists:
        yield Reader(singles, lists, list_within_s=list_within_s)


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
    def transaction(raw: sqlite3.Connection) -> T:
        raw.execute("BEGIN")
        try:
            return select(raw, *args, **kwargs)
        finally:
            if raw.in_transaction:  # SQLite ends it by itself after an I/O error
                raw.execute("ROLLBACK")

    try:
        return await in_thread(connection, transaction)
    except sqlite3.Error as error:
        raise JournalUnavailable(f"the journal cannot be read: {error}") from error
