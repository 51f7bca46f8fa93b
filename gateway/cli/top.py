"""`gateway top`: what runs, waits and fails, live; and the few things one does about it."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
from pydantic import JsonValue
from pydantic_core import from_json

from gateway.cli.calls import as_json, print_json
from gateway.cli.client import Gateway, Where, open_gateway, reaching
from gateway.cli.exits import CommandError, run
from gateway.cli.keyboard import open_keys
from gateway.cli.watching import follow
from gateway.journal.shapes import Json

if TYPE_CHECKING:  # rich is imported when there is something to draw
    from rich.live import Live

    from gateway.cli.board import Board

FRAME_S = 0.5
TOTALS_S = 5.0
OPEN = [("status", "running,queued"), ("limit", "500")]
WINDOW = "5m"


@click.command()
@click.option("--once", is_flag=True, help="Print how things stand and end.")
@as_json
@reaching
def top(*, where: Where, once: bool, as_json: bool) -> None:
    """Watch what runs, waits and fails, in a terminal."""
    if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        run(_print_once(where, as_json=as_json))
    else:
        run(_watch(where))


async def _print_once(where: Where, *, as_json: bool) -> None:
    async with open_gateway(where) as gateway:
        stats, upstreams, calls = await _standing(gateway)
    if as_json:
        print_json({"object": "top", "stats": stats, "upstreams": upstreams, "calls": calls})
        return
    from rich.console import Console

    from gateway.cli.board import lines
    from gateway.cli.tables import PIPE_WIDTH

    board = _board(stats, upstreams, calls)
    board.message = " "
    height = 8 + len(board.upstreams) + len(board.calls)
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    for line in lines(board, now=datetime.now(UTC), width=console.width, height=height):
        console.print(line, no_wrap=True, soft_wrap=True)


async def _watch(where: Where) -> None:
    """Draw until `q`."""
    try:
        await _Top(where).run()
    except BaseExceptionGroup as group:  # of its tasks: the first to fail is why
        raise group.exceptions[0] from None


async def _standing(gateway: Gateway) -> tuple[Json, list[JsonValue], list[JsonValue]]:
    """The numbers, the upstreams and the open calls, as they are now."""
    stats = await _get(gateway, f"/-/stats?window={WINDOW}")
    upstreams = (await _get(gateway, "/-/upstreams"))["data"]
    calls = (await gateway.page(OPEN))["data"]
    assert isinstance(upstreams, list)
    assert isinstance(calls, list)
    stats.pop("series", None)
    return stats, upstreams, calls


def _board(stats: Json, upstreams: list[JsonValue], calls: list[JsonValue]) -> "Board":
    from gateway.cli.board import Board

    board = Board()
    _take_totals(board, stats)
    board.take_stats({"upstreams": upstreams, "in_flight": stats["in_flight"]})
    board.take_stats({"queued": stats["queued"]})
    for call in calls:
        if isinstance(call, dict):
            board.take_call(call)
    return board


def _take_totals(board: "Board", stats: Json) -> None:
    totals, window_s = stats.get("totals"), stats.get("window_s")
    board.totals = totals if isinstance(totals, dict) else {}
    board.window_s = float(window_s) if isinstance(window_s, int | float) else board.window_s


class _Top:
    """The live view: events in, frames out, keys acted on."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._board: Board
        self._asked: Callable[[str], Awaitable[None]] | None = None
        self._typed: str | None = None  # None: a yes or no is asked for
        self._question = ""

    async def run(self) -> None:
        """Show until `q`, and leave the terminal as it was."""
        from rich.live import Live

        await self._load()
        async with open_keys() as keys:
            with Live(screen=True, auto_refresh=False) as live:
                async with asyncio.TaskGroup() as tasks:
                    running = [tasks.create_task(self._feed()), tasks.create_task(self._refresh())]
                    await self._show(live, keys)
                    for task in running:
                        task.cancel()

    async def _load(self) -> None:
        async with open_gateway(self._where) as gateway:
            fresh = _board(*await _standing(gateway))
        if hasattr(self, "_board"):
            old = self._board
            fresh.sort, fresh.upstream, fresh.call_id = old.sort, old.upstream, old.call_id
            fresh.message = old.message
        else:
            fresh.next_upstream()
        self._board = fresh

    async def _feed(self) -> None:
        async for event in follow(self._where, "call,stats,upstream"):
            self._board.lost = event.name == "lost"
            if event.name == "call":
                self._board.take_call(event.data)
            elif event.name == "stats":
                self._board.take_stats(event.data)
            elif event.name == "upstream":
                self._board.take_stats({"upstreams": [event.data]})
            elif event.name in ("hello", "resync"):  # only now no change can be missed
                with contextlib.suppress(CommandError):  # gone again: another hello will come
                    await self._load()

    async def _refresh(self) -> None:
        """Keep the totals of the last minutes, which no event tells."""
        while True:
            await asyncio.sleep(TOTALS_S)
            try:
                async with open_gateway(self._where) as gateway:
                    _take_totals(self._board, await _get(gateway, f"/-/stats?window={WINDOW}"))
            except CommandError:
                continue  # `_feed` tells

    async def _show(self, live: "Live", keys: "asyncio.Queue[str]") -> None:
        from rich.console import Group

        from gateway.cli.board import lines

        while True:
            width, height = live.console.size
            text = lines(self._board, now=datetime.now(UTC), width=width, height=height)
            live.update(Group(*text), refresh=True)
            try:
                async with asyncio.timeout(FRAME_S):
                    key = await keys.get()
            except TimeoutError:
                continue
            if key == "q" and self._asked is None:
                return
            try:
                await self._act(key)
            except CommandError as error:
                self._board.message = error.message

    async def _act(self, key: str) -> None:
        board = self._board
        if self._asked is not None:
            await self._answer(key)
            return
        board.message = ""
        if key in ("up", "k"):
            board.move(-1)
        elif key in ("down", "j"):
            board.move(1)
        elif key == "tab":
            board.next_upstream()
        elif key == "s":
            board.next_sort()
            board.message = f"sorted by {board.sort}"
        elif key in ("C", "c") and (call_id := board.call_id) is not None:
            self._ask(f"cancel {call_id}?", lambda _: self._cancel(call_id))
        elif board.upstream is not None and (key in ("P", "p") or key in "+-="):
            self._ask_upstream(board.upstream, key)

    def _ask_upstream(self, name: str, key: str) -> None:
        shown = self._board.upstreams[name]
        if key in ("P", "p"):
            paused = not shown.get("paused")
            what = f"pause {name}" if paused else f"let {name} go on"
            self._ask(f"{what}?", lambda _: self._patch(name, {"paused": paused}))
            return
        limit = shown.get("max_in_flight")
        wanted = (limit if isinstance(limit, int) else 1) + (-1 if key == "-" else 1)
        self._ask(
            f"limit of {name}, now {limit}:",
            lambda typed: self._patch(name, {"max_in_flight": int(typed or 0)}),
            typed=str(max(1, wanted)),
        )

    def _ask(
        self, question: str, then: Callable[[str], Awaitable[None]], typed: str | None = None
    ) -> None:
        self._asked, self._typed, self._question = then, typed, question
        self._say_question()

    def _say_question(self) -> None:
        hint = "y or n" if self._typed is None else f"{self._typed}_  (enter, or esc)"
        self._board.message = f"{self._question} {hint}"

    async def _answer(self, key: str) -> None:
        """One more key of the answer to what was asked."""
        then, typed = self._asked, self._typed
        assert then is not None
        if typed is not None and key not in ("enter", "escape"):
            if key == "back":
                self._typed = typed[:-1]
            elif key.isdigit() and len(typed) < 7:
                self._typed = typed + key
            self._say_question()
            return
        self._asked, self._board.message = None, ""
        if key in ("y", "Y", "enter"):
            await then(typed or "")

    async def _cancel(self, call_id: str) -> None:
        async with open_gateway(self._where) as gateway:
            call = await gateway.act(f"/-/calls/{quote(call_id, safe='')}/cancel", "call")
        self._board.message = f"{call_id} is {call['status']}"

    async def _patch(self, name: str, change: Json) -> None:
        async with open_gateway(self._where) as gateway:
            path = f"/-/upstreams/{quote(name, safe='')}"
            async with gateway.ask("PATCH", path, body=change) as response:
                if response.status != 200:
                    raise await gateway.refusal(response)
                self._board.take_stats({"upstreams": [from_json(await response.read())]})


async def _get(gateway: Gateway, path: str) -> Json:
    async with gateway.ask("GET", path) as response:
        if response.status != 200:
            raise await gateway.refusal(response)
        content: Json = from_json(await response.read())
        return content
