"""`gateway calls cancel`, `replay`, `delete` and `export`: one call, some, or all that filters choose.

What filters choose is counted first, and changed only when somebody said yes.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias
from urllib.parse import quote, urlencode

import click

from gateway.cli.calls import OPTIONS, as_json, choosing, given, print_json, write
from gateway.cli.client import Gateway, Where, locating, open_gateway, open_source, reaching
from gateway.cli.exits import FAILED, INTERRUPTED, PARTLY, UNREACHABLE, USAGE, CommandError, run
from gateway.journal.shapes import Json

#: Of `replay`, `--upstream` and `--model` are what is to be different, so these filter.
RECORDED = OPTIONS | {"upstream": "--of-upstream", "model": "--of-model"}

#: Does it to the call of an id; what came of it.
Act: TypeAlias = Callable[[Gateway, str], Awaitable[Json]]

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

    if _by_id(call_ids, given(filters)):
        _each(where, call_ids, _posting("cancel", None), tell=tell, as_json=as_json)
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
    if _by_id(call_ids, given(filters)):
        act = _posting("replay", changes)
        _each(where, call_ids, act, tell=lambda call: str(call["id"]), as_json=as_json)
    else:
        _many("replay", where, given(filters), changes, yes=yes, as_json=as_json)


@click.command()
@ids
@choosing(OPTIONS, without=["order"])
@click.option("--all", "means_all", is_flag=True, help="Every call that is final.")
@click.option("--dry-run", is_flag=True, help="Only count what filters choose.")
@confirmed
@as_json
@reaching
def delete(
    *,
    where: Where,
    call_ids: tuple[str, ...],
    means_all: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: tuple[str, ...],
) -> None:
    """Delete these calls, or all final ones that filters choose, with their bodies and for good.

    `--key-id ID` chooses all that was sent with that gateway key.
    """
    parameters = [*given(filters), *([("all", "true")] if means_all else [])]
    if not _by_id(call_ids, parameters):
        _many("delete", where, parameters, None, yes=yes, as_json=as_json, dry_run=dry_run)
    elif dry_run:
        raise click.UsageError("--dry-run counts what filters choose.")
    else:
        _each(where, call_ids, _delete, tell=lambda gone: f"{gone['id']} deleted", as_json=as_json)


@click.command()
@choosing(OPTIONS)
@locating
def export(*, where: Where, **filters: tuple[str, ...]) -> None:
    """Write calls with their bodies as JSON lines, the newest first."""

    async def work() -> None:
        async with open_source(where) as source:
            await write(source.export(given(filters)))

    run(work())


def _by_id(call_ids: Sequence[str], parameters: Sequence[tuple[str, str]]) -> bool:
    """Whether calls are named. Raises: UsageError, unless it is that or *parameters* of filters."""
    if bool(call_ids) == bool(parameters):
        raise click.UsageError("Name calls by their ids, or choose them with filters.")
    return bool(call_ids)


def _posting(action: str, changes: Json | None) -> Act:
    async def act(gateway: Gateway, call_id: str) -> Json:
        return await gateway.act(f"{_path(call_id)}/{action}", "call", changes)

    return act


async def _delete(gateway: Gateway, call_id: str) -> Json:
    await gateway.delete(_path(call_id))
    return {"object": "call", "id": call_id, "deleted": True}


def _path(call_id: str) -> str:
    return f"/-/calls/{quote(call_id, safe='')}"


def _each(
    where: Where,
    call_ids: Sequence[str],
    act: Act,
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
                    call = await act(gateway, call_id)
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
    dry_run: bool = False,
) -> None:
    """Act on all calls that *parameters* choose, once somebody who knows how many said yes.

    *dry_run*: tell how many they are, and do nothing.
    """

    async def ask(gateway: Gateway, *, dry_run: bool) -> Json:
        query = urlencode([*parameters, ("dry_run", "true" if dry_run else "false")])
        return await gateway.act(f"/-/calls/{action}?{query}", "bulk", changes)

    async def work(*, dry_run: bool) -> Json:
        async with open_gateway(where) as gateway:
            return await ask(gateway, dry_run=dry_run)

    result = run(work(dry_run=True))
    if dry_run:
        print_json(result) if as_json else click.echo(f"{result['matched']} calls")
        return
    if result["matched"]:
        if not yes:
            _confirm(f"{action.capitalize()} {result['matched']} calls?")
        result = run(work(dry_run=False))
    matched, done, refused = result["matched"], result["done"], result["refused"]
    assert isinstance(refused, list)
    if as_json:
        print_json(result)
    else:
        past = {"cancel": "cancelled", "replay": "replayed", "delete": "deleted"}[action]
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
