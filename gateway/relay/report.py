"""What is told about calls and attempts as they end: the canonical log line, and the numbers."""

import logging

import structlog

from gateway.call import Attempt, Call, Outcome, Status
from gateway.relay.breaker import BreakerState
from gateway.telemetry.metrics import Metrics

_BREAKER_EVENTS = {
    BreakerState.OPEN: "breaker_opened",
    BreakerState.HALF_OPEN: "breaker_half_opened",
    BreakerState.RECOVERING: "breaker_recovering",
    BreakerState.CLOSED: "breaker_closed",
}
_EVENTS = {status: f"call_{status}" for status in Status}


class Report:
    """Tells the log and the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger().bind()  # a lazy logger binds itself anew at every line

    def attempt_ended(self, attempt: Attempt) -> None:
        """Count *attempt*."""
        first_byte_s = attempt.first_byte_at and attempt.first_byte_at - attempt.started_at
        outcome = str(attempt.outcome or Outcome.CANCELLED)
        self._metrics.attempt_finished(
            attempt.upstream, outcome, first_byte_s, is_retry=attempt.number > 1
        )

    def attempt_failed(self, call: Call, attempt: Attempt) -> None:
        """Another attempt follows *attempt*."""
        self._log.info(
            "attempt_failed",
            call_id=call.id,
            attempt=attempt.number,
            status=attempt.status,
            error=attempt.failure and attempt.failure.code,
            backoff_s=attempt.backoff_s and round(attempt.backoff_s, 3),
        )

    def breaker_changed(self, upstream: str, state: BreakerState) -> None:
        """*upstream* is left alone, tried, or trusted again."""
        level = logging.WARNING if state is BreakerState.OPEN else logging.INFO
        self._log.log(level, _BREAKER_EVENTS[state], upstream=upstream)

    def call_ended(self, call: Call) -> None:
        """The one canonical line of a final *call*."""
        duration_ms = call.duration_ms or 0.0
        self._metrics.call_finished(
            call.upstream, str(call.status), duration_ms / 1000, call.queued_ms / 1000
        )
        usage = call.usage
        if usage is not None and call.request.method == "POST":  # polling a result costs no tokens
            self._metrics.tokens(call.upstream, usage.input_tokens, usage.output_tokens)
        self._log.info(
            _EVENTS[call.status],
            call_id=call.id,
            upstream=call.upstream,
            method=call.request.method,
            path=call.request.path,
            model=call.model,
            status=call.answer and call.answer.status,
            attempts=len(call.attempts),
            queued_ms=round(call.queued_ms, 1),
            duration_ms=round(duration_ms, 1),
            bytes=call.answer.body_bytes if call.answer else 0,
            error=call.failure and call.failure.code,
            client_gone=call.client_gone,
        )
