"""Buckets can be merged in any order, and lose nothing by it but the last digits of percentiles."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.call import Failure, Status, Usage
from gateway.journal.statistics.rollups import Bucket, Histogram, Load, Tally, decode, encode, tally
from tests.running_journal import NOW, begin_attempt, end_attempt, end_call, make_call

ERROR = 0.025  # of a percentile

durations = st.integers(min_value=0, max_value=30 * 86_400 * 1_000_000)
small = st.integers(min_value=0, max_value=10**6)
tallies = st.builds(
    Tally,
    finished_s=st.just(0),
    upstream=st.just("openai"),
    key=st.none(),
    status=st.sampled_from([status.value for status in Status if status.is_final]),
    error=st.sampled_from([None, "upstream_error", "queue_timeout"]),
    attempts=st.integers(0, 8),
    rate_limited=st.integers(0, 8),
    duration_us=durations,
    queued_us=durations,
    first_byte_us=st.none() | durations,
    input_tokens=small,
    output_tokens=small,
    total_tokens=st.integers(0, 10**15),
)
loads = st.builds(Load, small, small, small, small, small)


@st.composite
def buckets(draw):
    bucket = Bucket(load=draw(loads))
    for each in draw(st.lists(tallies, max_size=20)):
        bucket.counts.add(each)
    return bucket


def merged(*parts):
    whole = Bucket()
    for part in parts:
        whole.merge(part)
    return whole


def histogram(values):
    found = Histogram()
    for us in values:
        found.add(us)
    return found


@given(buckets(), buckets(), buckets())
def test_buckets_merge_in_any_order_and_grouping(a, b, c):
    assert merged(a, b, c) == merged(c, b, a) == merged(merged(a, b), c) == merged(a, merged(b, c))


@given(st.lists(st.lists(tallies, max_size=10), max_size=5))
def test_merged_buckets_equal_one_bucket_of_all_calls(groups):
    parts, whole = [], Bucket()
    for group in groups:
        parts.append(Bucket())
        for each in group:
            parts[-1].counts.add(each)
            whole.counts.add(each)

    assert merged(*parts) == whole


@given(buckets())
def test_a_bucket_is_read_as_it_was_stored(bucket):
    assert decode(encode(bucket)) == bucket


@given(st.lists(durations, min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_that_of_the_values_to_the_width_of_a_bin(values, share):
    expected = sorted(values)[math.ceil(share * len(values)) - 1]
    (found,) = histogram(values).percentiles_us(share)

    if expected < 10:
        assert found == 0
    else:
        assert abs(found - expected) <= ERROR * expected


@given(st.lists(st.lists(durations, min_size=1, max_size=50), min_size=1, max_size=5))
def test_merged_histograms_keep_count_sum_and_greatest_exactly(groups):
    whole = Histogram()
    for group in groups:
        whole.merge(histogram(group))
    values = [us for group in groups for us in group]

    assert (whole.calls, whole.total_us, whole.max_us) == (len(values), sum(values), max(values))
    assert whole == histogram(values)


@pytest.mark.parametrize("calls", [1, 255, 256, 65_535, 65_536, 2**40])
def test_a_bin_holds_any_number_of_calls(calls):
    many = Bucket()
    many.counts.duration = Histogram(calls, calls * 1000, 1000, calls << 64 * 96)
    many.merge(decode(encode(many)))

    assert many.counts.duration.calls == 2 * calls
    assert decode(encode(many)) == many


@pytest.mark.parametrize(
    "damaged", [("", b"", b"", b""), ("[]", b"", b"", b""), ("{", b"\x00", b"", b""), (1, 2, 3, 4)]
)
def test_a_damaged_row_is_told_and_counts_nothing(damaged):
    with capture_logs() as logs:
        assert decode(damaged) == Bucket()

    assert [entry["event"] for entry in logs] == ["rollup_damaged"]


def test_a_call_adds_what_it_took():
    call = make_call(1, key_id="key_1")
    begin_attempt(call)
    end_attempt(call, status=429)
    begin_attempt(call)
    end_attempt(call, status=503, first_byte_at=NOW + 1.5)
    end_call(call, Status.FAILED)
    call.failure = Failure(code="upstream_error", message="no")
    call.usage = Usage(input_tokens=3, output_tokens=4, total_tokens=7)
    call.duration_ms, call.queued_ms = 2000.0, 0.25

    assert tally(call) == Tally(
        finished_s=int(NOW) + 2,
        upstream="openai",
        key="key_1",
        status="failed",
        error="upstream_error",
        attempts=2,
        rate_limited=1,
        duration_us=2_000_000,
        queued_us=250,
        first_byte_us=500_000,
        input_tokens=3,
        output_tokens=4,
        total_tokens=7,
    )


def test_polling_for_a_result_costs_no_tokens():
    call = make_call(1)
    call.request.method = "GET"
    begin_attempt(call)
    end_attempt(call)
    end_call(call)
    call.usage = Usage(input_tokens=3, output_tokens=4, total_tokens=7)

    assert tally(call).total_tokens == 0
