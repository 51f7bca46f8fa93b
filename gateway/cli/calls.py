"""`gateway calls`: look at recorded calls, at a running gateway or in the file of a stopped one."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping

import click

from gateway.cli.client import Where, locating, open_source
from gateway.cli.exits import run
from gateway.journal.filters import MAX_LIMIT, PAGING, PARAMETERS
from gateway.journal.shapes import Json

#: The API's names are the options' names, but `--key` is what a command authenticates with.
OPTIONS = {name: "--" + name.replace("_", "-") for name in PARAMETERS}
OPTIONS |= {"key": "--key-id", "q": "-q --query"}

as_json = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")


@click.group()
def calls() -> None:
    """Look at recorded calls."""


def filtering(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the parameters of a list; see `given`."""
    return _with_options(command, OPTIONS, PARAMETERS)


def choosing(
    options: Mapping[str, str], *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same for a command that means all calls chosen, not a page of them."""
    left_out = {*PAGING, *without}
    chosen = {name: option for name, option in options.items() if name not in left_out}
    about = {**PARAMETERS, "limit": f"At most so many: 1 to {MAX_LIMIT}; all by default."}
    return lambda command: _with_options(command, chosen, about)


def given(filters: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """The API's parameters for what was given as options."""
    return [(name, value) for name in PARAMETERS for value in filters.get(f"filter_{name}", ())]


def _with_options(
    command: Callable[..., None], options: Mapping[str, str], about: Mapping[str, str]
) -> Callable[..., None]:
    for name, option in reversed(list(options.items())):
        command = click.option(
            *option.split(), f"filter_{name}", multiple=True, metavar="VALUE", help=about[name]
        )(command)
    return command


@calls.command("list")
@filtering
@as_json
@locating
def list_calls(*, where: Where, as_json: bool, **filters: tuple[str, ...]) -> None:
    """List calls, the newest first."""

    async def work() -> Json:
        async with open_source(where) as source:
            return await source.page(given(filters))

    page = run(work())
    if as_json:
        print_json(page)
        return
    from gateway.cli.tables import print_page

    print_page(page)
    if page["next_cursor"]:
        click.echo(
            f"Searched back to {page['searched_back_to']}; to go on: --cursor {page['next_cursor']}",
            err=True,
        )
    elif page["has_more"]:
        option, cursor = ("--after", "last_id")
        if filters["filter_before"] and not filters["filter_after"]:
            option, cursor = ("--before", "first_id")
        click.echo(f"There are more: {option} {page[cursor]}", err=True)


@calls.command()
@click.argument("call_id", metavar="ID")
@as_json
@locating
def show(*, where: Where, call_id: str, as_json: bool) -> None:
    """Show one call with its attempts."""

    async def work() -> Json:
        async with open_source(where) as source:
            return await source.call(call_id)

    call = run(work())
    if as_json:
        print_json(call)
        return
    from gateway.cli.tables import print_call

    print_call(call)


@calls.command()
@click.argument("call_id", metavar="ID")
@locating
def request(*, where: Where, call_id: str) -> None:
    """Write the body that the client sent, byte for byte."""

    async def work() -> None:
        async with open_source(where) as source:
            await write(source.request_body(call_id))

    run(work())


@calls.command()
@click.argument("call_id", metavar="ID")
@click.option("--attempt", type=click.IntRange(1), help="The answer of this attempt.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 3600),
    default=0,
    help="Wait for the answer, at most so many seconds; a running gateway only.",
)
@locating
def response(*, where: Where, call_id: str, attempt: int | None, wait_s: float) -> None:
    """Write the body of the answer, byte for byte."""

    async def work() -> None:
        async with open_source(where) as source:
            await write(source.response_body(call_id, attempt, wait_s))

    run(work())


async def write(pieces: AsyncIterator[bytes]) -> None:
    """Put bytes on stdout as they come."""
    async for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def print_json(content: Json) -> None:
    """Put *content* on stdout."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))
