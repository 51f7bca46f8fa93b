"""What a list may be asked for, and what is refused."""

import pytest

from gateway.errors import BadRequest
from gateway.journal.filters import FILTERS, PARAMETERS, milliseconds, read_filters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01t00:00:01z", 1000),
        ("1970-01-01 00:00:01.5Z", 1500),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T01:00:00 01:00", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("1970-01-01T00:00:00.0001Z", 1),
        ("1970-01-01T00:00:00.123456789Z", 124),
    ],
)
def test_a_time_is_the_first_millisecond_not_before_it(text: str, expected: int) -> None:
    assert expected == milliseconds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1790000000",
        "2026-11-22",
        "2026-11-22T17:00:00",
        "2026-02-30T17:00:00Z",
        "2026-11-22T17:00Z",
        "20261122T170000Z",
        "2026-11-22T25:00:00Z",
    ],
)
def test_what_is_no_rfc_3339_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time such as"):
        milliseconds(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "many"),
        ("limit", "1_0"),
        ("order", "down"),
        ("expand", "some"),
        ("status", "done"),
        ("status", ""),
        ("status", "queued,"),
        ("http_status", "2xx"),
        ("http_status", "99"),
        ("min_duration_ms", "nan"),
        ("min_duration_ms", "-1"),
        ("min_duration_ms", "inf"),
        ("since", "now"),
        ("until", "2026-11-22"),
        ("tag", "team"),
        ("model", "m" * 1025),
        ("model", "\udcff"),
        ("q", "status:done"),
        ("cursor", "x1"),
        ("colour", "red"),
    ],
)
def test_a_malformed_or_unknown_parameter_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=name):
        read_filters([(name, value)])


@pytest.mark.parametrize("name", ["limit", "order", "after", "since", "until", "min_duration_ms"])
def test_what_can_only_be_said_once_is_refused_twice(name: str) -> None:
    value = {"limit": "1", "order": "asc", "after": "call_1", "min_duration_ms": "1"}.get(
        name, "2026-11-22T17:00:00Z"
    )

    with pytest.raises(BadRequest, match=f"{name}: may be given once"):
        read_filters([(name, value)] * 2)


def test_every_filter_has_a_description() -> None:
    assert FILTERS.keys() <= PARAMETERS.keys()


def test_values_never_become_sql() -> None:
    texts = {"tag": "x:') OR 1=1 --", "http_status": "200", "min_duration_ms": "1"}
    times = dict.fromkeys(("since", "until"), "2026-11-22T17:00:00Z")
    pairs = [(name, ({**texts, **times}).get(name, "') OR 1=1 --")) for name in FILTERS]
    filters = read_filters(pairs)

    assert not any("1=1" in condition for condition in filters.conditions)
    assert not any("?" in condition or "'x" in condition for condition in filters.conditions)
