"""Acting on a call under `/-/calls/{id}`: cancel or delete it, or re-attach to its answer at any offset.

A re-attached reader waits for the answer's head like a client would, and whoever was given a head
makes that attempt the answer. It is no client, though: its leaving changes nothing.
"""

from aiohttp import web

from gateway.call import Call, Outcome
from gateway.errors import BadRequest, Conflict
from gateway.relay.live_call import LiveCall
from gateway.relay.recording import Recording
from gateway.relay.relay import Relay
from gateway.web.calls import json_response, settled, shown
from gateway.web.dependencies import READER
from gateway.web.following import Following
from gateway.web.recorded import SAFE, attempt_number, follow_recorded, repeated, show_response
from gateway.web.response import RawResponse


def routes(relay: Relay) -> list[web.RouteDef]:
    """The routes, bound to *relay*."""

    async def cancel(request: web.Request) -> web.Response:
        await settled(request, 0)
        await relay.cancel_call(request.match_info["id"])
        return json_response(shown(request.app, await settled(request, 0)))

    async def delete(request: web.Request) -> web.Response:
        record = await settled(request, 0)
        if not record.status.is_final:
            raise Conflict("the call is not final yet; cancel it first")
        await relay.delete_calls([record])
        return web.Response(status=204)

    async def response(request: web.Request) -> web.StreamResponse:
        if not request.query.keys() & {"follow", "offset"}:
            return await show_response(request)
        start, number = _follow_parameters(request)
        record = await settled(request, 0)
        live = relay.calls.get(record.id)
        if live is not None:
            if number is not None:
                await _wait_for_attempt(live, number)
            if (recording := await live.wait_answer()) is not None:
                return await _follow_live(request, live, recording, start)
        record = await settled(request, 0)
        if number is not None and record.row.answer not in (None, number):
            raise Conflict(f"attempt {number} is not the answer; {record.row.answer} is")
        return await follow_recorded(request, request.app[READER], record, number, start)

    return [
        web.post("/-/calls/{id}/cancel", cancel),
        web.delete("/-/calls/{id}", delete),
        web.get("/-/calls/{id}/response", response),
    ]


async def _wait_for_attempt(live: LiveCall, number: int) -> None:
    """Return when attempt *number* is the answer, or the call is over.

    Raises: Conflict, as soon as it can no longer become the answer
    """
    while live.offer is None and not live.over:
        if _is_out(live.call, number):
            raise Conflict(f"attempt {number} is not the answer; a later one will be")
        await live.change()
    if live.offer is not None and live.offer.attempt.number != number:
        raise Conflict(f"attempt {number} is not the answer; {live.offer.attempt.number} is")


def _is_out(call: Call, number: int) -> bool:
    """Whether a later attempt than *number* was made, or will be."""
    last = call.attempts[-1] if call.attempts else None
    if last is None or number != last.number:
        return last is not None and number < last.number
    return last.backoff_s is not None or last.outcome is Outcome.INTERRUPTED


async def _follow_live(
    request: web.Request, live: LiveCall, recording: Recording, start: int
) -> web.StreamResponse:
    fields = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in recording.headers
    ]
    extra = [
        *SAFE,
        ("x-gateway-call-id", live.call.id),
        ("x-gateway-attempts", str(recording.attempt.number)),
    ]
    length = recording.declared
    if length is not None:
        length = max(0, length - start)
    response = RawResponse(
        request,
        status=recording.attempt.status or 502,
        reason=recording.reason,
        headers=repeated(fields, offset=start),
        extra=extra,
        length=length,
    )
    reader = Following(start=start)
    reader.live = live
    return await reader.write(response, recording)


def _follow_parameters(request: web.Request) -> tuple[int, int | None]:
    query = request.query
    for name in query:
        if name not in ("follow", "offset", "attempt"):
            raise BadRequest(f"there is no parameter {name[:64]!r} here")
    if query.get("follow") != "true":
        raise BadRequest("offset needs follow=true")
    text = query.get("offset", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest("offset: must be a number of bytes, from 0")
    return int(text), attempt_number(request)
