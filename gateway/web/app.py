"""The one HTTP server: everything under `/-/` goes to an application of routes, the rest is relayed.

Invariant: which of the two is decided on the raw path as it stands on the request line, never on a
decoded or normalised one; the Host list is checked before either, and then who asks (`auth.py`).
"""

import asyncio
import contextlib
import ipaddress
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.web_request import BaseRequest
from pydantic import JsonValue
from pydantic_core import from_json
from typing_extensions import override

from gateway import config
from gateway.errors import (
    BadHost,
    BadRequest,
    BodyTooLarge,
    Forbidden,
    GatewayError,
    JournalUnavailable,
    NotFound,
    Refused,
    Unauthorized,
)
from gateway.telemetry.metrics import Metrics
from gateway.web import errors, headers
from gateway.web.connection import READ_BUFFER, Refuse, Server, max_connections
from gateway.web.response import RawResponse
from gateway.web.security import login
from gateway.web.security.auth import IDENTITY, Gate
from gateway.web.security.forwarding import came_by_tls, is_trusted

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[BaseRequest], Awaitable[web.StreamResponse]]

MOST_BODY_BYTES = 1_048_576  # of a request for one of the gateway's own routes …
BODY_S = 30.0  # … within which it is here
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types gw-worker"
)
_OWN_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": _CSP,
}


def make_app(
    routes: Iterable[web.RouteDef],
    *,
    settings: Callable[[], config.Config],
    rng: random.Random,
    gate: Gate,
) -> web.Application:
    """The gateway's own API. Errors of its handlers become problem details (RFC 9457)."""
    own = _Own(settings, rng, gate)
    app = web.Application(middlewares=[own.answer], client_max_size=MOST_BODY_BYTES)
    for route in routes:
        handling = {**route.kwargs, "expect_handler": own.expect}
        app.add_routes([web.RouteDef(route.method, route.path, route.handler, handling)])
    app.on_response_prepare.append(_protect)
    return app


class _Own:
    """What surrounds every handler of the gateway's own."""

    def __init__(
        self, settings: Callable[[], config.Config], rng: random.Random, gate: Gate
    ) -> None:
        self._settings = settings
        self._rng = rng
        self._gate = gate

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What *handler* answers, or why it is not asked."""
        try:
            await self._authorize(request)
            with self._gate.watching(request), self._gate.one_of_few(request):
                return await _done(request, handler, self._gate)
        except GatewayError as error:
            elsewhere = login.lead_there(request) if isinstance(error, Unauthorized) else None
            return elsewhere or self._problem(error, request)
        except web.HTTPMethodNotAllowed as error:
            refused = BadRequest(f"{request.method} is not for this path")
            response = self._problem(refused, request, status=405)
            response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
            return response
        except web.HTTPRequestEntityTooLarge:
            too_large = BodyTooLarge(f"this takes a body of at most {MOST_BODY_BYTES} bytes")
            return self._problem(too_large, request)
        except web.HTTPNotFound:
            return self._problem(NotFound("there is nothing at this path"), request)

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Say `100 Continue` to nobody who is refused without the body."""
        try:
            await self._authorize(request)
        except GatewayError as error:
            return self._problem(error, request)
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    async def _authorize(self, request: web.Request) -> None:
        # A page of another origin cannot show a key, but a browser sends a cookie by itself.
        shows_key = IDENTITY in request and not request[IDENTITY].by_session
        settings = self._settings()
        if request.method not in ("GET", "HEAD") and not (settings.auth.required and shows_key):
            refusal = headers.check_origin(
                request.raw_headers,
                settings.server.allowed_origins,
                by_tls=came_by_tls(request, settings.server),
            )
            if refusal is not None:
                raise Forbidden(refusal)
        await self._gate.authorize(request)

    def _problem(
        self, error: GatewayError, request: web.Request, status: int | None = None
    ) -> web.Response:
        path = request.raw_path.partition("?")[0]
        told = errors.problem(error, path=path, rng=self._rng, status=status)
        return web.Response(status=told.status, body=told.body, headers=dict(told.headers))


