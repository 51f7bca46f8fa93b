"""A gateway's events as a command follows them: over lost connections and restarts.

Invariant: between two events nothing is missing, unless `resync` or `lost` stands between them.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
from pydantic_core import from_json

from gateway.cli.client import Gateway, Lost, Where, open_gateway
from gateway.cli.exits import UNREACHABLE, CommandError
from gateway.journal.shapes import Json

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
PATIENCE_S = 120.0  # a gateway that was lost for longer does not come back


class Event(NamedTuple):
    """One event; `lost` is ours: the connection broke off, and is sought anew."""

    name: str
    data: Json


async def follow(where: Where, topics: str) -> AsyncIterator[Event]:
    """The events of these *topics*, without end.

    Raises: CommandError, where no gateway answers at first, or for too long
    """
    loop = asyncio.get_running_loop()
    last_id: str | None = None
    seen, gone_since, pause_s = False, loop.time(), FIRST_PAUSE_S
    while True:
        try:
            async with open_gateway(where) as gateway:
                async for resume_after, event in _events(gateway, topics, last_id):
                    last_id = resume_after
                    seen, gone_since, pause_s = True, loop.time(), FIRST_PAUSE_S
                    if event.name != "bye":
                        yield event
        except CommandError as error:
            lost = isinstance(error, Lost) or error.exit_code == UNREACHABLE
            if not (seen and lost) or loop.time() - gone_since > PATIENCE_S:
                raise
        yield Event("lost", {})
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _events(
    gateway: Gateway, topics: str, last_id: str | None
) -> AsyncIterator[tuple[str | None, Event]]:
    """The events of one connection, each with the id to resume after."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with gateway.ask("GET", f"/-/events?topics={topics}", headers=headers) as response:
        if response.status != 200:
            refusal = await gateway.refusal(response)
            if response.status == 503 and last_id is not None:
                raise CommandError(refusal.message, UNREACHABLE)  # it is just stopping
            raise refusal
        async for block in _blocks(response.content):
            fields = dict(line.partition(": ")[::2] for line in block.split("\n"))
            last_id = fields.get("id", last_id)
            if "event" in fields:
                yield last_id, Event(fields["event"], from_json(fields["data"]))


async def _blocks(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    """Each event's lines; the gateway ends lines with a line feed, and each event has one of data."""
    rest = b""
    async for piece in content.iter_any():
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            yield block.decode()
