"""`gateway db`: looking after the journal's file, whether a gateway runs on it or not."""

import asyncio
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway import config
from gateway.cli.calls import as_json, print_json
from gateway.cli.client import Where, find_gateway, reaching, with_config, with_file
from gateway.cli.exits import FAILED, NOT_FOUND, CommandError, run
from gateway.cli.tables import print_fields
from gateway.config import load_journal, load_journal_path
from gateway.journal import care
from gateway.journal.retention import Retention
from gateway.journal.shapes import Json
from gateway.journal.writer import open_journal
from gateway.telemetry import logs


@click.group()
def db() -> None:
    """Look after the journal's file."""


def on_file(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the journal's file as the argument `path`."""

    @with_config
    @with_file
    @functools.wraps(command)
    def located(*, config: Path, db: Path | None, **arguments: Any) -> None:
        path = db or load_journal_path(config, os.environ)
        if not path.exists():
            raise CommandError(f"there is no journal at {path}", NOT_FOUND)
        command(path=path, **arguments)

    return located


@db.command()
@click.option("--full", is_flag=True, help="Compare indexes with tables too; takes longer.")
@as_json
@on_file
def check(*, path: Path, full: bool, as_json: bool) -> None:
    """Read the whole file and say what is wrong with it; exit 1 if anything is."""
    problems = run(care.check(path, full=full))
    if as_json:
        print_json(
            {"object": "check", "path": str(path), "ok": not problems, "problems": [*problems]}
        )
    else:
        for line in problems or [f"{path} is whole"]:
            click.echo(line)
    if problems:
        raise click.exceptions.Exit(FAILED)


@db.command()
@click.argument("destination", type=click.Path(path_type=Path))
@as_json
@on_file
def backup(*, path: Path, destination: Path, as_json: bool) -> None:
    """Write the journal as it is now to a new file, also while a gateway runs on it."""
    size = run(care.backup(path, destination))
    result: Json = {"object": "backup", "path": str(destination), "bytes": size}
    _print(result, as_json=as_json)


@db.command()
@as_json
@on_file
def stats(*, path: Path, as_json: bool) -> None:
    """Sizes and counts."""
    _print(run(care.statistics(path)), as_json=as_json)


@db.command()
@as_json
@reaching
def prune(*, where: Where, as_json: bool) -> None:
    """Remove now what [journal] keep_bodies_days and keep_calls_days no longer keep."""
    gateway = find_gateway(where)
    logs.configure(pretty=sys.stderr.isatty(), stream=sys.stderr)

    async def work() -> Json:
        if isinstance(gateway, Path):
            return await _prune_file(load_journal(where.config, os.environ))
        async with gateway:
            return await gateway.act("/-/prune", "prune")

    _print(run(work()), as_json=as_json)


async def _prune_file(settings: config.Journal) -> Json:
    """One pass over a journal that no gateway holds; none can start on it meanwhile."""
    now = time.time  # noqa: TID251 - a command is where the clock comes from
    opening = open_journal(settings.path, durability=settings.durability, now=now)
    try:
        async with opening as journal, asyncio.TaskGroup() as tasks:
            tasks.create_task(journal.run())
            try:
                return (await Retention(journal, lambda: settings, now).prune()).json()
            finally:
                journal.close()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _print(content: Json, *, as_json: bool) -> None:
    if as_json:
        print_json(content)
    else:
        print_fields({name: value for name, value in content.items() if name != "object"})
