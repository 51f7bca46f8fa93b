"""Statistics of a window of time, merged from the buckets that the writer keeps.

Invariant: calls are never looked at. Each moment is read from one level alone: from the longest
buckets that fit the step as far as those are complete, the rest from finer ones (`rollup_levels`).
The rows read depend on the steps and the upstreams, not on how many calls there were.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic_core import from_json

from gateway.journal.shapes import Json, rfc3339
from gateway.journal.statistics.counting import STORED, UNTIL
from gateway.journal.statistics.folding import UNCOUNTED
from gateway.journal.statistics.rollups import (
    FINEST,
    LONGEST_FIRST,
    Bucket,
    Counts,
    Histogram,
    Load,
    Tally,
    decode,
)
from gateway.journal.statistics.windows import Window

ROWS = f"""
SELECT start, upstream, {STORED} FROM rollups
WHERE level = ? AND key = ? AND start >= ? AND start < ?
"""  # noqa: S608 - names of columns
FINAL = ("succeeded", "failed", "cancelled", "expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What only the running gateway knows."""

    at: float  #: wall time
    limit: int | None  #: how many may be in flight, in all or at the one upstream
    upstreams: tuple[str, ...]  #: those of the config
    #: what was in flight and queued and is not in the journal yet, by start and upstream
    unsaved: Mapping[tuple[int, str], Load]


def tell_statistics(connection: sqlite3.Connection, window: Window, now: Now) -> Json:
    """Statistics of *window* as the API tells them."""
    return statistics_json(select_statistics(connection, window, now.unsaved), window, now)


@dataclass(slots=True)
class Statistics:
    """What a window holds."""

    steps: dict[int, Bucket] = field(
        default_factory=dict
    )  #: by their start; without the empty ones
    upstreams: dict[str, Counts] = field(default_factory=dict)
    previous: Counts = field(default_factory=Counts)  #: of the equal window before
    rows: int = 0  #: how many were read


def select_statistics(
    connection: sqlite3.Connection, window: Window, unsaved: Mapping[tuple[int, str], Load]
) -> Statistics:
    """Read *window*; add what is not counted yet, and of what is *unsaved* what is not here."""
    found = Statistics()
    until = dict(connection.execute(UNTIL).fetchall())
    pieces = [
        *_cover(window.before, window.since, LONGEST_FIRST, until),
        *_cover(window.since, window.until, window.levels, until),
    ]
    for level, begin, end in pieces:
        sql, values = ROWS, [level, window.key or "", begin, end]
        if window.upstream is not None:
            sql, values = f"{ROWS} AND upstream = ?", [*values, window.upstream]
        for start, upstream, *stored in connection.execute(sql, values):
            found.rows += 1
            _add(found, window, start, upstream, decode(stored))
    recent = {
        place: Bucket(load=load)
        for place, load in unsaved.items()
        if place[0] >= until[FINEST] and window.key is None
    }
    for _, tallies in connection.execute(UNCOUNTED):
        for values in from_json(tallies):
            ended = Tally(*values)
            if window.key in (None, ended.key):
                place = (ended.finished_s - ended.finished_s % FINEST, ended.upstream)
                recent.setdefault(place, Bucket()).counts.add(ended)
    for (start, upstream), bucket in recent.items():
        wanted = window.upstream in (None, upstream)
        if wanted and window.before <= start < window.until:
            _add(found, window, start, upstream, bucket)
    return found


def _cover(
    begin: int, end: int, levels: Sequence[int], until: Mapping[int, int]
) -> Iterator[tuple[int, int, int]]:
    """The longest buckets of *levels*, longest first, that are all of it: (level, begin, end)."""
    if begin >= end:
        return
    level, *finer = levels
    if level == FINEST:
        yield level, begin, end
        return
    first = -(-begin // level) * level
    last = until[level] if until[level] < end else end // level * level
    if first >= last:
        yield from _cover(begin, end, finer, until)
        return
    yield from _cover(begin, first, finer, until)
    yield level, first, last
    yield from _cover(last, end, finer, until)


def _add(found: Statistics, window: Window, start: int, upstream: str, bucket: Bucket) -> None:
    if start < window.since:
        found.previous.merge(bucket.counts)
        return
    if upstream:
        found.upstreams.setdefault(upstream, Counts()).merge(bucket.counts)
    if upstream != (window.upstream or ""):
        bucket.load = Load()  # the whole gateway's has a row of its own
    at = start - start % window.step_s
    if at in found.steps:
        found.steps[at].merge(bucket)
    else:
        found.steps[at] = bucket


def statistics_json(found: Statistics, window: Window, now: Now) -> Json:
    """*found* as the API tells it."""
    totals = Counts()
    for counts in found.upstreams.values():
        totals.merge(counts)
    names = [window.upstream] if window.upstream else [*now.upstreams, *sorted(found.upstreams)]
    return {
        "window_s": window.window_s,
        "step_s": window.step_s,
        "since": rfc3339(window.since * 1000),
        "until": rfc3339(window.until * 1000),
        "totals": counts_json(totals),
        "previous": counts_json(found.previous),
        "upstreams": {
            name: counts_json(found.upstreams.get(name, Counts())) for name in dict.fromkeys(names)
        },
        "series": list(_series(found, window, now)),
    }


def _series(found: Statistics, window: Window, now: Now) -> Iterator[Json]:
    """Every step, the empty ones too. Where nobody looked at the limit it was the one before."""
    nothing = Bucket()
    looked = [bucket.load.limit for _, bucket in sorted(found.steps.items()) if bucket.load.limit]
    last = looked[0] if looked else now.limit
    for at in range(window.since, window.until, window.step_s):
        bucket = found.steps.get(at, nothing)
        last = bucket.load.limit or last
        elapsed_ms = max(1, min(window.step_s * 1000, int((now.at - at) * 1000)))
        yield {
            "at": rfc3339(at * 1000),
            **counts_json(bucket.counts),
            **(_load(bucket.load, elapsed_ms) if window.key is None else NO_LOAD),
            "limit": last,
        }


NO_LOAD: Json = dict.fromkeys(("in_flight", "in_flight_max", "queued", "queued_max"))


def _load(load: Load, elapsed_ms: int) -> Json:
    return {
        "in_flight": round(load.in_flight_ms / elapsed_ms, 3),
        "in_flight_max": load.in_flight_max,
        "queued": round(load.queued_ms / elapsed_ms, 3),
        "queued_max": load.queued_max,
    }


def counts_json(counts: Counts) -> Json:
    """*counts* as the API tells them."""
    return {
        "calls": sum(counts.outcomes.values()),
        **{status: counts.outcomes.get(status, 0) for status in FINAL},
        "attempts": counts.attempts,
        "retried": counts.retried,
        "rate_limited": counts.rate_limited,
        "errors": {code: counts.errors[code] for code in sorted(counts.errors)},
        "duration_ms": _times(counts.duration),
        "queued_ms": _times(counts.queued),
        "first_byte_ms": _times(counts.first_byte),
        "input_tokens": counts.input_tokens,
        "output_tokens": counts.output_tokens,
        "total_tokens": counts.total_tokens,
        "cost_usd": None,
    }


def _times(histogram: Histogram) -> Json:
    if not histogram.calls:
        return {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}
    p50, p95, p99 = (round(us / 1000, 3) for us in histogram.percentiles_us(0.5, 0.95, 0.99))
    mean = round(histogram.total_us / histogram.calls / 1000, 3)
    return {
        "count": histogram.calls, "mean": mean, "p50": p50, "p95": p95, "p99": p99,
        "max": histogram.max_us / 1000,
    }  # fmt: skip
