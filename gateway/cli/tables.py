"""Calls for people: tables, with colours only on a terminal.

Ids are never shortened. What clients and upstreams wrote is printed as text: control characters
show as escapes, so that no recorded byte can play with a terminal.
"""

import sys
from collections.abc import Iterator, Sequence

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.printable import printable
from gateway.journal.shapes import Json

PIPE_WIDTH = 10_000  # columns where no terminal sets a limit: who reads lines wants them whole
STYLES = {
    "succeeded": "green",
    "failed": "red",
    "expired": "yellow",
    "cancelled": "yellow",
    "running": "cyan",
}


def print_page(page: Json) -> None:
    """A list, one line a call."""
    table = _table("id", "created", "status", "http", "upstream", "model", "took", "error")
    for call in _objects(page["data"]):
        table.add_row(
            _text(call["id"]),
            _text(call["created_at"]),
            _status(call),
            _text(_member(call["response"], "status")),
            _text(call["upstream"]),
            _text(call["model"]),
            _text(_seconds(call["duration_ms"])),
            _text(_member(call["error"], "code")),
        )
    _console().print(table)


def print_call(call: Json) -> None:
    """One call: what is known of it, then a line for each attempt."""
    print_fields({name: call[name] for name in call if name not in ("object", "attempts")})

    attempts = _table("attempt", "upstream", "started", "finished", "outcome", "http", "error")
    for attempt in _objects(call["attempts"]):
        attempts.add_row(
            _text(attempt["number"]),
            _text(attempt["upstream"]),
            _text(attempt["started_at"]),
            _text(attempt["finished_at"]),
            _text(attempt["outcome"] or "in flight"),
            _text(attempt["status"]),
            _text(_member(attempt["error"], "code")),
        )
    if attempts.row_count:
        console = _console()
        console.print()
        console.print(attempts)


def print_objects(objects: JsonValue, columns: Sequence[str]) -> None:
    """Objects of any kind, one line each: these members of them."""
    table = _table(*columns)
    for each in _objects(objects):
        values = [each[column] for column in columns]
        table.add_row(
            *(_text(", ".join(map(str, v)) if isinstance(v, list) else v) for v in values)
        )
    _console().print(table)


def print_fields(content: Json) -> None:
    """Names and values, one a line; what is empty is left out."""
    fields = Table(box=None, show_header=False, pad_edge=False)
    fields.add_column(style="dim", no_wrap=True)
    fields.add_column(overflow="fold")
    for name, value in content.items():
        for inner_name, inner in _flat(name, value):
            fields.add_row(_text(inner_name), _text(inner))
    _console().print(fields)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def _table(*columns: str) -> Table:
    """A table whose first column is never wrapped."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        whole = column == columns[0]
        table.add_column(column, no_wrap=whole, overflow="ignore" if whole else "fold")
    return table


def _flat(name: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """Members of objects under `object.member`; what is empty is left out."""
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from _flat(f"{name}.{member}", inner)
    elif value not in (None, "", []):
        yield name, value


def _objects(values: JsonValue) -> list[Json]:
    assert isinstance(values, list)
    return [value for value in values if isinstance(value, dict)]


def _member(value: JsonValue, name: str) -> JsonValue:
    return value.get(name) if isinstance(value, dict) else None


def _seconds(milliseconds: JsonValue) -> str | None:
    return f"{milliseconds / 1000:.1f} s" if isinstance(milliseconds, int | float) else None


def _status(call: Json) -> Text:
    text = _text(call["status"])
    text.stylize(STYLES.get(text.plain, ""))
    return text


def _text(value: JsonValue) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, list):
        return Text("\n").join(_text(inner) for inner in value)
    return Text(printable(value))
