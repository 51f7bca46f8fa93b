"""`gateway mock`: the simulated AI API by itself, for trying out a client's own retries."""

import asyncio
import random
import resource
import signal
import sys
from datetime import UTC, datetime

import click

from gateway.mock.app import serve_mock
from gateway.mock.settings import (
    ALL_FAILURES,
    DEFAULT_FAILURES,
    MAX_TOKENS,
    MAX_WAIT_S,
    Failing,
    LiveSettings,
    MockSettings,
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8081,
    show_default=True,
    help="Listen there; 0 takes a free port.",
)
@click.option(
    "--latency-s",
    type=click.FloatRange(0, MAX_WAIT_S),
    default=10.0,
    show_default=True,
    help="How long an answer takes.",
)
@click.option(
    "--jitter",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the latency by which it varies, up and down.",
)
@click.option(
    "--failure-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the requests that fail.",
)
@click.option(
    "--failure",
    "failures",
    multiple=True,
    type=click.Choice(ALL_FAILURES),
    default=DEFAULT_FAILURES,
    show_default=True,
    help="A way in which they fail; may be repeated.",
)
@click.option(
    "--tokens",
    type=click.IntRange(0, MAX_TOKENS),
    default=50,
    show_default=True,
    help="Words in an answer.",
)
@click.pass_context
def mock(
    context: click.Context,
    host: str,
    port: int,
    latency_s: float,
    jitter: float,
    failure_rate: float,
    failures: tuple[Failing, ...],
    tokens: int,
) -> None:
    """Serve a simulated AI API until SIGTERM or SIGINT.

    It speaks OpenAI's chat completions, responses, embeddings and models, and Anthropic's messages.
    A request says otherwise with `x-mock: status=503, latency_s=2, retry_after_s=1,
    fault=reset|hang|cut, tokens=50`, any of them.
    """
    settings = MockSettings(
        latency_s=latency_s,
        jitter=jitter,
        failure_rate=failure_rate,
        failures=failures,
        tokens=tokens,
    )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a waiting request is a descriptor
    try:
        asyncio.run(_serve(settings, host, port))
    except OSError as error:
        click.echo(f"gateway mock: {error}", err=True)
        context.exit(1)


async def _serve(settings: MockSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    rng = random.Random()  # noqa: S311 - chance, not secrets
    serving = serve_mock(LiveSettings(settings), host=host, port=port, rng=rng, now=_now)
    async with serving as url:
        click.echo(f"gateway mock: listening on {url}")
        sys.stdout.flush()
        await stop.wait()


def _now() -> float:
    return datetime.now(UTC).timestamp()
