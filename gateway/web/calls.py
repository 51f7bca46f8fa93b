"""`/-/calls`: which calls there are, and where each stands.

The record is the journal's; of an open call the relay adds what only the running process knows.
Whether a call is final is for the record to say: nobody is told so before it is durable.
"""

import math
from hashlib import blake2b

from aiohttp import ETag, web
from pydantic_core import to_json

from gateway.call import Status
from gateway.errors import BadRequest, NotFound
from gateway.journal.filters import read_filters, read_selection
from gateway.journal.records import CallRecord
from gateway.journal.shapes import Json, Live, call_json, page_json
from gateway.web.dependencies import CALLS, OWNER, READER

MAX_WAIT_S = 3600.0
MAX_RETRY_AFTER_S = 60
COUNTED, COUNT_WITHIN_S = 10_000, 0.2  # what is not counted by then nobody waits for


def routes() -> list[web.RouteDef]:
    """The list and the single call."""
    return [
        web.get("/-/calls", list_calls),
        web.get("/-/calls/count", count_calls),
        web.get("/-/calls/{id}", show_call),
    ]


async def list_calls(request: web.Request) -> web.Response:
    """`GET /-/calls`: a page of calls, newest first unless asked otherwise."""
    filters = read_filters(request.query.items())
    owner = request.get(OWNER)
    if owner is not None and filters.cursor is not None and filters.cursor.call_id is None:
        raise BadRequest("cursor: must be the next_cursor of a list")  # it counts everybody's calls
    page = await request.app[READER].calls(filters, owner=owner)
    calls = [shown(request.app, record, expand=filters.expand) for record in page.records]
    return json_response(page_json(page, calls))


async def count_calls(request: web.Request) -> web.Response:
    """`GET /-/calls/count`: how many calls the filters choose; `capped`: at least so many."""
    filters = read_selection(request.query.items()).filters
    found, capped = await request.app[READER].count(
        filters, owner=request.get(OWNER), most=COUNTED, within_s=COUNT_WITHIN_S
    )
    return json_response({"object": "count", "count": found, "capped": capped})


async def show_call(request: web.Request) -> web.Response:
    """`GET /-/calls/{id}`: one call; with `?wait=N` as soon as it is final."""
    record = await settled(request, wait_s(request, known={"wait"}))
    call = shown(request.app, record)
    tag = _tag(call)
    response = json_response(call)
    if any(given.value in (tag, "*") for given in request.if_none_match or ()):
        response = web.Response(status=304)
    response.etag = ETag(tag)
    response.headers["Cache-Control"] = "no-store"
    if not record.status.is_final:
        response.headers["Retry-After"] = retry_after(call)
    return response


def shown(app: web.Application, record: CallRecord, *, expand: bool = True) -> Json:
    """The call of *record* as JSON, with what the relay knows of it while it is open."""
    return call_json(record, live=_live(app, record), expand=expand)


def retry_after(call: Json) -> str:
    """When to ask again about an open *call*: when its answer is due, 1 to 60 whole seconds."""
    eta_s = call["eta_s"]
    due = math.ceil(eta_s) if isinstance(eta_s, int | float) else 1
    return str(min(MAX_RETRY_AFTER_S, max(1, due)))


async def pending(app: web.Application, call_id: str) -> tuple[bytes, str]:
    """The body of a 202, and its Retry-After."""
    record = await app[READER].call(call_id)
    assert record is not None, "it was accepted, so it is in the journal"
    call = shown(app, record)
    return to_json(call), retry_after(call)


async def settled(request: web.Request, within_s: float) -> CallRecord:
    """The call that the path names, once it is final or *within_s* have passed.

    Raises: NotFound, also where it is somebody else's
    """
    record = await _find(request)
    if within_s and not record.status.is_final:
        await request.app[CALLS].wait_final(record.id, within_s)
        record = await _find(request)
    return record


def wait_s(request: web.Request, *, known: set[str]) -> float:
    """The `wait` of the query, 0 without one. A parameter that is not *known* is BadRequest."""
    for name in request.query:
        if name not in known:
            raise BadRequest(f"there is no parameter {name[:64]!r} here")
    text = request.query.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadRequest("wait: must be a number of seconds")
    return min(seconds, MAX_WAIT_S)


def json_response(content: Json, *, status: int = 200) -> web.Response:
    """*content*, not to be kept by anybody on the way."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(
        body=to_json(content), status=status, content_type="application/json", headers=headers
    )


async def _find(request: web.Request) -> CallRecord:
    reader = request.app[READER]
    record = await reader.call(request.match_info["id"], owner=request.get(OWNER))
    if record is None:
        raise NotFound("there is no such call")
    return record


def _live(app: web.Application, record: CallRecord) -> Live | None:
    """None for a final call, and in the instant in which record and relay differ."""
    calls = app[CALLS]
    call = None if record.status.is_final else calls.open_call(record.id)
    if call is None or call.status is not record.status:
        return None
    waits = call.wait_reason if call.status is Status.QUEUED else None
    attempt = call.open_attempt
    return Live(
        wait_reason=waits,
        queue_position=calls.position(record.id),
        eta_s=calls.eta_s(record.id),
        first_byte_at=call.first_byte_at,
        attempt_first_byte_at=attempt.first_byte_at if attempt else None,
    )


def _tag(call: Json) -> str:
    """Changes with everything shown but the estimate, which is another at every look."""
    return blake2b(to_json({**call, "eta_s": None}), digest_size=16).hexdigest()
