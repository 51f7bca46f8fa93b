"""What statistics keep of the calls that ended in one stretch of time: values that can be merged.

Invariant: merging is associative and commutative, and buckets merged give what one bucket of all
their calls would have given, percentiles included; so every window is made of buckets and costs the
same however many calls it saw. All numbers are integers, which add up exactly in any order.
`test_rollups.py` holds it with random calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log
from typing import Any, NamedTuple

import structlog
from pydantic_core import from_json, to_json

from gateway.call import Call

logger = structlog.get_logger(__name__)

DAY_S = 86_400
#: How long a bucket lasts, and for how long it is kept at least; None: for ever. Each level is made
#: of the one before. 900 and 21,600 are there for the sake of windows of a day and of a month.
LEVELS: Mapping[int, int | None] = {
    10: 6 * 3600,
    60: 14 * DAY_S,
    900: 14 * DAY_S,
    3600: None,
    21_600: None,
}
FINEST = 10

GAMMA = 1.05  # a bin's upper bound over its lower one, so a percentile is at most 2.5 % off
LEAST_US = 10  # what takes less counts as nothing
_BINS_PER_E = 1 / log(GAMMA)


class Tally(NamedTuple):
    """What one call that ended adds."""

    finished_s: int
    upstream: str
    key: str | None
    status: str
    error: str | None
    attempts: int
    rate_limited: int
    duration_us: int
    queued_us: int
    first_byte_us: int | None
    input_tokens: int
    output_tokens: int
    total_tokens: int


def tally(call: Call) -> Tally:
    """What the final *call* adds. Its first byte counts from the start of the attempt that had it."""
    attempts = call.attempts
    answer = call.answer or (attempts[-1] if attempts else None)
    first_byte_us = None
    if answer is not None and answer.first_byte_at is not None:
        first_byte_us = _microseconds((answer.first_byte_at - answer.started_at) * 1000)
    # Polling a result costs no tokens.
    usage = call.usage if call.request.method == "POST" else None
    return Tally(
        int(call.created_at if call.finished_at is None else call.finished_at),
        call.upstream,
        call.key_id,
        call.status.value,
        call.failure.code if call.failure else None,
        len(attempts),
        sum([attempt.status == 429 for attempt in attempts]),
        _microseconds(call.duration_ms or 0.0),
        _microseconds(call.queued_ms),
        first_byte_us,
        (usage.input_tokens or 0) if usage else 0,
        (usage.output_tokens or 0) if usage else 0,
        (usage.total_tokens or 0) if usage else 0,
    )


@dataclass(slots=True)
class Histogram:
    """How long something took, over many calls."""

    total_us: int = 0
    max_us: int = 0
    bins: dict[int, int] = field(default_factory=dict)  #: bin → calls; see `bin_of`

    def add(self, us: int) -> None:
        """Count one."""
        self.total_us += us
        if us > self.max_us:
            self.max_us = us
        at = 0 if us < LEAST_US else 1 + ceil(log(us / LEAST_US) * _BINS_PER_E)
        self.bins[at] = self.bins.get(at, 0) + 1

    def merge(self, other: "Histogram") -> None:
        """Count all of *other*."""
        self.total_us += other.total_us
        self.max_us = max(self.max_us, other.max_us)
        if not self.bins:
            self.bins = other.bins.copy()
            return
        bins = self.bins
        for at, calls in other.bins.items():
            bins[at] = bins.get(at, 0) + calls

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self.bins.values())

    def percentiles_us(self, *shares: float) -> list[float]:
        """For each of the ascending *shares*, what that share of all took at most; none may be empty."""
        found: list[float] = []
        wanted = [ceil(share * self.count) for share in shares]
        seen = 0
        for at, calls in sorted(self.bins.items()):
            seen += calls
            while len(found) < len(wanted) and seen >= wanted[len(found)]:
                found.append(min(_middle_us(at), self.max_us))
        return found


def _middle_us(at: int) -> float:
    """The value that is relatively as far from the least of bin *at* as from its greatest."""
    return 2 * LEAST_US * GAMMA ** (at - 1) / (1 + GAMMA) if at else 0.0


def _microseconds(ms: float) -> int:
    return max(0, int(ms * 1000 + 0.5))


@dataclass(slots=True)
class Counts:
    """Calls that ended."""

    outcomes: dict[str, int] = field(default_factory=dict)  #: final status → calls
    errors: dict[str, int] = field(default_factory=dict)  #: code → calls
    attempts: int = 0
    retried: int = 0  #: calls that took more than one
    rate_limited: int = 0  #: attempts answered 429
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    duration: Histogram = field(default_factory=Histogram)
    queued: Histogram = field(default_factory=Histogram)
    first_byte: Histogram = field(default_factory=Histogram)  #: of the calls that had one

    def add(self, ended: Tally) -> None:
        """Count one call."""
        self.outcomes[ended.status] = self.outcomes.get(ended.status, 0) + 1
        if ended.error is not None:
            self.errors[ended.error] = self.errors.get(ended.error, 0) + 1
        self.attempts += ended.attempts
        self.retried += ended.attempts > 1
        self.rate_limited += ended.rate_limited
        self.input_tokens += ended.input_tokens
        self.output_tokens += ended.output_tokens
        self.total_tokens += ended.total_tokens
        self.duration.add(ended.duration_us)
        self.queued.add(ended.queued_us)
        if ended.first_byte_us is not None:
            self.first_byte.add(ended.first_byte_us)

    def merge(self, other: "Counts") -> None:
        """Count all of *other*."""
        _add_up(self.outcomes, other.outcomes)
        _add_up(self.errors, other.errors)
        self.attempts += other.attempts
        self.retried += other.retried
        self.rate_limited += other.rate_limited
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.total_tokens += other.total_tokens
        self.duration.merge(other.duration)
        self.queued.merge(other.queued)
        self.first_byte.merge(other.first_byte)


@dataclass(slots=True)
class Load:
    """What was in flight and queued over time. An integral of 5,000 is five calls for one second."""

    in_flight_ms: int = 0
    in_flight_max: int = 0
    queued_ms: int = 0
    queued_max: int = 0
    limit: int = 0  #: how many might be in flight, at most; 0: nobody looked

    def add(self, ms: int, *, in_flight: int, queued: int, limit: int) -> None:
        """It was so for *ms*."""
        self.merge(Load(in_flight * ms, in_flight, queued * ms, queued, limit))

    def merge(self, other: "Load") -> None:
        """Add *other*, of another stretch of time or of another part of the same."""
        self.in_flight_ms += other.in_flight_ms
        self.in_flight_max = max(self.in_flight_max, other.in_flight_max)
        self.queued_ms += other.queued_ms
        self.queued_max = max(self.queued_max, other.queued_max)
        self.limit = max(self.limit, other.limit)


@dataclass(slots=True)
class Bucket:
    """One row: an upstream, or the whole gateway, over a stretch of time."""

    counts: Counts = field(default_factory=Counts)
    load: Load = field(default_factory=Load)

    def merge(self, other: "Bucket") -> None:
        """Add *other*."""
        self.counts.merge(other.counts)
        self.load.merge(other.load)


def encode(bucket: Bucket) -> str:
    """*bucket* as it is stored: a JSON list, some 200 bytes and 5 a bin that is not empty."""
    counts, load = bucket.counts, bucket.load
    return to_json(
        [
            [load.in_flight_ms, load.in_flight_max, load.queued_ms, load.queued_max, load.limit],
            counts.outcomes,
            counts.errors,
            [
                counts.attempts,
                counts.retried,
                counts.rate_limited,
                counts.input_tokens,
                counts.output_tokens,
                counts.total_tokens,
            ],
            *(
                [
                    histogram.total_us,
                    histogram.max_us,
                    [*histogram.bins],
                    [*histogram.bins.values()],
                ]
                for histogram in (counts.duration, counts.queued, counts.first_byte)
            ),
        ]
    ).decode()


def decode(stored: str) -> Bucket:
    """The bucket of a row. A damaged one is told in the log and counts nothing."""
    try:
        load, outcomes, errors, sums, *histograms = from_json(stored)
        return Bucket(Counts(outcomes, errors, *sums, *map(_histogram, histograms)), Load(*load))
    except (ValueError, TypeError) as error:
        logger.error("rollup_damaged", error=str(error))  # noqa: TRY400 - the row is at fault
        return Bucket()


def _histogram(stored: list[Any]) -> Histogram:
    total_us, max_us, bins, calls = stored
    return Histogram(total_us, max_us, dict(zip(bins, calls, strict=True)))


def _add_up(mine: dict[str, int], others: Mapping[str, int]) -> None:
    for name, count in others.items():
        mine[name] = mine.get(name, 0) + count
