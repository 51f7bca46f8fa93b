"""Metrics: what Prometheus reads at `/-/metrics`.

Events (a call ended, a commit was made) are counted as they happen, on children bound once for
each set of labels. State (queues, slots, the journal's backlog) is read from the parts' own
snapshots when somebody scrapes (`gauges.py`), so keeping it costs a call nothing.

Invariant: label values are names of configured upstreams or members of closed sets, never
anything a client sent. Every object has its own registry, so a process may hold many.
"""

import asyncio
import platform
from collections.abc import Callable
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

from gateway import __version__
from gateway.telemetry.gauges import AdmissionState, JournalState, StateGauges

# A second series for every counter, which nobody asked for.
disable_created_metrics()  # type: ignore[no-untyped-call]

CALL_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900,
)  # fmt: skip
COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


M = TypeVar("M", bound=MetricWrapperBase)


class _Children(dict[tuple[str, ...], M], Generic[M]):
    """The children of a metric by their labels' values; its own look-up costs ten times this."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> M:
        child = self[labels] = self._metric.labels(*labels)
        return child


class Metrics:
    """Counts what happens, and shows it beside what is."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=True)

        def counter(name: str, help_text: str, *labels: str) -> _Children[Counter]:
            return _Children(Counter(name, help_text, labels, registry=registry))

        def by_upstream(name: str, help_text: str) -> _Children[Histogram]:
            return _Children(
                Histogram(name, help_text, ["upstream"], buckets=CALL_BUCKETS, registry=registry)
            )

        self._calls = counter(
            "gateway_calls", "Calls that reached a final status.", "upstream", "status"
        )
        self._durations = by_upstream(
            "gateway_call_duration_seconds", "From acceptance to the final status."
        )
        self._queue_waits = by_upstream(
            "gateway_queue_wait_seconds", "How long a call waited for slots in all."
        )
        self._attempts = counter("gateway_attempts", "Attempts that ended.", "upstream", "outcome")
        self._retries = counter(
            "gateway_retries", "Attempts that ended and were not their call's first.", "upstream"
        )
        self._first_bytes = by_upstream(
            "gateway_first_byte_seconds", "From an attempt's start to its answer's first byte."
        )
        self._tokens = counter(
            "gateway_tokens", "Tokens as the upstreams counted them.", "upstream", "direction"
        )
        self._refused = counter(
            "gateway_refused", "Requests refused before they became a call.", "code"
        )
        self._crashes = counter(
            "gateway_background_crashes", "Crashes of tasks that are started again.", "task"
        )
        self._commits = Histogram(
            "gateway_journal_commit_seconds", "One round of the journal's writer.",
            buckets=COMMIT_BUCKETS, registry=registry,
        )  # fmt: skip
        self._commits_total = Counter(
            "gateway_journal_commits", "Transactions committed.", registry=registry
        )
        self._posts = Counter(
            "gateway_journal_posts", "Records written by these transactions.", registry=registry
        )
        self._lags = Histogram(
            "gateway_loop_lag_seconds", "How late the event loop woke a task.",
            buckets=LAG_BUCKETS, registry=registry,
        )  # fmt: skip
        self.lag_s = 0.0  #: the event loop's, as last measured
        self._last_lag = Gauge(
            "gateway_loop_lag_last_seconds", "The last of these lags.", registry=registry
        )
        self._config_ok = Gauge(
            "gateway_config_ok", "1; 0 where the last reload was refused.", registry=registry
        )
        self._config_ok.set(1)
        build = Gauge("gateway_build_info", "Always 1.", ["version", "python"], registry=registry)
        build.labels(__version__, platform.python_version()).set(1)
        self._gauges = StateGauges()
        registry.register(self._gauges)

    def observe(
        self,
        admission: Callable[[], AdmissionState],
        journal: Callable[[], JournalState],
        journal_available: Callable[[], bool],
        *,
        connections: Callable[[], int] | None = None,
        arriving_bytes: Callable[[], int] | None = None,
    ) -> None:
        """Read these at every scrape; *connections* are those of clients, open now.

        *arriving_bytes* is what the budget for request bodies that arrive has given out.
        """
        self._gauges.admission = admission
        self._gauges.journal = journal
        self._gauges.journal_available = journal_available
        self._gauges.connections = connections
        self._gauges.arriving_bytes = arriving_bytes

    def call_finished(self, upstream: str, status: str, duration_s: float, queued_s: float) -> None:
        """Count a call that reached its final *status*."""
        self._calls[upstream, status].inc()
        self._durations[upstream,].observe(duration_s)
        self._queue_waits[upstream,].observe(queued_s)

    def attempt_finished(
        self, upstream: str, outcome: str, first_byte_s: float | None, *, is_retry: bool = False
    ) -> None:
        """Count an attempt; *first_byte_s* since its start, None where no byte came."""
        self._attempts[upstream, outcome].inc()
        if first_byte_s is not None:
            self._first_bytes[upstream,].observe(first_byte_s)
        if is_retry:
            self._retries[upstream,].inc()

    def tokens(self, upstream: str, input_tokens: int | None, output_tokens: int | None) -> None:
        """Count what an answer reported."""
        self._tokens[upstream, "input"].inc(input_tokens or 0)
        self._tokens[upstream, "output"].inc(output_tokens or 0)

    def refused(self, code: str) -> None:
        """Count a request that made no call; *code* is one of `errors`."""
        self._refused[code,].inc()

    def background_crashed(self, task: str) -> None:
        """Count a crash of a task that runs as long as the process; *task* is one of a few names."""
        self._crashes[task,].inc()

    def commit(self, seconds: float, posts: int) -> None:
        """Count a commit of the journal's and the *posts* in it."""
        self._commits.observe(seconds)
        self._commits_total.inc()
        self._posts.inc(posts)

    def loop_lag(self, seconds: float) -> None:
        """Count one measurement of the event loop's lag."""
        self.lag_s = seconds
        self._lags.observe(seconds)
        self._last_lag.set(seconds)

    def config_ok(self, ok: bool) -> None:
        """Tell whether the config file, as last read, is the one in force."""
        self._config_ok.set(ok)

    def render(self) -> bytes:
        """Return everything as `text/plain; version=0.0.4; charset=utf-8`."""
        return generate_latest(self._registry)

    def names(self) -> list[str]:
        """Return the name of every metric, as `render` writes it in its `# TYPE` line."""
        return sorted(
            f"{metric.name}_total" if metric.type == "counter" else metric.name
            for metric in self._registry.collect()
        )


async def watch_loop_lag(
    metrics: Metrics, interval_s: float = 0.5, *, each: Callable[[], None] = lambda: None
) -> None:
    """Measure, until cancelled, how much later than asked the event loop wakes this task.

    Calls *each* at each turn.
    """
    loop = asyncio.get_running_loop()
    while True:
        asleep_at = loop.time()
        await asyncio.sleep(interval_s)
        metrics.loop_lag(max(0.0, loop.time() - asleep_at - interval_s))
        each()
