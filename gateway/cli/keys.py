"""`gateway keys`: make, list and revoke keys, at a running gateway or in the file of a stopped one.

A key is printed once, on stdout, and nowhere else.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from pydantic_core import to_json

from gateway import config
from gateway.cli.calls import as_json, print_json
from gateway.cli.client import Gateway, Where, find_gateway, reaching
from gateway.cli.exits import UNREACHABLE, CommandError, run
from gateway.cli.tables import print_objects
from gateway.errors import NotFound
from gateway.journal import keys as stored
from gateway.journal.audit import Entry
from gateway.journal.keys import SCOPES, Key
from gateway.journal.reader import open_reader
from gateway.journal.shapes import Json
from gateway.journal.writer import Journal, open_journal
from gateway.telemetry import logs
from gateway.web.security.keys import detail_of, key_json, list_json, mint

_DURATION = re.compile(r"([1-9][0-9]{0,8})(m|h|d)")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
_COLUMNS = ("id", "name", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")


@click.group()
def keys() -> None:
    """Keys by which clients are known."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", type=click.Choice(SCOPES),
    help=f"What it may do; repeat it. By default: {', '.join(stored.DEFAULT_SCOPES)}. "
    f"Known: {', '.join(SCOPES)}.",
)  # fmt: skip
@click.option("--expires", metavar="WHEN", help="30d, 12h, 45m, or a time (RFC 3339).")
@click.option("--upstream", "upstreams", multiple=True, metavar="GLOB", help="Only these.")
@click.option("--model", "models", multiple=True, metavar="GLOB", help="Only these.")
@click.option("--max-in-flight", type=click.IntRange(1), help="Calls in flight at a time.")
@click.option("--max-queued", type=click.IntRange(1), help="Calls that wait at a time.")
@click.option("--requests-per-minute", type=click.IntRange(1), help="In the last 60 s.")
@click.option("--tokens-per-minute", type=click.IntRange(1), help="In the last 60 s.")
@click.option("--tokens-per-day", type=click.IntRange(1), help="In a day of UTC.")
@click.option("--max-body-bytes", type=click.IntRange(1), help="Of one request.")
@click.option("--bodies", type=click.Choice(["full", "metadata", "none"]), help="What is kept.")
@as_json
@reaching
def create(*, where: Where, as_json: bool, **said: Any) -> None:
    """Make a key and print it: it cannot be shown again."""
    form: Json = {name: value for name, value in said.items() if value not in (None, ())}
    if expires := form.pop("expires", None):
        form["expires_at"] = _moment(str(expires))
    key = run(_create(where, form))
    if as_json:
        print_json(key)
    else:
        click.echo(key["key"])
        click.echo(f"key {key['id']} ({key['name']}); it is not shown again", err=True)


@keys.command("list")
@as_json
@reaching
def list_keys(*, where: Where, as_json: bool) -> None:
    """List all keys, revoked ones too. Their secrets are nowhere."""
    page = run(_list(where))
    if as_json:
        print_json(page)
    else:
        print_objects(page["data"], _COLUMNS)


@keys.command()
@click.argument("key_id", metavar="ID")
@reaching
def revoke(*, where: Where, key_id: str) -> None:
    """Let a key open nothing any more, from this moment on."""
    run(_revoke(where, key_id))


async def _create(where: Where, form: Json) -> Json:
    gateway = _find(where, may_begin=True)
    if isinstance(gateway, Gateway):
        async with gateway, gateway.ask("POST", "/-/keys", body=form) as response:
            return await gateway.result(response, "key")
    key, secret = mint(to_json(form), by="cli", now_ms=_now_ms())
    async with _open_file(where, gateway) as journal:
        await journal.work(stored.insert(key, _entry("key.created", key, detail_of(key))))
    return {**key_json(key), "key": secret}


async def _list(where: Where) -> Json:
    gateway = _find(where)
    if isinstance(gateway, Gateway):
        async with gateway, gateway.ask("GET", "/-/keys") as response:
            return await gateway.result(response, "list")
    return list_json([key_json(key) for key in await _stored(gateway)])


async def _revoke(where: Where, key_id: str) -> None:
    gateway = _find(where)
    if isinstance(gateway, Gateway):
        async with gateway:
            await gateway.delete(f"/-/keys/{quote(key_id, safe='')}")
        return
    known = [key for key in await _stored(gateway) if key.id == key_id]
    if not known:
        raise NotFound("there is no such key")
    entry = _entry("key.revoked", known[0], {"name": known[0].name})
    async with _open_file(where, gateway) as journal:
        await journal.work(stored.revoke(key_id, entry.at_ms, entry))


def _find(where: Where, *, may_begin: bool = False) -> Gateway | Path:
    """The gateway, or the file of one that is down; with *may_begin* one that is still to be made."""
    try:
        return find_gateway(where)
    except CommandError as error:
        path = config.load_journal_path(where.config, os.environ)
        if not (may_begin and error.exit_code == UNREACHABLE and where.url is None):
            raise
        if path.exists():
            raise
        return path


async def _stored(path: Path) -> Sequence[Key]:
    async with open_reader(path) as reader:
        return await reader.keys()


@asynccontextmanager
async def _open_file(where: Where, path: Path) -> AsyncIterator[Journal]:
    """The journal at *path*, which no gateway holds; none can start on it meanwhile."""
    logs.configure(pretty=sys.stderr.isatty(), stream=sys.stderr)
    settings = config.load_journal(where.config, os.environ)
    opening = open_journal(path, durability=settings.durability, now=time.time)  # noqa: TID251
    try:
        async with opening as journal, asyncio.TaskGroup() as tasks:
            tasks.create_task(journal.run())
            try:
                yield journal
            finally:
                journal.close()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _entry(action: str, key: Key, detail: Json) -> Entry:
    return Entry(at_ms=_now_ms(), actor="cli", action=action, target=key.id, detail=detail)


def _now_ms() -> int:
    return int(time.time() * 1000)  # noqa: TID251 - a command is where the clock comes from


def _moment(text: str) -> str:
    """A time, or a time from now, as RFC 3339."""
    if (match := _DURATION.fullmatch(text)) is None:
        return text
    ahead = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    return (datetime.fromtimestamp(_now_ms() / 1000, UTC) + ahead).isoformat()
