"""`/-/stats`: the figures of now, and totals and series of a window for charts."""

from collections.abc import Callable, Mapping

from aiohttp import web
from pydantic_core import to_json

from gateway.journal.shapes import Json, rfc3339
from gateway.journal.statistics.stats import Now
from gateway.journal.statistics.windows import read_window
from gateway.relay.admission import AdmissionStatistics
from gateway.relay.sampling import Sampling
from gateway.web.dependencies import READER


def routes(
    *,
    admission: Callable[[], AdmissionStatistics],
    recovered: Mapping[str, int],
    sampling: Sampling,
    now: Callable[[], float],
) -> list[web.RouteDef]:
    """One route. *recovered* is what the start took up."""

    async def show(request: web.Request) -> web.Response:
        at = now()
        window = read_window(request.query.items(), now=at)
        live = admission()
        limits = {name: slots.max_in_flight for name, slots in live.upstreams.items()}
        limit = limits.get(window.upstream) if window.upstream else live.slots
        told = await request.app[READER].statistics(
            window,
            Now(at=at, limit=limit, upstreams=tuple(limits), unsaved=sampling.unsaved()),
        )
        shown: Json = {
            "object": "stats",
            "at": rfc3339(int(at * 1000)),
            "in_flight": live.in_flight,
            "queued": live.queued,
            "queued_detached": live.queued_detached,
            "open_calls": live.open_calls,
            "recovered": dict(recovered),
            **told,
        }
        return web.Response(body=to_json(shown), content_type="application/json")

    return [web.get("/-/stats", show)]
