"""Gauges of state: slots, queues, the journal's backlog, read when somebody scrapes.

The parts are known by what is read of them, not by name, so telemetry imports none of them. Until
they are given, their gauges are listed without values.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override


class UpstreamState(Protocol):
    """What is read of one upstream's slots; `relay.slots.SlotsStatistics` has it."""

    @property
    def in_flight(self) -> int: ...
    @property
    def retries_in_flight(self) -> int: ...
    @property
    def max_in_flight(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def queued_detached(self) -> int: ...
    @property
    def open_calls(self) -> int: ...
    @property
    def paused(self) -> bool: ...
    @property
    def limit(self) -> int: ...
    @property
    def breaker_open(self) -> bool: ...


class AdmissionState(Protocol):
    """What is read of all slots; `relay.admission.AdmissionStatistics` has it."""

    @property
    def upstreams(self) -> Mapping[str, UpstreamState]: ...
    @property
    def max_in_flight(self) -> int: ...
    @property
    def queued_bytes(self) -> int: ...


class JournalState(Protocol):
    """What is read of the journal; `journal.writer.JournalStatistics` has it."""

    @property
    def pending_posts(self) -> int: ...
    @property
    def pending_bytes(self) -> int: ...
    @property
    def dropped_bytes(self) -> int: ...


class StateGauges(Collector):
    """Makes metrics of snapshots."""

    admission: Callable[[], AdmissionState] | None = None
    journal: Callable[[], JournalState] | None = None
    journal_available: Callable[[], bool] | None = None
    connections: Callable[[], int] | None = None
    arriving_bytes: Callable[[], int] | None = None

    @override
    def collect(self) -> Iterable[Metric]:
        """Yield every metric, in the order of README's table."""
        yield from self._slots(self.admission() if self.admission else None)
        yield from self._records(
            self.journal() if self.journal else None,
            available=self.journal_available() if self.journal_available else None,
        )
        yield GaugeMetricFamily(
            "gateway_client_connections",
            "Connections of clients, open now.",
            value=self.connections() if self.connections else None,
        )
        yield GaugeMetricFamily(
            "gateway_arriving_body_bytes",
            "Memory reserved for request bodies that arrive.",
            value=self.arriving_bytes() if self.arriving_bytes else None,
        )

    def _slots(self, state: AdmissionState | None) -> Iterator[Metric]:
        upstreams = state.upstreams.items() if state else ()
        queue = GaugeMetricFamily(
            "gateway_queue_length", "Calls waiting for a slot.", labels=["upstream", "detached"]
        )
        for upstream, slots in upstreams:
            queue.add_metric([upstream, "false"], slots.queued - slots.queued_detached)
            queue.add_metric([upstream, "true"], slots.queued_detached)
        yield queue
        for name, help_text in (
            ("in_flight", "Attempts in flight."),
            ("retries_in_flight", "Those of them that are retries."),
            ("max_in_flight", "How many may be in flight."),
            ("open_calls", "Calls that are not final."),
            ("paused", "1 while no new attempt starts."),
            ("upstream_limit", "How many may be in flight now."),
            ("upstream_breaker_open", "1 while it failed too often and is left alone."),
        ):
            gauge = GaugeMetricFamily(f"gateway_{name}", help_text, labels=["upstream"])
            for upstream, slots in upstreams:
                gauge.add_metric([upstream], getattr(slots, name.removeprefix("upstream_")))
            yield gauge
        yield GaugeMetricFamily(
            "gateway_max_in_flight_all",
            "How many attempts may be in flight, all upstreams together.",
            value=state.max_in_flight if state else None,
        )
        yield GaugeMetricFamily(
            "gateway_queued_body_bytes",
            "Request bodies that waiting calls hold in memory.",
            value=state.queued_bytes if state else None,
        )

    def _records(self, state: JournalState | None, *, available: bool | None) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "gateway_journal_available", "1 while it can be written.", value=available
        )
        yield GaugeMetricFamily(
            "gateway_journal_pending_posts",
            "Records on their way to a commit.",
            value=state.pending_posts if state else None,
        )
        yield GaugeMetricFamily(
            "gateway_journal_pending_bytes",
            "Bodies among them.",
            value=state.pending_bytes if state else None,
        )
        parked = state.pending_posts if state and not available else 0
        yield GaugeMetricFamily(
            "gateway_journal_parked_records",
            "Records that wait in memory until the journal can be written again.",
            value=parked if state else None,
        )
        yield CounterMetricFamily(
            "gateway_journal_dropped_bytes",
            "Bodies that found no room while the journal could not be written.",
            value=state.dropped_bytes if state else None,
        )
