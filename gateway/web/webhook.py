"""`/-/calls/{id}/webhook`: how telling a call's webhook went, and telling it again."""

from aiohttp import web
from pydantic import JsonValue

from gateway.errors import Conflict, NotFound
from gateway.journal.records import CallRecord
from gateway.journal.shapes import call_json, rfc3339
from gateway.relay.webhooks.message import message_id
from gateway.relay.webhooks.sending import Webhooks
from gateway.web.calls import json_response, settled, shown
from gateway.web.dependencies import READER


def routes(webhooks: Webhooks) -> list[web.RouteDef]:
    """The routes, bound to *webhooks*."""

    async def send_again(request: web.Request) -> web.Response:
        record = await _with_webhook(request)
        if not record.status.is_final:
            raise Conflict("the call is not final yet; its webhook is told once it is")
        await webhooks.send_again(record)
        response = json_response(shown(request.app, await settled(request, 0)), status=202)
        response.headers["Location"] = f"/-/calls/{record.id}"
        return response

    return [
        web.get("/-/calls/{id}/webhook", show_webhook),
        web.post("/-/calls/{id}/webhook", send_again),
    ]


async def show_webhook(request: web.Request) -> web.Response:
    """`GET …/webhook`: what the call shows of it, and every try."""
    record = await _with_webhook(request)
    tries: list[JsonValue] = [
        {
            "number": each.number,
            "at": rfc3339(each.at_ms),
            "status": each.status,
            "error": each.error,
        }
        for each in await request.app[READER].delivery_tries(record.seq)
    ]
    summary = call_json(record, expand=False)["webhook"]
    assert isinstance(summary, dict)
    identifier = message_id(record.id)
    return json_response({"object": "webhook", "id": identifier, **summary, "tries": tries})


async def _with_webhook(request: web.Request) -> CallRecord:
    record = await settled(request, 0)
    if record.row.webhook is None:
        raise NotFound("the call has no webhook")
    return record
