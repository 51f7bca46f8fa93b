"""`gateway calls redeliver`: tell a call's webhook again."""

from urllib.parse import quote

import click

from gateway.cli.calls import as_json, print_json
from gateway.cli.client import Where, open_gateway, reaching
from gateway.cli.exits import run
from gateway.journal.shapes import Json


@click.command()
@click.argument("call_id", metavar="ID")
@as_json
@reaching
def redeliver(*, where: Where, call_id: str, as_json: bool) -> None:
    """Send a call's webhook again, now; `show` tells how it went."""

    async def work() -> Json:
        async with open_gateway(where) as gateway:
            return await gateway.act(f"/-/calls/{quote(call_id, safe='')}/webhook", "call")

    call = run(work())
    if as_json:
        print_json(call)
    else:
        click.echo(f"{call['id']} pending")
