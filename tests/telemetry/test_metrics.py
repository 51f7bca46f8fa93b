"""Metrics: what is counted can be read back, with labels from closed sets, at the scrape's cost."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from prometheus_client import parser
from typing_extensions import override

from gateway.telemetry.metrics import Metrics, watch_loop_lag


@dataclass
class Slots:
    in_flight: int = 3
    retries_in_flight: int = 1
    max_in_flight: int = 100
    queued: int = 7
    queued_detached: int = 5
    open_calls: int = 10
    paused: bool = False
    limit: int = 100
    breaker_open: bool = False


@dataclass
class Admission:
    upstreams: dict[str, Slots] = field(default_factory=lambda: {"openai": Slots()})
    max_in_flight: int = 1000
    queued_bytes: int = 4096


@dataclass
class Journal:
    pending_posts: int = 4
    pending_bytes: int = 512
    dropped_bytes: int = 9


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics) -> dict[str, float]:
    """Return every sample by `name{label="value"}`, as a scraper reads them."""

    def each() -> Iterator[tuple[str, float]]:
        for family in parser.text_string_to_metric_families(metrics.render().decode()):
            for sample in family.samples:
                labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
                yield (f"{sample.name}{{{labels}}}" if labels else sample.name), sample.value

    return dict(each())


def test_a_finished_call_is_counted_by_upstream_and_status(metrics: Metrics) -> None:
    metrics.call_finished("openai", "succeeded", 10.3, 0.012)
    metrics.call_finished("openai", "succeeded", 0.004, 0.0)
    metrics.call_finished("openai", "failed", 1000.0, 0.0)

    seen = samples(metrics)
    assert seen['gateway_calls_total{status="succeeded",upstream="openai"}'] == 2
    assert seen['gateway_calls_total{status="failed",upstream="openai"}'] == 1
    assert seen['gateway_call_duration_seconds_count{upstream="openai"}'] == 3
    assert seen['gateway_call_duration_seconds_bucket{le="0.005",upstream="openai"}'] == 1
    assert seen['gateway_call_duration_seconds_bucket{le="900.0",upstream="openai"}'] == 2
    assert pytest.approx(0.012) == seen['gateway_queue_wait_seconds_sum{upstream="openai"}']


def test_attempts_retries_and_first_bytes_are_counted_apart(metrics: Metrics) -> None:
    metrics.attempt_finished("openai", "timed_out", None)
    metrics.attempt_finished("openai", "answered", 0.2, is_retry=True)

    seen = samples(metrics)
    assert seen['gateway_attempts_total{outcome="timed_out",upstream="openai"}'] == 1
    assert seen['gateway_attempts_total{outcome="answered",upstream="openai"}'] == 1
    assert seen['gateway_retries_total{upstream="openai"}'] == 1
    assert seen['gateway_first_byte_seconds_count{upstream="openai"}'] == 1


def test_tokens_refusals_commits_and_reloads_are_counted(metrics: Metrics) -> None:
    metrics.tokens("openai", 21, 180)
    metrics.tokens("openai", 8, None)
    metrics.refused("queue_full")
    metrics.commit(0.004, 20)
    metrics.commit(0.002, 1)
    metrics.config_ok(False)

    seen = samples(metrics)
    assert seen['gateway_tokens_total{direction="input",upstream="openai"}'] == 29
    assert seen['gateway_tokens_total{direction="output",upstream="openai"}'] == 180
    assert seen['gateway_refused_total{code="queue_full"}'] == 1
    assert seen["gateway_journal_commits_total"] == 2
    assert seen["gateway_journal_posts_total"] == 21
    assert seen["gateway_journal_commit_seconds_count"] == 2
    assert seen["gateway_config_ok"] == 0


def test_state_is_read_when_somebody_scrapes(metrics: Metrics) -> None:
    admission, journal = Admission(), Journal()
    metrics.observe(lambda: admission, lambda: journal, lambda: True, connections=lambda: 12)

    seen = samples(metrics)
    assert seen['gateway_queue_length{detached="false",upstream="openai"}'] == 2
    assert seen['gateway_queue_length{detached="true",upstream="openai"}'] == 5
    assert seen['gateway_in_flight{upstream="openai"}'] == 3
    assert seen['gateway_max_in_flight{upstream="openai"}'] == 100
    assert seen['gateway_open_calls{upstream="openai"}'] == 10
    assert seen["gateway_client_connections"] == 12
    assert seen["gateway_journal_pending_posts"] == 4
    assert seen["gateway_journal_dropped_bytes_total"] == 9

    admission.upstreams = {"local": Slots(in_flight=1, paused=True)}

    seen = samples(metrics)
    assert 'gateway_in_flight{upstream="openai"}' not in seen
    assert seen['gateway_in_flight{upstream="local"}'] == 1
    assert seen['gateway_paused{upstream="local"}'] == 1


def test_records_are_parked_only_while_the_journal_cannot_be_written(metrics: Metrics) -> None:
    is_available = True
    metrics.observe(Admission, Journal, lambda: is_available)

    assert samples(metrics)["gateway_journal_available"] == 1
    assert samples(metrics)["gateway_journal_parked_records"] == 0

    is_available = False

    assert samples(metrics)["gateway_journal_available"] == 0
    assert samples(metrics)["gateway_journal_parked_records"] == 4


def test_every_metric_is_named_before_anything_happened(metrics: Metrics) -> None:
    named = metrics.names()

    metrics.call_finished("openai", "succeeded", 1.0, 0.0)
    metrics.observe(Admission, Journal, lambda: True, connections=lambda: 0)
    written = [
        line.split()[2]
        for line in metrics.render().decode().splitlines()
        if line.startswith("# TYPE ")
    ]

    assert sorted(written) == named == metrics.names()
    assert all(name.startswith("gateway_") for name in named)


def test_two_gateways_in_one_process_count_apart(metrics: Metrics) -> None:
    metrics.refused("queue_full")

    assert 'gateway_refused_total{code="queue_full"}' not in samples(Metrics())


async def test_work_that_holds_the_event_loop_shows_as_lag() -> None:
    lags: asyncio.Queue[float] = asyncio.Queue()

    class Watched(Metrics):
        @override
        def loop_lag(self, seconds: float) -> None:
            lags.put_nowait(seconds)

    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(watch_loop_lag(Watched(), interval_s=0.01))
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251 - on purpose
        lag = await lags.get()
        watch.cancel()

    assert lag >= 0.04


def test_a_late_wake_up_counts_as_lag(metrics: Metrics) -> None:
    metrics.loop_lag(0.3)

    seen = samples(metrics)
    assert pytest.approx(0.3) == seen["gateway_loop_lag_last_seconds"]
    assert seen['gateway_loop_lag_seconds_bucket{le="0.25"}'] == 0
    assert seen['gateway_loop_lag_seconds_bucket{le="1.0"}'] == 1
