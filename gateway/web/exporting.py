"""`GET /-/calls/export`: calls with their bodies as JSON lines, as fast as the client takes them."""

from contextlib import aclosing

from aiohttp import web

from gateway.errors import GatewayError
from gateway.journal.exporting import export
from gateway.journal.filters import read_selection
from gateway.web.dependencies import OWNER, READER
from gateway.web.recorded import SAFE
from gateway.web.response import RawResponse

HEADERS = (
    (b"Content-Type", b"application/x-ndjson"),
    (b"Content-Disposition", b'attachment; filename="calls.jsonl"'),
)


def routes() -> list[web.RouteDef]:
    """The one route."""
    return [web.get("/-/calls/export", show_export)]


async def show_export(request: web.Request) -> web.StreamResponse:
    """The export; one that breaks off is cut, never closed cleanly."""
    selection = read_selection(request.query.items())
    response = RawResponse(
        request, status=200, reason=None, headers=HEADERS, extra=SAFE, length=None
    )
    if request.method == "HEAD":
        await response.end()
        return response
    async with aclosing(export(request.app[READER], selection, owner=request.get(OWNER))) as pieces:
        first = await anext(pieces, b"")  # what is wrong with the question is told as such
        await response.start(first)
        try:
            async for piece in pieces:
                await response.send(piece)
        except GatewayError:
            await response.cut()
            return response
    await response.end()
    return response
