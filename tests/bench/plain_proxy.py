"""The barest aiohttp reverse proxy: the floor that the gateway is measured against.

One `web.Application`, one `ClientSession`, plain answers buffered, event streams passed through, no
log, no journal, aiohttp's defaults. Prints one line once it listens.
"""

import argparse
import asyncio
import signal

import aiohttp
from aiohttp import web

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", aiohttp.ClientSession)

NOT_PASSED_ON = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding"}


async def relay(request: web.Request) -> web.StreamResponse:
    """Send *request* on and answer what comes back."""
    body = await request.read()
    headers = {k: v for k, v in request.headers.items() if k.lower() not in NOT_PASSED_ON}
    url = request.app[UPSTREAM] + request.path_qs
    session = request.app[SESSION]
    async with session.request(request.method, url, data=body, headers=headers) as answer:
        if answer.content_type != "text/event-stream":
            content = await answer.read()
            return web.Response(
                status=answer.status, body=content, content_type=answer.content_type
            )
        stream = web.StreamResponse(
            status=answer.status, headers={"Content-Type": "text/event-stream"}
        )
        await stream.prepare(request)
        async for piece in answer.content.iter_any():
            await stream.write(piece)
        await stream.write_eof()
        return stream


async def serve(upstream: str, port: int) -> None:
    """Relay to *upstream* until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connector = aiohttp.TCPConnector(limit=0)  # aiohttp's own bound is 100
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        app = web.Application(client_max_size=2**26)
        app[UPSTREAM], app[SESSION] = upstream, session
        app.router.add_route("*", "/{path:.*}", relay)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=16384).start()
        address = runner.addresses[0]
        print(f"plain_proxy: listening on http://127.0.0.1:{address[1]}", flush=True)
        await stop.wait()
        await runner.cleanup()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True, help="http://HOST:PORT")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    new_loop = None
    if options.loop == "uvloop":
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(options.upstream, options.port))


if __name__ == "__main__":
    main()
