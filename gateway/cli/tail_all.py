"""`gateway calls tail` without an id: every call as it changes."""

import json
import os
from collections import OrderedDict
from fnmatch import fnmatchcase

import click

from gateway.cli.client import Where, open_gateway
from gateway.cli.exits import CommandError
from gateway.cli.printable import printable
from gateway.cli.watching import follow
from gateway.journal.shapes import Json

REMEMBERED = 5_000  # calls whose last line is known, so that nothing is printed twice
CAUGHT_UP = 1_000  # calls that are looked at where events were missed
COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "expired": "yellow",
    "cancelled": "yellow",
    "running": "cyan",
}


class TailAll:
    """Prints each change of the calls that were chosen."""

    def __init__(
        self,
        where: Where,
        *,
        statuses: tuple[str, ...] = (),
        upstreams: tuple[str, ...] = (),
        models: tuple[str, ...] = (),
        as_json: bool,
    ) -> None:
        self._where = where
        self._statuses = {each for status in statuses for each in status.split(",")}
        self._upstreams = upstreams
        self._models = models
        self._as_json = as_json
        self._colour = False if os.environ.get("NO_COLOR") else None
        self._printed: OrderedDict[str, str] = OrderedDict()
        self._since = ""  # newer calls were made while we watched

    async def run(self) -> None:
        """Print until interrupted. Raises: CommandError, when the gateway is gone for good."""
        greeted = lost = False
        async for event in follow(self._where, "call"):
            if event.name == "hello":
                if not greeted:
                    self._since = await self._newest()
                if lost or not greeted:
                    click.echo("watching all calls", err=True)
                greeted, lost = True, False
            elif event.name == "lost":
                if not lost:
                    click.echo("the gateway is gone; looking for it", err=True)
                lost = True
            elif event.name == "resync":
                await self._catch_up()
            elif event.name == "call":
                self._show(event.data)

    def _show(self, call: Json) -> None:
        """Print a line unless it would say the same as the last one of that call."""
        if "deleted" in call:
            if self._as_json and not (self._statuses or self._upstreams or self._models):
                click.echo(json.dumps(call))
            return
        call_id = str(call["id"])
        if not self._is_chosen(call):
            return
        says = json.dumps(call) if self._as_json else line(call)
        if self._printed.get(call_id) == says:
            return
        self._printed[call_id] = says
        self._printed.move_to_end(call_id)
        if len(self._printed) > REMEMBERED:
            self._printed.popitem(last=False)
        click.echo(says, color=self._colour)

    def _is_chosen(self, call: Json) -> bool:
        return (
            (not self._statuses or call["status"] in self._statuses)
            and _matches(call["upstream"], self._upstreams)
            and _matches(call["model"], self._models)
        )

    async def _newest(self) -> str:
        async with open_gateway(self._where) as gateway:
            page = await gateway.page([("limit", "1")])
        return str(page["first_id"] or "")

    async def _catch_up(self) -> None:
        """Show where the calls stand whose events were missed."""
        try:
            async with open_gateway(self._where) as gateway:
                page = await gateway.page([("limit", str(CAUGHT_UP))])
        except CommandError:  # it is gone again; its next events begin with another resync
            return
        calls = page["data"]
        assert isinstance(calls, list)
        for call in reversed(calls):
            assert isinstance(call, dict)
            if str(call["id"]) > self._since or call["id"] in self._printed:
                self._show(call)


def line(call: Json) -> str:
    """One line that says where *call* stands."""
    status, answer, error = str(call["status"]), call["response"], call["error"]
    http = answer.get("status") if isinstance(answer, dict) else None
    why = call["wait_reason"] or (error.get("code") if isinstance(error, dict) else None)
    took_ms = call["duration_ms"]
    took = f"{took_ms / 1000:.1f} s" if isinstance(took_ms, int | float) else ""
    at = str(call["finished_at"] or call["started_at"] or call["created_at"])
    columns = (
        at[11:23],
        printable(call["id"]),
        click.style(f"{status:<9}", fg=COLOURS.get(status)),
        f"{http or '':<3}",
        f"{took:>8}",
        f"{printable(call['upstream']):<12}",
        f"{printable(call['model'] or ''):<24}",
        printable(why or ""),
    )
    return "  ".join(columns).rstrip()


def _matches(value: object, globs: tuple[str, ...]) -> bool:
    return not globs or any(fnmatchcase(str(value or ""), glob) for glob in globs)
