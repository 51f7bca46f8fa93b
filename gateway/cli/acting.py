"""`gateway calls cancel`, `replay` and `export`: one call, some of them, or all that filters choose.

What filters choose is counted first, and changed only when somebody said yes.
"""

import json
import sys
from collections.abc import Callable, Sequence
from urllib.parse import quote, urlencode

import click

from gateway.cli.calls import OPTIONS, as_json, choosing, given, print_json, write
from gateway.cli.client import Gateway, Where, locating, open_gateway, open_source, reaching
from gateway.cli.exits import FAILED, INTERRUPTED, PARTLY, UNREACHABLE, USAGE, CommandError, run
from gateway.journal.shapes import Json

#: Of `replay`, `--upstream` and `--model` are what is to be different, so these filter.
RECORDED = OPTIONS | {"upstream": "--of-upstream", "model": "--of-model"}

ids = click.argument("call_ids", metavar="[ID]...", nargs=-1)
confirmed = click.option("--yes", is_flag=True, help="Act on all that filters choose, unasked.")


@click.command()
@ids
@choosing(OPTIONS, without=["order"])
@confirmed
@as_json
@reaching
def cancel(
    *, where: Where, call_ids: tuple[str, ...], yes: bool, as_json: bool, **filters: tuple[str, ...]
) -> None:
    """Cancel these calls, or all open ones that filters choose."""

    def tell(call: Json) -> str:
        return f"{call['id']} {call['status']}"

    if _by_id(call_ids, filters):
        _each("cancel", where, call_ids, None, tell=tell, as_json=as_json)
    else:
        _many("cancel", where, given(filters), None, yes=yes, as_json=as_json)


@click.command()
@ids
@click.option("--upstream", metavar="NAME", help="Send them to this upstream.")
@click.option("--model", metavar="MODEL", help="Ask this model.")
@click.option("--body-patch", metavar="JSON", help="Merge this into their JSON bodies (RFC 7396).")
@choosing(RECORDED, without=["order"])
@confirmed
@as_json
@reaching
def replay(
    *,
    where: Where,
    call_ids: tuple[str, ...],
    upstream: str | None,
    model: str | None,
    body_patch: str | None,
    yes: bool,
    as_json: bool,
    **filters: tuple[str, ...],
) -> None:
    """Send these calls again, or all that filters choose: as they were, or changed.

    Prints the id of each new call; of many, how many they are.
    """
    changes: Json = {}
    if upstream is not None:
        changes["upstream"] = upstream
    if model is not None:
        changes["model"] = model
    if body_patch is not None:
        try:
            changes["body_patch"] = json.loads(body_patch)
        except ValueError as error:
            raise click.UsageError(f"--body-patch is not JSON: {error}") from error
    if _by_id(call_ids, filters):
        _each(
            "replay", where, call_ids, changes, tell=lambda call: str(call["id"]), as_json=as_json
        )  # fmt: skip
    else:
        _many("replay", where, given(filters), changes, yes=yes, as_json=as_json)


@click.command()
@choosing(OPTIONS)
@locating
def export(*, where: Where, **filters: tuple[str, ...]) -> None:
    """Write calls with their bodies as JSON lines, the newest first."""

    async def work() -> None:
        async with open_source(where) as source:
            await write(source.export(given(filters)))

    run(work())


def _by_id(call_ids: Sequence[str], filters: dict[str, tuple[str, ...]]) -> bool:
    """Whether calls are named. Raises: UsageError, unless it is that or filters."""
    if bool(call_ids) == bool(given(filters)):
        raise click.UsageError("Name calls by their ids, or choose them with filters.")
    return bool(call_ids)


def _each(
    action: str,
    where: Where,
    call_ids: Sequence[str],
    changes: Json | None,
    *,
    tell: Callable[[Json], str],
    as_json: bool,
) -> None:
    """Act on one call after the other, and end with what became of them."""
    errors: list[CommandError] = []
    calls: list[Json] = []

    async def work() -> None:
        async with open_gateway(where) as gateway:
            for call_id in call_ids:
                try:
                    path = f"/-/calls/{quote(call_id, safe='')}/{action}"
                    call = await gateway.act(path, "call", changes)
                except CommandError as error:
                    if error.exit_code == UNREACHABLE:
                        raise
                    errors.append(error)
                    click.echo(f"{call_id}: {error.message}", err=True)
                else:
                    calls.append(call)
                    if not as_json:
                        click.echo(tell(call))

    run(work())
    if as_json and len(call_ids) == 1 and calls:
        print_json(calls[0])
    elif as_json and len(call_ids) > 1:
        print_json({"object": "list", "data": [*calls]})
    if errors:
        codes = {error.exit_code for error in errors}
        alone = codes.pop() if len(codes) == 1 else FAILED
        raise click.exceptions.Exit(PARTLY if calls else alone)


def _many(
    action: str,
    where: Where,
    parameters: Sequence[tuple[str, str]],
    changes: Json | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Act on all calls that *parameters* choose, once somebody who knows how many said yes."""

    async def ask(gateway: Gateway, *, dry_run: bool) -> Json:
        query = urlencode([*parameters, ("dry_run", "true" if dry_run else "false")])
        return await gateway.act(f"/-/calls/{action}?{query}", "bulk", changes)

    async def work(*, dry_run: bool) -> Json:
        async with open_gateway(where) as gateway:
            return await ask(gateway, dry_run=dry_run)

    result = run(work(dry_run=True))
    if result["matched"]:
        if not yes:
            _confirm(f"{action.capitalize()} {result['matched']} calls?")
        result = run(work(dry_run=False))
    matched, done, refused = result["matched"], result["done"], result["refused"]
    assert isinstance(refused, list)
    if as_json:
        print_json(result)
    else:
        past = {"cancel": "cancelled", "replay": "replayed"}[action]
        click.echo(f"{done} of {matched} calls {past}")
    for each in refused:
        assert isinstance(each, dict)
        click.echo(f"{each['id']}: {each['code']}", err=True)
    if done != matched:
        raise click.exceptions.Exit(PARTLY if done else FAILED)


def _confirm(question: str) -> None:
    """Return if somebody says yes. Raises: CommandError, where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Nobody can be asked here: say --yes.", USAGE)
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        raise click.exceptions.Exit(INTERRUPTED) from None
    if not agreed:
        raise CommandError("nothing was done")
