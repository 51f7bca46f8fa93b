"""`GET /-/calls/{id}/chunks`: when which piece of an answer arrived."""

import asyncio
from itertools import accumulate

from aiohttp import web
from pydantic_core import to_json

from gateway.errors import BadRequest, Gone, NotFound
from gateway.journal.reader import Reader
from gateway.journal.records import CallRecord
from gateway.web.calls import settled
from gateway.web.dependencies import READER
from gateway.web.recorded import attempt_number

MANY = 2_000  # chunks whose JSON is not made on the event loop: a ms or more


def routes() -> list[web.RouteDef]:
    """The one route."""
    return [web.get("/-/calls/{id}/chunks", show_chunks)]


async def show_chunks(request: web.Request) -> web.Response:
    """The pieces of an attempt's answer as far as they are recorded; of the call's answer by default.

    Of a call without an answer, the last attempt's.
    """
    for name in request.query:
        if name != "attempt":
            raise BadRequest(f"there is no parameter {name[:64]!r} here")
    record = await settled(request, 0)
    number = attempt_number(request) or _default(record)
    pieces = await _pieces(request.app[READER], record, number)
    if len(pieces) < MANY:
        body = _json(number, pieces)
    else:
        body = await asyncio.to_thread(_json, number, pieces)
    return web.Response(body=body, content_type="application/json")


def _default(record: CallRecord) -> int:
    number = record.shown_attempt
    if number is None:
        raise NotFound("the call has made no attempt")
    return number


async def _pieces(reader: Reader, record: CallRecord, number: int) -> list[tuple[int, int]]:
    """(ms since the attempt began, bytes) of each. Raises: NotFound; Gone."""
    attempt = record.attempt(number)
    if attempt is None and number != record.row.open_attempt:
        raise NotFound(f"there is no attempt {number}")
    if pieces := await reader.chunks(record.seq, number):
        return pieces
    size = await reader.body_bytes(record.seq, number)
    if attempt is None:  # in flight: what came was not timed
        began = record.row.open_started_ms or 0
        return [(max(0, (record.row.first_byte_ms or began) - began), size)] if size else []
    if size < attempt.body_bytes and not size:
        raise Gone("retention removed the body of this answer")
    return [(attempt.finished_ms - attempt.started_ms, size)] if size else []


def _json(number: int, pieces: list[tuple[int, int]]) -> bytes:
    starts = accumulate((size for _, size in pieces), initial=0)
    data = [
        {"at_ms": ms, "offset": start, "bytes": size}
        for (ms, size), start in zip(pieces, starts, strict=False)
    ]
    return to_json({"object": "list", "attempt": number, "data": data})
