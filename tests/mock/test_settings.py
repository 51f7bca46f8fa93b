"""What a request gets, decided without a socket."""

import random

import pytest

from gateway.mock.settings import (
    DEFAULT_FAILURES,
    BadOverride,
    MockSettings,
    Overrides,
    Plan,
    overrides,
    plan,
)

NOTHING = Overrides()


def plans(settings, count=2000, *, wanted=NOTHING, quick=False):
    rng = random.Random(3)
    return [plan(settings, wanted, rng, quick=quick) for _ in range(count)]


def test_without_a_wish_the_settings_hold():
    assert set(plans(MockSettings(latency_s=2.0, tokens=7))) == {
        Plan(latency_s=2.0, tokens=7, status=200, fault=None, retry_after_s=None)
    }


def test_every_key_of_the_header_is_understood_spaces_or_not():
    wanted = Overrides(status=503, latency_s=2, retry_after_s=1, fault="cut", tokens=50)

    assert wanted == overrides(["status=503,latency_s=2,retry_after_s=1,fault=cut,tokens=50"])
    assert wanted == overrides(
        [" status = 503 , latency_s=2,", "retry_after_s=1", "fault=cut,tokens=50"]
    )


@pytest.mark.parametrize("lines", [[], [""], [" , "]])
def test_an_empty_header_wants_nothing(lines):
    assert overrides(lines) == Overrides()


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("status=teapot", "status"),
        ("status=100", "status"),
        ("status=600", "status"),
        ("status=", "status"),
        ("latency_s=-1", "latency_s"),
        ("latency_s=nan", "latency_s"),
        ("latency_s=inf", "latency_s"),
        ("retry_after_s=soon", "retry_after_s"),
        ("fault=explode", "fault"),
        ("tokens=1.5", "tokens"),
        ("tokens=100001", "tokens"),
        ("latency=1", "latency"),
        ("hang", "hang"),
    ],
)
def test_a_bad_header_is_refused_by_the_name_of_its_key(header, key):
    with pytest.raises(BadOverride, match=f"^x-mock: {key}: "):
        overrides([header])


def test_jitter_spreads_latencies_to_both_sides_and_no_further():
    latencies = [one.latency_s for one in plans(MockSettings(latency_s=10.0, jitter=0.2))]

    assert 8.0 <= min(latencies) < 8.1
    assert 11.9 < max(latencies) <= 12.0


def test_a_wanted_latency_has_no_jitter():
    settings = MockSettings(latency_s=10.0, jitter=1.0)

    assert {one.latency_s for one in plans(settings, wanted=Overrides(latency_s=3))} == {3.0}


def test_a_share_of_the_requests_fails_in_every_way_but_hanging():
    happened = [
        one for one in plans(MockSettings(failure_rate=0.5)) if one.fault or one.status != 200
    ]

    assert 900 < len(happened) < 1100
    assert {one.fault or str(one.status) for one in happened} == set(DEFAULT_FAILURES)
    assert {one.retry_after_s for one in happened if one.status == 429} == {1.0}
    assert {one.retry_after_s for one in happened if one.status != 429} == {None}


def test_the_ways_to_fail_can_be_chosen_and_be_none():
    assert {one.fault for one in plans(MockSettings(failure_rate=1, failures=("hang",)))} == {
        "hang"
    }
    assert {one.status for one in plans(MockSettings(failure_rate=1, failures=()))} == {200}


@pytest.mark.parametrize("wanted", [Overrides(status=201), Overrides(fault="cut")])
def test_what_a_request_wants_is_not_left_to_chance(wanted):
    (only,) = set(plans(MockSettings(failure_rate=1), wanted=wanted))

    assert (only.status, only.fault) == (wanted.status or 200, wanted.fault)


def test_what_needs_no_model_answers_at_once_unless_the_request_says_otherwise():
    settings = MockSettings(latency_s=10.0, failure_rate=1)

    assert set(plans(settings, quick=True)) == {Plan(latency_s=0.0, tokens=50)}
    assert plans(settings, 1, quick=True, wanted=Overrides(latency_s=2))[0].latency_s == 2
