"""What `gateway top` knows, and how it looks: state in, lines of text out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue
from rich.text import Text

from gateway.cli.printable import printable
from gateway.cli.tables import STYLES
from gateway.journal.shapes import Json

HELP = "q quit  ↑↓ call  C cancel  tab upstream  P pause  +- limit  s sort"
GAUGE = 16  # characters of a full one
SORTS: dict[str, Callable[[Json], str]] = {
    "elapsed": lambda call: str(call["created_at"]),
    "status": lambda call: f"{call['status']} {call['created_at']}",
    "upstream": lambda call: f"{call['upstream']} {call['created_at']}",
    "model": lambda call: f"{call['model'] or ''} {call['created_at']}",
}


@dataclass(slots=True)
class Board:
    """The numbers, the upstreams and the open calls, as last told."""

    stats: Json = field(default_factory=dict)  #: of `stats` events, or of `GET /-/stats`
    totals: Json = field(default_factory=dict)  #: of the last five minutes
    window_s: float = 300.0
    upstreams: dict[str, Json] = field(default_factory=dict)
    calls: dict[str, Json] = field(default_factory=dict)  #: open ones by id
    lost: bool = False
    sort: str = "elapsed"
    upstream: str | None = None  #: the one that keys act on
    call_id: str | None = None  #: the call that keys act on
    message: str = ""  #: instead of the help

    def take_stats(self, stats: Json) -> None:
        """Take numbers of now."""
        self.stats |= stats
        for each in _objects(stats.get("upstreams")):
            name = str(each["name"])
            self.upstreams[name] = {**self.upstreams.get(name, {}), **each}

    def take_call(self, call: Json) -> None:
        """Take a call; one that is final or gone is none of ours any more."""
        call_id = str(call["id"])
        if call.get("status") in ("queued", "running"):
            self.calls[call_id] = call
        else:
            self.calls.pop(call_id, None)

    def rows(self) -> list[Json]:
        """The open calls in order: those that run first, then as `sort` says."""
        calls = sorted(self.calls.values(), key=SORTS[self.sort])
        return sorted(calls, key=lambda call: call["status"] != "running")

    def next_sort(self) -> None:
        """Sort by something else."""
        names = list(SORTS)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]

    def next_upstream(self) -> None:
        """Choose the upstream after the chosen one."""
        names = list(self.upstreams)
        if names:
            at = names.index(self.upstream) if self.upstream in names else -1
            self.upstream = names[(at + 1) % len(names)]

    def move(self, by: int) -> None:
        """Choose the call so many lines further down."""
        ids = [str(call["id"]) for call in self.rows()]
        if ids:
            at = ids.index(self.call_id) if self.call_id in ids else -1
            self.call_id = ids[max(0, min(len(ids) - 1, at + by))]


def lines(board: Board, *, now: datetime, width: int, height: int) -> list[Text]:
    """The whole screen, *height* lines of at most *width* characters."""
    head = [*_numbers(board), *_gauges(board, most=max(1, height // 3))]
    rows = board.rows()
    room = max(0, height - len(head) - 3)
    shown = rows[:room]
    if board.call_id is not None and (at := _index(rows, board.call_id)) >= room > 0:
        shown = rows[at - room + 1 : at + 1]
    title = Text(f"{'elapsed':>8}  {'status':<8}  {'id':<31}  {'upstream':<10}  model", style="dim")
    body = [_call_line(call, board, now) for call in shown]
    more = f"  {len(rows) - len(shown)} more open calls" if len(rows) > len(shown) else ""
    foot = Text(board.message or HELP, style="bold" if board.message else "dim")
    text = [*head, Text(), title, *body]
    text += [Text()] * (height - 1 - len(text))
    if more:
        foot.append(more, style="dim")
    text = [*text[: height - 1], foot]
    for each in text:
        each.truncate(width, overflow="ellipsis")
    return text


def _numbers(board: Board) -> Iterable[Text]:
    stats, totals = board.stats, board.totals
    duration = totals.get("duration_ms")
    p95_ms = duration.get("p95") if isinstance(duration, dict) else None
    tokens = totals.get("total_tokens")
    first = Text("gateway", style="bold")
    if board.lost:
        first.append("  connection lost, looking for it", style="bold red")
    first.append(f"  in flight {stats.get('in_flight', '-')}  queued {stats.get('queued', '-')}")
    if isinstance(oldest_s := stats.get("oldest_queued_s"), int | float):
        first.append(f" (oldest {_seconds(oldest_s)})")
    if "loop_lag_ms" in stats:  # rates and lag are told to those who watch, not to a single look
        first.append(f"  lag {_number(stats['loop_lag_ms'])} ms")
    rates = (
        f"  {_number(stats['finished_per_s'])} calls/s  {_number(stats['failed_per_s'])} failed/s"
        if "finished_per_s" in stats
        else ""
    )
    second = Text(
        f"{rates}  5 min: {totals.get('calls', '-')} calls, {totals.get('failed', '-')} failed"
        f"  p95 {_seconds(p95_ms / 1000) if isinstance(p95_ms, int | float) else '-'}"
        f"  {_number(tokens / board.window_s) if isinstance(tokens, int | float) else '-'} tokens/s"
    )
    return [first, second, Text()]


def _gauges(board: Board, *, most: int) -> Iterable[Text]:
    for name, each in list(board.upstreams.items())[:most]:
        used, limit = _int(each.get("in_flight")), max(1, _int(each.get("max_in_flight")))
        full = min(GAUGE, round(GAUGE * used / limit))
        text = Text("> " if name == board.upstream else "  ")
        text.append(f"{printable(name):<12} ")
        text.append("█" * full, style="cyan").append("░" * (GAUGE - full), style="dim")
        text.append(f" {used}/{limit}  queued {_int(each.get('queued'))}")
        if each.get("paused"):
            text.append("  paused", style="yellow")
        yield text


def _call_line(call: Json, board: Board, now: datetime) -> Text:
    since = datetime.fromisoformat(str(call["created_at"]))
    status = str(call["status"])
    reason = call["wait_reason"]
    shown = status if reason in (None, "slot") else printable(reason)
    text = Text(f"{_seconds((now - since).total_seconds()):>8}  ")
    text.append(f"{shown:<8}", style=STYLES.get(status, "yellow" if shown != status else ""))
    text.append(f"  {printable(call['id']):<31}  {printable(call['upstream'])[:10]:<10}")
    text.append(f"  {printable(call['model'] or '')}")
    if call["id"] == board.call_id:
        text.stylize("reverse")
    return text


def _index(rows: list[Json], call_id: str) -> int:
    return next((at for at, call in enumerate(rows) if call["id"] == call_id), -1)


def _objects(values: JsonValue) -> list[Json]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def _int(value: JsonValue) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _number(value: JsonValue) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02} m" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
