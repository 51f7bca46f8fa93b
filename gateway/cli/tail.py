"""`gateway calls tail`: all calls as they change, or one answer as it arrives.

An answer is followed from any offset, over lost connections and restarts.
"""

import asyncio
import sys
from urllib.parse import quote, urlencode

import click

from gateway.cli.calls import OPTIONS, as_json, choosing, given
from gateway.cli.client import Lost, Where, open_gateway, reaching
from gateway.cli.exits import UNREACHABLE, CommandError, run
from gateway.cli.tail_all import TailAll
from gateway.journal.shapes import Json

SILENT_S = 86_400.0  # a call may wait long for its slot, and its upstream may think long
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
PATIENCE_S = 120.0  # a gateway that was lost for longer does not come back


@click.command()
@click.argument("call_id", metavar="[ID]", required=False)
@click.option("--offset", type=click.IntRange(0), default=0, help="With ID: skip so many bytes.")
@choosing(OPTIONS, without=["limit", "order"])
@as_json
@reaching
def tail(
    *,
    where: Where,
    call_id: str | None,
    offset: int,
    as_json: bool,
    **filters: tuple[str, ...],
) -> None:
    """Show all calls as they change; with ID write the body of its answer while it arrives.

    A lost connection is taken up again where it broke off, and a restarted gateway is found.
    """
    chosen = given(filters)
    if call_id is None:
        if offset:
            raise click.UsageError("--offset needs an ID")
        run(TailAll(where, chosen, as_json=as_json).run())
        return
    if chosen or as_json:
        raise click.UsageError("an answer is written as it is: no filters and no --json with an ID")
    run(_Tail(where, call_id, offset).run())


class _Tail:
    """What was written is the answer's bytes from the first offset up to `offset`."""

    def __init__(self, where: Where, call_id: str, offset: int) -> None:
        self._where = where
        self._path = f"/-/calls/{quote(call_id, safe='')}"
        self._id = call_id
        self.offset = offset
        #: whose bytes these are; another attempt's do not continue them
        self._attempt: str | None = None

    async def run(self) -> None:
        """Follow until the end. Raises: CommandError, where there is none."""
        await self._call()  # a gateway that was never reached is not waited for
        loop = asyncio.get_running_loop()
        gone_since, pause_s = None, FIRST_PAUSE_S
        while True:
            before = self.offset
            try:
                return await self._follow()
            except CommandError as error:
                if not (isinstance(error, Lost) or error.exit_code == UNREACHABLE):
                    raise
                if self.offset > before:
                    pause_s = FIRST_PAUSE_S
                call = await self._call_if_reached()
                if call is not None:
                    gone_since = None
                    if self._is_over(call):
                        raise
                elif gone_since is None:
                    gone_since = loop.time()
                elif loop.time() - gone_since > PATIENCE_S:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _follow(self) -> None:
        asked = {"follow": "true", "offset": str(self.offset)}
        if self._attempt is not None:
            asked["attempt"] = self._attempt
        path = f"{self._path}/response?{urlencode(asked)}"
        async with (
            open_gateway(self._where) as gateway,
            gateway.ask("GET", path, wait_s=SILENT_S) as response,
        ):
            # Only answers that were recorded carry it, whatever status they have.
            if "x-gateway-attempts" not in response.headers:
                raise await gateway.refusal(response)
            self._attempt = response.headers["x-gateway-attempts"]
            async for piece in response.content.iter_any():
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                self.offset += len(piece)

    def _is_over(self, call: Json) -> bool:
        """Whether no more comes: the call is final, and all that was recorded is written."""
        response = call["response"]
        size = response["bytes"] if isinstance(response, dict) else 0
        assert isinstance(size, int)
        return self._attempt is not None and call["finished_at"] is not None and self.offset >= size

    async def _call(self) -> Json:
        async with open_gateway(self._where) as gateway:
            return await gateway.call(self._id)

    async def _call_if_reached(self) -> Json | None:
        try:
            return await self._call()
        except CommandError as error:
            if error.exit_code == UNREACHABLE:
                return None
            raise
