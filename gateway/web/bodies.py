"""`GET /-/calls/{id}/body`: a recorded body as a file, whole or a piece of it, for who inspects it.

Unlike `…/request` and `…/response` it repeats nothing that was said beside the bytes: no status, no
headers, no coding; a cut or failed answer is read like any other, and so is one still arriving.
Invariant: reading changes nothing. Whoever reads here takes no answer, so a retry stays possible.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

from aiohttp import web

from gateway.call import PART_BYTES
from gateway.errors import BadRequest, Gone, NotFound
from gateway.journal.bodies import request_body
from gateway.journal.reader import Reader
from gateway.journal.records import CallRecord
from gateway.relay.recording import Recording
from gateway.relay.relay import Relay
from gateway.web.calls import settled
from gateway.web.dependencies import READER
from gateway.web.recorded import SAFE


def routes(relay: Relay) -> list[web.RouteDef]:
    """The route, bound to *relay*."""

    async def body(request: web.Request) -> web.StreamResponse:
        record = await settled(request, 0)
        number = _number(request, record)
        live = relay.calls.get(record.id)
        recording = live.recording if live is not None else None
        if number and recording is not None and recording.attempt.number == number:
            whole = recording.ended and recording.attempt.complete
            name = f"{record.id}.response-{number}"
            return await _send(request, name, recording.size, whole, _Arriving(recording))
        reader = request.app[READER]
        size, whole = await _held(reader, record, number)
        name = f"{record.id}.response-{number}" if number else f"{record.id}.request"
        return await _send(request, name, size, whole, _Held(reader, record.seq, number))

    return [web.get("/-/calls/{id}/body", body)]


class _Held:
    """A body in the journal."""

    def __init__(self, reader: Reader, seq: int, attempt: int) -> None:
        self._reader, self._seq, self._attempt = reader, seq, attempt

    async def read(self, start: int) -> AsyncIterator[bytes]:
        async with aclosing(self._reader.body(self._seq, self._attempt, start)) as pieces:
            async for piece in pieces:
                yield piece


class _Arriving:
    """An answer that is in RAM, in part."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    async def read(self, start: int) -> AsyncIterator[bytes]:
        while piece := await self._recording.read(start, PART_BYTES):
            yield piece
            start += len(piece)


def _number(request: web.Request, record: CallRecord) -> int:
    """Which attempt's answer is asked for; 0: the request. The call's own answer by default."""
    for name in request.query:
        if name not in ("attempt", "offset", "limit"):
            raise BadRequest(f"there is no parameter {name[:64]!r} here")
    text = request.query.get("attempt")
    if text is None:
        number = record.shown_attempt
        if number is None:
            raise NotFound("the call has no attempt yet")
        return number
    if not (text.isascii() and text.isdigit()):
        raise BadRequest("attempt: must be the number of an attempt, or 0 for the request")
    return int(text[:9])


async def _held(reader: Reader, record: CallRecord, number: int) -> tuple[int, bool]:
    """How much of it the journal holds, and whether that is all there was to come."""
    if number == 0:
        return (await request_body(reader, record)).size, True
    attempt = record.attempt(number)
    held = await reader.body_bytes(record.seq, number)
    if attempt is None:
        if number != record.row.open_attempt:
            raise NotFound(f"there is no attempt {number}")
        return held, False
    if held < attempt.body_bytes:
        raise Gone("retention removed the body of this answer")
    return held, bool(attempt.complete)


async def _send(
    request: web.Request, name: str, size: int, whole: bool, body: _Held | _Arriving
) -> web.StreamResponse:
    """The bytes from `offset` on, at most `limit`. Where there are none: none, and how many there are."""
    start = min(size, _count(request, "offset") or 0)
    limit = _count(request, "limit")
    left = size - start if limit is None else min(limit, size - start)
    response = web.StreamResponse(headers=SAFE)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["x-gateway-body-bytes"] = str(size)
    response.headers["x-gateway-body-complete"] = "true" if whole else "false"
    response.content_type = "application/octet-stream"
    response.content_length = left
    await response.prepare(request)
    if left and request.method != "HEAD":
        async for piece in body.read(start):
            await response.write(piece[:left])
            left -= len(piece[:left])
            if left == 0:
                break
        else:  # removed meanwhile: an end that was promised does not come
            if request.transport is not None:
                request.transport.abort()
    await response.write_eof()
    return response


def _count(request: web.Request, name: str) -> int | None:
    """A number of bytes in the query. Raises: BadRequest."""
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"{name}: must be a number of bytes, from 0")
    return int(text)
