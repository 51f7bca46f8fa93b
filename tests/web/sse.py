"""A viewer of `/-/events` that keeps what it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.client import PATIENCE_S, Client, Exchange


@dataclass(frozen=True)
class Told:
    """One event."""

    name: str
    data: Any
    id: int | None = None


@dataclass(eq=False)
class Stream:
    """An open stream of events; `told` is what was read of it so far."""

    exchange: Exchange
    told: list[Told] = field(default_factory=list)
    ended: bool = False
    _read: int = 0

    async def until(self, claim: Callable[[Told], bool]) -> Told:
        """Read up to the first event beyond those read before for which *claim* holds."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._read < len(self.told):
                    self._read += 1
                    if claim(self.told[self._read - 1]):
                        return self.told[self._read - 1]
                await self._more()

    async def named(self, name: str) -> Told:
        """Read up to the next event of that name."""
        return await self.until(lambda event: event.name == name)

    async def call(self, **values: Any) -> Any:
        """Read up to the next `call` event with these *values*: the call."""
        event = await self.until(
            lambda event: event.name == "call" and event.data.items() >= values.items()
        )
        return event.data

    async def end(self) -> None:
        """Read to the end."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.ended:
                await self._more()

    def statuses(self, call_id: str) -> list[str]:
        """What was told of one call, in order; `queued` with its reason."""
        calls = [each.data for each in self.told if each.name == "call"]
        return [
            f"{call['status']}:{call['wait_reason']}" if call["wait_reason"] else call["status"]
            for call in calls
            if call["id"] == call_id
        ]

    @property
    def last_id(self) -> int:
        return max(event.id for event in self.told if event.id is not None)

    async def _more(self) -> None:
        try:
            self.exchange.body += await anext(self.exchange._pieces)
        except StopAsyncIteration:
            self.ended = True
            if not self.exchange.body:
                return
        *blocks, self.exchange.body = self.exchange.body.split(b"\n\n")
        self.told += [told for block in blocks if (told := _read_block(block)) is not None]


@asynccontextmanager
async def watch(client: Client, **query: Any) -> AsyncIterator[Stream]:
    """Open `/-/events`; it has said hello by the time a test sees it."""
    said = query.pop("headers", ())
    exchange = await client.send("GET", f"/-/events?{urlencode(query)}", headers=said)
    await exchange.read_head()
    assert exchange.status == 200, (await exchange.read()).body
    stream = Stream(exchange)
    await stream.named("hello")
    try:
        yield stream
    finally:
        exchange.hang_up()


def _read_block(block: bytes) -> Told | None:
    fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if line[0] != ":")
    if "event" not in fields:
        return None
    number = fields.get("id")
    return Told(
        fields["event"], json.loads(fields["data"]), None if number is None else int(number)
    )
