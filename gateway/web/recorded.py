"""`/-/calls/{id}/request` and `…/response`: recorded bodies, byte for byte.

An answer comes back as the upstream gave it: its status, its headers less cookies, its bytes. One
that is not whole is cut, never closed cleanly. Whatever it holds, no browser runs it here.
"""

from collections.abc import Sequence
from contextlib import aclosing

from aiohttp import web
from aiohttp.web_request import BaseRequest

from gateway.call import Headers
from gateway.errors import BadRequest, Gone
from gateway.journal.bodies import Body, answer_body, choose_attempt, is_pending, request_body
from gateway.journal.reader import Reader
from gateway.journal.records import AttemptRow, CallRecord, header_fields
from gateway.web.calls import json_response, retry_after, settled, shown, wait_s
from gateway.web.dependencies import READER
from gateway.web.response import RawResponse

#: Fields of a recorded answer that are not repeated: cookies were for its client alone, framing
#: and hops end where they were met, the rest the gateway says itself. So are all `x-gateway-`.
NOT_REPEATED = frozenset(
    {
        "cache-control",
        "connection",
        "content-length",
        "content-security-policy",
        "keep-alive",
        "set-cookie",
        "transfer-encoding",
        "x-content-type-options",
    }
)
#: Those of them that a client which sent its request again gets like the first time.
FIRST_HAND = frozenset({"cache-control", "content-security-policy", "x-content-type-options"})
SAFE = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "sandbox"),
)
BODILESS = (204, 304)  # statuses whose answer has no body, and needs no length to say so


def routes() -> list[web.RouteDef]:
    """The request of a call; its answer is routed by `acting`, which can also follow it."""
    return [web.get("/-/calls/{id}/request", show_request)]


async def show_request(request: web.Request) -> web.StreamResponse:
    """`GET …/request`: the body that the client sent, as a download."""
    record = await settled(request, wait_s(request, known=set()))
    body = await request_body(request.app[READER], record)
    headers = (
        (b"Content-Type", b"application/octet-stream"),
        (b"Content-Disposition", f'attachment; filename="{record.id}.request"'.encode()),
    )
    response = RawResponse(
        request, status=200, reason=None, headers=headers, extra=SAFE, length=body.size
    )
    return await _send(request, request.app[READER], response, body)


async def show_response(request: web.Request) -> web.StreamResponse:
    """`GET …/response`: the answer of the call, or with `?attempt=K` the one of that attempt.

    202 while it is still to come. Where none came, the error that the client was told.
    """
    within_s = wait_s(request, known={"wait", "attempt"})
    number = attempt_number(request)
    record = await settled(request, within_s)
    if is_pending(record, number):
        call = shown(request.app, record)
        pending = json_response(call, status=202)
        pending.headers["Retry-After"] = retry_after(call)
        pending.headers["x-gateway-pending"] = "true"
        return pending

    return await _answer(request, request.app[READER], record, number)


async def replay(
    app: web.Application, request: BaseRequest, call_id: str, extra: list[tuple[str, str]]
) -> web.StreamResponse:
    """Give the answer of a final call once more, to a client that sent its request again.

    Raises: Gone, once retention removed it
    """
    record = await app[READER].call(call_id)
    if record is None:
        raise Gone("the call under this Idempotency-Key was deleted")
    attempt = choose_attempt(record, None)
    told = [*extra]
    if not any(name.lower() == "server-timing" for name, _ in header_fields(attempt.headers)):
        told.append(("Server-Timing", _timing(record, attempt)))
    if attempt.status == 409:  # the one such answer that keeps its key: a retry cannot better it
        told.append(("x-should-retry", "false"))
    return await _answer(request, app[READER], record, None, told=told, kept=FIRST_HAND)