async def _protect(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _OWN_HEADERS.items():
        response.headers.setdefault(name, value)


async def _done(request: web.Request, handler: Handler, gate: Gate) -> web.StreamResponse:
    """What *handler* answers; what it did is in the audit trail, also where nobody waits for it."""
    noted = gate.note(request) if request.method == "GET" else None
    if not gate.is_public(request):  # the doors read for themselves, and less
        await _arrived(request)
    try:
        response = await handler(request)
        if request.method != "GET" and response.status < 400:
            noted = gate.note(request, await _asked(request))
    except asyncio.CancelledError:
        if request.method != "GET":
            gate.note(request)
        raise
    if noted is not None:
        with contextlib.suppress(JournalUnavailable):
            await noted
    return response


async def _arrived(request: web.Request) -> None:
    """Have the whole body here, so that no handler waits for it. Raises: BadRequest."""
    try:
        async with asyncio.timeout(BODY_S):
            await request.read()
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {BODY_S:g} s") from None


async def _asked(request: web.Request) -> JsonValue:
    """The small JSON body that a change was made of; it has been read by now."""
    if request.method != "PATCH":
        return None
    changes: JsonValue = from_json(await request.read() or b"null")
    return changes


class Runner(web.AppRunner):
    """Serves the application under `/-/` and the relay everywhere else, on one port."""

    def __init__(
        self,
        app: web.Application,
        relayed: RawHandler,
        turn_away: Refuse,
        *,
        settings: Callable[[], config.Config],
        metrics: Metrics,
        gate: Gate,
    ) -> None:
        super().__init__(
            app,
            handler_cancellation=True,  # a handler learns at once that its client left
            auto_decompress=False,  # bodies are relayed as they were sent
            access_log=None,  # one line a call is logged by relay
            keepalive_timeout=75,
            lingering_time=2,
            shutdown_timeout=5,
            read_bufsize=READ_BUFFER,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=128,
        )
        self._relayed = relayed
        self._turn_away = turn_away
        self._settings = settings
        self._metrics = metrics
        self._gate = gate

    @override
    async def _make_server(self) -> Any:
        server = await super()._make_server()
        assert server is not None
        own = server.request_handler

        async def refuse(request: BaseRequest, path: str, refused: Refused) -> web.StreamResponse:
            if path.startswith("/-/"):
                self._metrics.refused(refused.code)
                return await _refuse(request, refused)
            return await self._turn_away(request, path, refused)

        async def dispatch(request: Any) -> web.StreamResponse:
            path = request.raw_path
            if refusal := self._bad_host(request):
                return await refuse(request, path, refusal)
            if path.startswith("/-/"):
                try:
                    self._gate.own(request)
                except Refused as refusal:
                    return await refuse(request, path, refusal)
                return await own(request)
            if path == "/" and request.method in ("GET", "HEAD"):  # some APIs take POST there
                return _redirect("/-/ui/")
            return await self._relayed(request)

        return Server(
            dispatch, request_factory=server.request_factory, refuse=refuse,
            is_proxy=lambda address: is_trusted(address, self._settings().server),
            max_connections=max_connections(self._settings().limits.max_in_flight), **self._kwargs,
        )  # fmt: skip

    def connections(self) -> int:
        """How many connections of clients are open."""
        return len(self.server.connections) if self.server is not None else 0

    def _bad_host(self, request: BaseRequest) -> Refused | None:
        """DNS rebinding: a name that is not ours was made to point here. IP addresses always pass."""
        if request.version.major != 1:
            return BadRequest("HTTP/1.0 and HTTP/1.1 are spoken here")
        host = request.headers.get("Host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.lower().strip("[]").rstrip(".")
        server = self._settings().server
        if name in _LOOPBACK or name == server.host.lower() or name in server.allowed_hosts:
            return None
        if "*" in server.allowed_hosts or _is_address(name):
            return None
        return BadHost(f"this gateway does not serve {host!r}; see [server] allowed_hosts")


def _is_address(name: str) -> bool:
    if "%" in name:  # a zone may be any text, also a name of somebody's
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _redirect(location: str) -> web.Response:
    return web.Response(status=302, headers={"Location": location, **_OWN_HEADERS})


async def _refuse(request: BaseRequest, refused: Refused) -> web.StreamResponse:
    told = errors.problem(refused, path="/")
    response = RawResponse(
        request,
        status=told.status,
        reason=None,
        headers=(),
        extra=told.headers,
        length=len(told.body),
    )
    await response.end(told.body)
    return response
