"""What statistics keep of the calls that ended in one stretch of time: values that can be merged.

Invariant: merging is associative and commutative, and buckets merged give what one bucket of all
their calls would have given, percentiles included; so every window is made of buckets and costs the
same however many calls it saw. All numbers are integers, which add up exactly in any order.
`test_rollups.py` holds it with random calls.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, log
from struct import Struct, unpack
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Any, NamedTuple, TypeAlias

import structlog
from pydantic_core import from_json, to_json

from gateway.call import Call

logger = structlog.get_logger(__name__)

DAY_S = 86_400
#: How long a bucket lasts, and for how long it is kept at least; None: for ever. Each level is made
#: of the one before. 300, 900 and 21,600 are there for windows of six hours, a day and a month.
LEVELS: Mapping[int, int | None] = {
    10: 6 * 3600,
    60: 14 * DAY_S,
    300: 14 * DAY_S,
    900: 14 * DAY_S,
    3600: None,
    21_600: None,
}
FINEST = 10
LONGEST_FIRST = sorted(LEVELS, reverse=True)

GAMMA = 1.05  # a bin's upper bound over its lower one, so a percentile is at most 2.5 % off
LEAST_US = 10  # what takes less counts as nothing
_BINS_PER_E = 1 / log(GAMMA)

# In memory a histogram is one integer of 64 bits a bin: merging two is one addition, in C (measured:
# ten times as fast as by dictionaries, and a month's chart merges some thousands). Stored are the
# bins from the first that is not empty on, each in as few bytes as hold the number of all calls.
_BITS, _BYTES = 64, 8
_HEAD = Struct("<HB")  # the first bin, bytes a bin


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

    calls: int = 0
    total_us: int = 0
    max_us: int = 0
    bins: int = 0  #: bin N in the bits from 64 N on

    def add(self, us: int) -> None:
        """Count one."""
        self.calls += 1
        self.total_us += us
        if us > self.max_us:
            self.max_us = us
        at = 0 if us < LEAST_US else 1 + ceil(log(us / LEAST_US) * _BINS_PER_E)
        self.bins += 1 << at * _BITS

    def merge(self, other: "Histogram") -> None:
        """Count all of *other*."""
        self.calls += other.calls
        self.total_us += other.total_us
        if other.max_us > self.max_us:
            self.max_us = other.max_us
        self.bins += other.bins

    def percentiles_us(self, *shares: float) -> list[float]:
        """What those *shares* of all calls took at most, to 2.5 %; there must be a call."""
        first, wide = _cut(self.bins)
        up_to = list(accumulate(unpack(f"<{len(wide) // _BYTES}Q", wide)))
        return [
            min(_middle_us(first + bisect_left(up_to, ceil(share * self.calls))), self.max_us)
            for share in shares
        ]


def _middle_us(at: int) -> float:
    """The value that is relatively as far from the least of bin *at* as from its greatest."""
    return 2 * LEAST_US * GAMMA ** (at - 1) / (1 + GAMMA) if at else 0.0


def _cut(bins: int) -> tuple[int, bytes]:
    """The first bin that is not empty, and the bytes of all from there on."""
    wide = bins.to_bytes(-(-bins.bit_length() // _BITS) * _BYTES, "little")
    first = (len(wide) - len(wide.lstrip(b"\0"))) // _BYTES
    return first, wide[first * _BYTES :]


def _pack(histogram: Histogram) -> bytes:
    first, wide = _cut(histogram.bins)
    width = -(-histogram.calls.bit_length() // 8)
    narrow = bytearray(len(wide) // _BYTES * width)
    for at in range(width):
        narrow[at::width] = wide[at::_BYTES]
    return _HEAD.pack(first, width) + narrow


def _unpack(stored: bytes) -> int:
    first: int
    width: int
    first, width = _HEAD.unpack_from(stored)
    if not width:
        return 0
    narrow = stored[_HEAD.size :]
    wide = bytearray(len(narrow) // width * _BYTES)
    for at in range(width):
        wide[at::_BYTES] = narrow[at::width]
    return int.from_bytes(wide, "little") << first * _BITS


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


#: A bucket as it is stored: its sums as JSON, and its three histograms.
Stored: TypeAlias = Sequence[Any]  # str, bytes, bytes, bytes


def encode(bucket: Bucket) -> Stored:
    """*bucket* as it is stored."""
    counts, load = bucket.counts, bucket.load
    histograms = (counts.duration, counts.queued, counts.first_byte)
    sums = [
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
        *([each.calls, each.total_us, each.max_us] for each in histograms),
    ]
    duration, queued, first_byte = map(_pack, histograms)
    return to_json(sums).decode(), duration, queued, first_byte


def decode(stored: Stored) -> Bucket:
    """The bucket of a row. A damaged one is told in the log and counts nothing."""
    sums, *histograms = stored
    try:
        load, outcomes, errors, counted, *times = from_json(sums)
        counts = Counts(outcomes, errors, *counted)
        counts.duration, counts.queued, counts.first_byte = (
            Histogram(calls, total_us, max_us, _unpack(bins))
            for (calls, total_us, max_us), bins in zip(times, histograms, strict=True)
        )
        return Bucket(counts, Load(*load))
    except (ValueError, TypeError, ArithmeticError, StructError) as error:
        logger.error("rollup_damaged", error=str(error))  # noqa: TRY400 - the row is at fault
        return Bucket()


def _add_up(mine: dict[str, int], others: Mapping[str, int]) -> None:
    for name, count in others.items():
        mine[name] = mine.get(name, 0) + count
