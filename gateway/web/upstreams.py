"""`/-/upstreams`: what each upstream may hold, holds now, and is tuned to while running."""

from collections.abc import Callable, Mapping
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from gateway import config
from gateway.errors import BadRequest, NotFound
from gateway.journal.pauses import remember
from gateway.journal.shapes import Json, rfc3339
from gateway.journal.writer import Journal
from gateway.relay.admission import Admission
from gateway.relay.breaker import BreakerStatistics
from gateway.relay.slots import RECENT_S


class Change(BaseModel):
    """Body of PATCH: live; the limit until restart or reload, `paused` until lifted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    paused: bool | None = None


def routes(
    *,
    settings: Callable[[], config.Config],
    admission: Admission,
    journal: Journal,
    now: Callable[[], float],
) -> list[web.RouteDef]:
    """List, one, and PATCH."""

    async def every(_: web.Request) -> web.Response:
        upstreams = settings().upstreams
        listed = [shown(upstreams, name, admission, now) for name in upstreams]
        names = list(upstreams)
        page = {
            "object": "list", "data": listed, "first_id": names[0], "last_id": names[-1],
            "has_more": False,
        }  # fmt: skip
        return _json(page)

    async def one(request: web.Request) -> web.Response:
        return _json(shown(settings().upstreams, request.match_info["name"], admission, now))

    async def change(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        shown(settings().upstreams, name, admission, now)
        try:
            wanted = Change.model_validate_json(await request.read())
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            raise BadRequest(f"{where}: {first['msg']}") from error
        if wanted.max_in_flight is not None:
            admission.set_max_in_flight(name, wanted.max_in_flight)
        if wanted.paused is not None:
            await journal.work(remember(name, paused=wanted.paused))
            admission.pause(name, wanted.paused)
        return _json(shown(settings().upstreams, name, admission, now))

    return [
        web.get("/-/upstreams", every),
        web.get("/-/upstreams/{name}", one),
        web.patch("/-/upstreams/{name}", change),
    ]


def shown(
    upstreams: Mapping[str, config.Upstream],
    name: str,
    admission: Admission,
    now: Callable[[], float],
) -> Json:
    """One upstream as JSON; *now* is wall time. Raises: NotFound."""
    if name not in upstreams:
        raise NotFound(f"no upstream is called {name!r}")
    upstream = upstreams[name]
    slots = admission.statistics().upstreams[name]
    return {
        "object": "upstream",
        "name": name,
        "base_url": upstream.base_url,
        "dialect": upstream.dialect,
        "models": list(upstream.models),
        "max_in_flight": slots.max_in_flight,
        "configured_max_in_flight": upstream.max_in_flight,
        "in_flight": slots.in_flight,
        "queued": slots.queued,
        "queued_detached": slots.queued_detached,
        "retries_in_flight": slots.retries_in_flight,
        "open_calls": slots.open_calls,
        "paused": slots.paused,
        "limit": slots.limit,
        "breaker": None if slots.breaker is None else _breaker(slots.breaker, now()),
        "recent": {
            "window_s": RECENT_S,
            "attempts": slots.recent_attempts,
            "failed": slots.recent_failed,
        },
    }


def _breaker(breaker: BreakerStatistics, now: float) -> Json:
    retry_in_s = breaker.retry_in_s
    return {
        "state": str(breaker.state),
        "opens_total": breaker.opens_total,
        "retry_at": None if retry_in_s is None else rfc3339(round((now + retry_in_s) * 1000)),
    }


def _json(body: object) -> web.Response:
    return web.Response(body=to_json(body), content_type="application/json")