def _timing(record: CallRecord, attempt: AttemptRow) -> str:
    """How long it took when it was made."""
    queued_ms, total_ms = record.row.queued_ms, record.row.duration_ms or 0.0
    upstream_ms = attempt.finished_ms - attempt.started_ms
    return f"queue;dur={queued_ms:.1f}, upstream;dur={upstream_ms:.1f}, total;dur={total_ms:.1f}"


async def _answer(
    request: BaseRequest,
    reader: Reader,
    record: CallRecord,
    number: int | None,
    *,
    told: Sequence[tuple[str, str]] = SAFE,
    kept: frozenset[str] = frozenset(),
    offset: int = 0,
) -> web.StreamResponse:
    """Write the recorded answer of attempt *number*, or of the one that became the call's answer.

    What `/-/` shows is armed against browsers; a client that sent its request again gets what it
    got the first time, fields in *kept* included.
    """
    attempt = choose_attempt(record, number)
    body = await answer_body(reader, attempt)
    fields = header_fields(attempt.headers)
    length: int | None = body.size
    if not body.whole:
        length = _declared_length(fields, beyond=body.size)
    elif attempt.status in BODILESS:
        length = None
    assert attempt.status is not None
    if length is not None:
        length = max(0, length - offset)
    names = (("x-gateway-call-id", record.id), ("x-gateway-attempts", str(attempt.number)))
    replaced = {name.lower() for name, _ in told}
    fields = [field for field in fields if field[0].lower() not in replaced]
    response = RawResponse(
        request,
        status=attempt.status,
        reason=None,
        headers=repeated(fields, kept=kept, offset=offset),
        extra=(*told, *names),
        length=length,
    )
    return await _send(request, reader, response, body, offset)


async def follow_recorded(
    request: web.Request, reader: Reader, record: CallRecord, number: int | None, offset: int
) -> web.StreamResponse:
    """The recorded bytes of a final call's answer from *offset* on."""
    attempt = choose_attempt(record, number)
    told = list(SAFE)
    if attempt.complete:
        end = str(max(offset, attempt.body_bytes))
        told = [("Stream-Next-Offset", end), ("Stream-Closed", "true"), *SAFE]
    return await _answer(request, reader, record, number, told=told, offset=offset)


def attempt_number(request: web.Request) -> int | None:
    """The `attempt` of the query. Raises BadRequest for anything but a number from 1."""
    text = request.query.get("attempt")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise BadRequest("attempt: must be the number of an attempt, from 1")
    return int(text[:9])


def _declared_length(fields: list[tuple[str, str]], *, beyond: int) -> int | None:
    """The length that the upstream declared and did not keep; None where it declared none."""
    for name, value in fields:
        if name.lower() == "content-length" and value.isascii() and value.isdigit():
            return int(value) if int(value) > beyond else None
    return None


def repeated(
    fields: list[tuple[str, str]], *, kept: frozenset[str] = frozenset(), offset: int = 0
) -> Headers:
    """The *fields* of a recorded answer that are shown, those in *kept* among them.

    From an *offset* on, a content coding cannot be undone: it is told, but not as one.
    """
    shown = []
    for name, value in fields:
        lower = name.lower()
        if lower in NOT_REPEATED - kept or lower.startswith("x-gateway-"):
            continue
        coded = offset > 0 and lower == "content-encoding"
        told = "x-gateway-content-encoding" if coded else name
        shown.append((told.encode("latin-1"), value.encode("latin-1")))
    return tuple(shown)


async def _send(
    request: BaseRequest, reader: Reader, response: RawResponse, body: Body, offset: int = 0
) -> RawResponse:
    """Write *body*; its end only where it is whole, and retention did not take it meanwhile."""
    if request.method == "HEAD":
        await response.end()
        return response
    await response.start()
    sent = min(offset, body.size)
    async with aclosing(reader.body(body.seq, body.attempt, sent)) as pieces:
        async for piece in pieces:
            await response.send(piece)
            sent += len(piece)
    if body.whole and sent == body.size:
        await response.end()
    else:
        await response.cut()
    return response
