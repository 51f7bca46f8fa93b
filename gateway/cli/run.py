"""`gateway run`: serve until a signal says stop."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from gateway import config
from gateway.errors import ConfigError, GatewayError
from gateway.service import Service, open_service
from gateway.telemetry import logs


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("config.toml"),
    show_default=True,
    help="The configuration file.",
)
@click.option("--host", help="Listen here instead of [server] host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen there instead; 0 takes a free port."
)
@click.pass_context
def run(context: click.Context, path: Path, host: str | None, port: int | None) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP re-reads the configuration."""
    logs.configure(pretty=sys.stderr.isatty(), stream=sys.stderr)
    try:
        load = partial(config.load, path, os.environ, host=host, port=port)
        _raise_file_limit()
        asyncio.run(_serve(load))
    except ConfigError as error:
        click.echo(error.message, err=True)
        context.exit(2)
    except GatewayError as error:
        click.echo(f"gateway: {error.message}", err=True)
        context.exit(1)
    except OSError as error:
        click.echo(f"gateway: {error}", err=True)
        context.exit(1)


async def _serve(load: Callable[[], config.Config]) -> None:
    """The first SIGTERM or SIGINT drains, the second stops at once; SIGHUP reloads."""
    loop = asyncio.get_running_loop()
    stop, stop_now, hup = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def stopped() -> None:
        (stop_now if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped)
    loop.add_signal_handler(signal.SIGHUP, hup.set)
    settings = load()
    if exposed := config.exposed_secrets(settings):
        click.echo(
            f"gateway: {settings.path}: others may read the file, with {', '.join(exposed)}",
            err=True,
        )
    async with open_service(settings, load=load) as service:
        click.echo(f"gateway: listening on {service.url}")
        sys.stdout.flush()
        click.echo(f"gateway: dashboard at {service.url}/", err=True)
        async with asyncio.TaskGroup() as tasks:
            reloading = tasks.create_task(_reload_on(hup, service))
            await stop.wait()
            reloading.cancel()
        await service.drain(stop_now)


async def _reload_on(hup: asyncio.Event, service: Service) -> None:
    while True:
        await hup.wait()
        hup.clear()
        try:
            await service.reload()
        except ConfigError as error:
            click.echo(f"gateway: the old configuration stays in force\n{error.message}", err=True)


def _raise_file_limit() -> None:
    """A connection is a descriptor, and a waiting call has two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
