"""What a stop or a crash does to a call that is not final. Pure.

Source: CONTRACT, Restart: a start takes up what somebody can come back for and what the journal
holds whole; everything else ends `failed` with `interrupted`.
"""

from gateway import config
from gateway.call import Attempt, Call, Failure, OnDisconnect, Outcome, Status, is_taken_up
from gateway.relay.live_call import Ended


def survives_restart(call: Call) -> bool:
    """Whether a start would take *call* up: somebody can come back for it, and nothing is missing."""
    return is_taken_up(
        detached=call.detached,
        keyed=call.options.idempotency_key is not None,
        client_gone=call.client_gone,
        finishes=call.on_disconnect is OnDisconnect.FINISH,
        needs_secret=call.needs_secret,
    )


def cut_by_crash(attempt: Attempt, now: float) -> None:
    """*attempt* was in flight when the process died: it counts, and nobody knows what it did."""
    attempt.outcome, attempt.ambiguous, attempt.finished_at = Outcome.INTERRUPTED, True, now
    attempt.failure = Failure(code="interrupted", message="the gateway died during this attempt")


def end_at_start(call: Call, upstream: config.Upstream | None, *, was_cut: bool) -> Ended | None:
    """How a start ends *call* as the last process left it; None: it is taken up.

    *upstream* is None where the config no longer has it. *was_cut*: an attempt was in flight.
    """
    if upstream is None:
        return _failed("unknown_upstream", f"no upstream {call.upstream} is configured any more")
    if not survives_restart(call):
        return _failed("interrupted", "the gateway stopped; nobody could come back for this call")
    spent = call.attempts_used >= call.max_attempts
    if was_cut and (upstream.on_interrupted == "fail" or spent):
        return _failed("interrupted", "the gateway died while the upstream worked on this call")
    return None


def end_at_stop(call: Call, upstream: config.Upstream) -> Ended:
    """How a graceful stop leaves *call*: queued for the next start, or failed."""
    in_flight = call.open_attempt is not None
    back = survives_restart(call) and not (in_flight and upstream.on_interrupted == "fail")
    failure = Failure(code="interrupted", message="the gateway stopped before the call was done")
    return Ended(Status.QUEUED if back else Status.FAILED, failure)


def _failed(code: str, message: str) -> Ended:
    return Ended(Status.FAILED, Failure(code=code, message=message))
