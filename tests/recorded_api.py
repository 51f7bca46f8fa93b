"""`/-/calls` over a journal written by hand, without a relay."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.call import Call
from gateway.errors import GatewayError, Unauthorized
from gateway.journal.reader import open_reader
from gateway.web import calls, errors, recorded
from gateway.web.dependencies import CALLS, READER
from tests.client import GatewayClient
from tests.recorded_calls import RecordedCalls


class OpenCalls:
    """What a relay knows, as a test says it."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.positions: dict[str, int] = {}
        self.etas: dict[str, float] = {}
        self.waited: list[tuple[str, float]] = []
        self.waiting = asyncio.Event()  #: somebody waits
        self.over = asyncio.Event()  #: set it to end the waiting

    def open_call(self, call_id: str) -> Call | None:
        return self.calls.get(call_id)

    async def wait_final(self, call_id: str, within_s: float) -> None:
        self.waited.append((call_id, within_s))
        self.waiting.set()
        await self.over.wait()

    def position(self, call_id: str) -> int | None:
        return self.positions.get(call_id)

    def eta_s(self, call_id: str) -> float | None:
        return self.etas.get(call_id)


@asynccontextmanager
async def open_api(
    recorded_calls: RecordedCalls, open_calls: OpenCalls, *, key: str | None = None
) -> AsyncIterator[GatewayClient]:
    """Serve these calls as in production; with a *key* only to who has it."""

    @web.middleware
    async def problems(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            if key is not None and request.headers.get("x-gateway-key") != key:
                raise Unauthorized
            return await handler(request)
        except GatewayError as error:
            told = errors.problem(error, path=request.path)
            return web.Response(status=told.status, body=told.body, headers=dict(told.headers))

    app = web.Application(middlewares=[problems])
    app.add_routes([*calls.routes(), *recorded.routes()])
    app.router.add_get("/-/calls/{id}/response", recorded.show_response)  # following needs a relay
    async with open_reader(recorded_calls.path) as reader:
        app[READER] = reader
        app[CALLS] = open_calls
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            client = GatewayClient(*runner.addresses[0][:2])
            yield client
            client.close()
        finally:
            await runner.cleanup()
