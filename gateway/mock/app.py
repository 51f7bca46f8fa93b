"""The simulated API: finds the endpoint, reads the question, decides how it is answered.

Every path works with and without `/v1`. A path that neither dialect knows is answered with an echo
of the request, whatever the method.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from gateway.mock.anthropic import ANTHROPIC
from gateway.mock.openai import OPENAI
from gateway.mock.question import BadQuestion, Dialect, Endpoint, JsonObject, Question, read_body
from gateway.mock.reply import Reply, json_response
from gateway.mock.settings import BadOverride, LiveSettings, overrides, plan

MAX_BODY_BYTES = 64 * 1024 * 1024
BACKLOG = 1024  # at aiohttp's 128 a burst of 200 connections stalls for a second
SHUTDOWN_S = 0.1  # nobody needs the end of a simulated answer

_CREDENTIALS = frozenset(
    (
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-gateway-key",
        "cookie",
    )
)
_SECRET_PARAMETERS = re.compile(r"(?i)(^|&)(key|api_key|access_token|token|sig)=[^&]*")


@asynccontextmanager
async def serve_mock(
    settings: LiveSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    rng: random.Random,
    now: Callable[[], float],
) -> AsyncIterator[str]:
    """Serve the simulated API and give its URL; port 0 takes a free one.

    Raises: OSError, when the address cannot be bound
    """
    runner = web.AppRunner(
        make_app(settings, rng, now),
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        keepalive_timeout=75,
        shutdown_timeout=SHUTDOWN_S,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        bound_host, bound_port = runner.addresses[0][:2]
        yield f"http://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}"
    finally:
        await runner.cleanup()


def make_app(
    settings: LiveSettings, rng: random.Random, now: Callable[[], float]
) -> web.Application:
    """Build the simulated API. *now* gives seconds since the epoch."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", _SimulatedApi(settings, rng, now).handle)
    return app


@dataclass(frozen=True, slots=True)
class _SimulatedApi:
    settings: LiveSettings
    rng: random.Random
    now: Callable[[], float]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, errors in the dialect of its path."""
        arrived = asyncio.get_running_loop().time()
        dialect, endpoint, name = _find(request.method, request.path)
        unique = f"{self.rng.getrandbits(96):024x}"
        headers = {dialect.request_id_header: f"req_{unique}"}

        def error(status: int, message: str) -> JsonObject:
            return dialect.error(status, message, f"req_{unique}")

        try:
            body = await request.read()
            wanted = overrides(request.headers.getall("x-mock", ()))
            quick = endpoint is not None and endpoint.quick
            planned = plan(self.settings.current, wanted, self.rng, quick=quick)
            reply = Reply(request=request, arrived=arrived, plan=planned, headers=headers)
            if planned.fault in ("reset", "hang"):
                return await reply.none()
            if planned.status >= 400:
                return await reply.plain(partial(error, planned.status, "a simulated failure"))
            if endpoint is None:
                return await reply.plain(partial(_echo, request, body))
            question = Question(
                body=read_body(body),
                name=name,
                unique=unique,
                created=int(self.now()),
                tokens=planned.tokens,
            )
            if endpoint.stream and question.wants_stream and planned.status == 200:
                return await reply.stream(endpoint.stream(question), question.pieces)
            return await reply.plain(partial(endpoint.plain, question))
        except (BadOverride, BadQuestion) as problem:
            status, message = 400, str(problem)
        except web.HTTPRequestEntityTooLarge:
            status, message = 413, f"the body is larger than {MAX_BODY_BYTES} bytes"
        return json_response(error(status, message), status, headers)


def _find(method: str, path: str) -> tuple[Dialect, Endpoint | None, str]:
    """The dialect of *path*, its endpoint (None: echo), and the name where the path ends in one."""
    below = path.removeprefix("/v1") if path.startswith("/v1/") else path
    dialect = ANTHROPIC if f"{below}/".startswith("/messages/") else OPENAI
    if endpoint := dialect.endpoints.get((method, below)):
        return dialect, endpoint, ""
    head, _, name = below[1:].partition("/")
    return dialect, dialect.endpoints.get((method, f"/{head}/{{name}}")) if name else None, name


def _echo(request: web.Request, body: bytes) -> JsonObject:
    """Tell what arrived. Credentials are left out: whoever records answers must not record them."""
    path, _, query = request.raw_path.partition("?")
    sent = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers
    ]
    return {
        "echo": {
            "method": request.method,
            "path": path,
            "query": _SECRET_PARAMETERS.sub(r"\1\2=[redacted]", query),
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "headers": [
                (name, "[redacted]" if name.lower() in _CREDENTIALS else value)
                for name, value in sent
            ],
        }
    }
