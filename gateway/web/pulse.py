"""The numbers of this moment, as `/-/events` tells them once a second."""

from collections.abc import Callable

from gateway.journal.shapes import Json, rfc3339
from gateway.journal.writer import Journal
from gateway.relay.admission import Admission
from gateway.relay.standing import Standing
from gateway.relay.watching import Watch
from gateway.telemetry.metrics import Metrics


class Pulse:
    """Counts and gauges; called with how long it is since the rates were counted."""

    def __init__(
        self,
        *,
        standing: Standing,
        admission: Admission,
        journal: Journal,
        metrics: Metrics,
        watch: Watch,
        now: Callable[[], float],
    ) -> None:
        self._standing = standing
        self._admission = admission
        self._journal = journal
        self._metrics = metrics
        self._watch = watch
        self._now = now
        self._rates = 0.0, 0.0

    def __call__(self, period_s: float) -> Json:
        """The numbers; *period_s* have passed since the rates were last counted, 0: leave them."""
        if period_s:
            watch = self._watch
            self._rates = watch.finished / period_s, watch.failed / period_s
            watch.finished = watch.failed = 0
        slots = self._admission.statistics()
        oldest_s = self._standing.oldest_queued_s() if slots.queued else None
        return {
            "at": rfc3339(round(self._now() * 1000)),
            "in_flight": slots.in_flight,
            "queued": slots.queued,
            "queued_detached": slots.queued_detached,
            "open_calls": slots.open_calls,
            "finished_per_s": round(self._rates[0], 1),
            "failed_per_s": round(self._rates[1], 1),
            "oldest_queued_s": None if oldest_s is None else round(oldest_s, 1),
            "loop_lag_ms": round(self._metrics.lag_s * 1000, 2),
            "journal_pending": self._journal.statistics().pending_posts,
            "upstreams": [
                {
                    "name": name,
                    "in_flight": each.in_flight,
                    "max_in_flight": each.max_in_flight,
                    "queued": each.queued,
                    "queued_detached": each.queued_detached,
                    "paused": each.paused,
                }
                for name, each in slots.upstreams.items()
            ],
        }
