"""Health, readiness, metrics and reload: what operators and their machines ask."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web
from pydantic_core import to_json

from gateway.errors import BadRequest, ConfigError
from gateway.journal.retention import Pruned
from gateway.web import errors
from gateway.web.security.auth import IDENTITY


class Health(NamedTuple):
    """One check: its name, whether it passes, and a word on why not.

    Where it is not *needed*, the gateway is ready for calls all the same.
    """

    name: str
    ok: bool
    detail: str | None = None
    needed: bool = True


def routes(
    *,
    checks: Callable[[], list[Health]],
    metrics: Callable[[], bytes],
    reload: Callable[[], Awaitable[None]],
    openapi: Callable[[], bytes],
    prune: Callable[[], Awaitable[Pruned]],
) -> list[web.RouteDef]:
    """`/-/healthy`, `/-/ready`, `/-/metrics`, `/-/reload`, `/-/prune`, `/-/openapi.json`."""

    async def healthy(request: web.Request) -> web.Response:
        if not _may_know(request):
            return _json({"ok": True})
        return _json({"ok": True, "checks": [{"name": "event_loop", "ok": True}]})

    async def ready(request: web.Request) -> web.Response:
        found = checks()
        ok = all(check.ok for check in found if check.needed)
        if not _may_know(request):
            return _json({"ok": ok}, status=200 if ok else 503)
        shown = [
            {
                "name": check.name,
                "ok": check.ok,
                **({"detail": check.detail} if check.detail else {}),
            }
            for check in found
        ]
        return _json({"ok": ok, "checks": shown}, status=200 if ok else 503)

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def run_reload(_: web.Request) -> web.Response:
        try:
            await reload()
        except ConfigError as error:
            refused = BadRequest(error.message)
            told = errors.problem(refused, path="/-/reload")
            body = errors.body(refused.code, refused.message, "problem", instance="/-/reload")
            return web.Response(
                body=to_json({**body, "errors": error.problems}),
                status=told.status,
                headers=dict(told.headers),
            )
        return _json({"ok": True})

    async def run_prune(_: web.Request) -> web.Response:
        return _json((await prune()).json())

    async def show_openapi(_: web.Request) -> web.Response:
        return web.Response(body=openapi(), content_type="application/json")

    return [
        web.get("/-/healthy", healthy),
        web.get("/-/ready", ready),
        web.get("/-/metrics", show_metrics),
        web.post("/-/reload", run_reload),
        web.post("/-/prune", run_prune),
        web.get("/-/openapi.json", show_openapi),
    ]


def _may_know(request: web.Request) -> bool:
    """Whether who asks is told more than ok or not."""
    identity = request.get(IDENTITY)
    return identity is not None and identity.has("read-all")


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=to_json(body), status=status, content_type="application/json")
