"""`gateway calls tail` without an id: every call as it changes, or those that filters choose.

A line says where a call stood when it changed, so `status` is compared with that. All other filters
are the list's: the gateway is asked whether its list would hold the call.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Sequence

import click

from gateway.cli.client import Lost, Where, open_gateway
from gateway.cli.exits import UNREACHABLE, CommandError
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
        self, where: Where, filters: Sequence[tuple[str, str]] = (), *, as_json: bool
    ) -> None:
        self._where = where
        self._filters = list(filters)  # as a list is asked for them
        self._statuses = {
            each for name, value in filters if name == "status" for each in value.split(",")
        }
        self._asked = [each for each in filters if each[0] != "status"]
        self._as_json = as_json
        self._colour = False if os.environ.get("NO_COLOR") else None
        self._printed: OrderedDict[str, str] = OrderedDict()
        self._since = ""  # newer calls were made while we watched
        self._behind = False  # some changes were missed

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
                self._behind = True
            elif event.name == "call" and await self._is_chosen(event.data):
                self._show(event.data)
            if self._behind and not lost:
                await self._catch_up()

    def _show(self, call: Json) -> None:
        """Print a line unless it would say the same as the last one of that call."""
        call_id = str(call["id"])
        says = json.dumps(call) if self._as_json else line(call)
        if self._printed.get(call_id) == says:
            return
        self._printed[call_id] = says
        self._printed.move_to_end(call_id)
        if len(self._printed) > REMEMBERED:
            self._printed.popitem(last=False)
        click.echo(says, color=self._colour)

    async def _is_chosen(self, call: Json) -> bool:
        """Whether this change is to be shown. Raises: CommandError, where a filter is refused."""
        if "deleted" in call:
            return self._as_json and not self._filters
        if self._statuses and call["status"] not in self._statuses:
            return False
        if not self._asked:
            return True
        question = [*self._asked, ("q", f"id:{call['id']}"), ("limit", "1")]
        if not any(name == "since" for name, _ in self._asked):
            question.append(("since", str(call["created_at"])))  # so far back, and no further
        try:
            async with open_gateway(self._where) as gateway:
                page = await gateway.page(question)
        except CommandError as error:
            if not (isinstance(error, Lost) or error.exit_code == UNREACHABLE):
                raise
            self._behind = True
            return False
        return bool(page["data"])

    async def _newest(self) -> str:
        """The id of the newest call. Raises: CommandError, where a filter is refused."""
        async with open_gateway(self._where) as gateway:
            if self._filters:
                await gateway.page([*self._filters, ("limit", "1")])
            page = await gateway.page([("limit", "1")])
        return str(page["first_id"] or "")

    async def _catch_up(self) -> None:
        """Show where the calls stand whose events were missed."""
        try:
            async with open_gateway(self._where) as gateway:
                page = await gateway.page([*self._filters, ("limit", str(CAUGHT_UP))])
        except CommandError:  # it is gone again
            return
        self._behind = False
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
