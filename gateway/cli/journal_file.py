"""The reading commands without a gateway: the same answers, from the journal's file itself."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.cli.exits import CommandError
from gateway.errors import NotFound
from gateway.journal.bodies import Body, answer_body, choose_attempt, is_pending, request_body
from gateway.journal.exporting import export
from gateway.journal.filters import read_filters, read_selection
from gateway.journal.reader import Reader, open_reader
from gateway.journal.records import CallRecord
from gateway.journal.shapes import Json, call_json, page_json


class JournalFile:
    """A `client.Source` that reads the file. Nobody changes it meanwhile, so nobody can wait."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(self, parameters: Sequence[tuple[str, str]]) -> Json:
        """The list that `GET /-/calls` gives."""
        filters = read_filters(parameters)
        page = await self._reader.calls(filters)
        return page_json(page, [call_json(one, expand=filters.expand) for one in page.records])

    async def call(self, call_id: str) -> Json:
        """The call, whole."""
        return call_json(await self._find(call_id))

    async def request_body(self, call_id: str) -> AsyncIterator[bytes]:
        """The request's bytes."""
        record = await self._find(call_id)
        async for piece in self._bytes(await request_body(self._reader, record)):
            yield piece

    async def response_body(
        self, call_id: str, attempt: int | None, wait_s: float
    ) -> AsyncIterator[bytes]:
        """The answer's bytes."""
        record = await self._find(call_id)
        if is_pending(record, attempt):
            raise CommandError(f"{call_id} is {record.status}: it has no answer yet")
        chosen = choose_attempt(record, attempt)
        body = await answer_body(self._reader, chosen)
        async for piece in self._bytes(body):
            yield piece

    async def export(self, parameters: Sequence[tuple[str, str]]) -> AsyncIterator[bytes]:
        """JSON lines of the calls that these *parameters* choose."""
        async for piece in export(self._reader, read_selection(parameters)):
            yield piece

    async def _find(self, call_id: str) -> CallRecord:
        record = await self._reader.call(call_id)
        if record is None:
            raise NotFound("there is no such call")
        return record

    async def _bytes(self, body: Body) -> AsyncIterator[bytes]:
        left = body.size
        async for piece in self._reader.body(body.seq, body.attempt):
            yield piece
            left -= len(piece)
        if left or not body.whole:
            raise CommandError("the answer is incomplete: it broke off here")


@asynccontextmanager
async def open_journal_file(path: Path) -> AsyncIterator[JournalFile]:
    """Read the journal at *path*. Raises: JournalDamaged."""
    async with open_reader(path) as reader:
        yield JournalFile(reader)
