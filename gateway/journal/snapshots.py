"""A call in RAM as a list shows it, made without reading the file and cheaply enough for each change.

Invariant: this is what `shapes` makes of the call's record, field for field, held by
`tests/web/test_events.py`. A record knows of an answer once its call is final, or something else was
written of the call meanwhile; so the answer of an open call is left out here. A preview is written
behind the end of a call, so there is none yet.
"""

from collections.abc import Mapping

from gateway.call import Call, Failure, OnDisconnect, Usage, is_taken_up
from gateway.journal.redaction import redact_query, redact_target
from gateway.journal.rows import optional_text, text
from gateway.journal.shapes import Json, moment


def live_json(call: Call, *, cut: bool = False) -> Json:
    """Where *call* stands now; *cut*: its answer could not be recorded whole.

    `queue_position` and `eta_s` are for admission to say.
    """
    request, options = call.request, call.options
    is_final = call.finished_at is not None
    reason, duration_ms, finished_at = call.wait_reason, call.duration_ms, moment(call.finished_at)
    return {
        "object": "call",
        "id": call.id,
        "status": call.status.value,
        "wait_reason": None if reason is None else reason.value,
        "queue_position": None,
        "eta_s": None,
        "method": request.method,
        "path": text(request.path),
        "query": redact_query(text(request.query)) if request.query else "",
        "model": optional_text(call.model),
        "stream": call.stream,
        "upstream": call.upstream,
        "key": call.key_id,
        "priority": options.priority,
        "tags": _tags(options.tags),
        "created_at": moment(call.created_at),
        "started_at": moment(call.started_at),
        "first_byte_at": moment(call.first_byte_at),
        "finished_at": finished_at,
        "deadline_at": moment(call.deadline_at),
        "queued_ms": round(call.queued_ms, 3),
        "duration_ms": None if duration_ms is None else round(duration_ms, 3),
        "attempts_count": len(call.attempts),
        "request": {"content_type": request.content_type, "bytes": request.body_bytes},
        "response": _response(call, cut=cut) if is_final else None,
        "usage": _usage(call.usage),
        "cost_usd": None,
        "error": _error(call.failure),
        "replay_of": call.replay_of,
        "replays": [],
        "idempotency_key": optional_text(options.idempotency_key),
        "fairness_key": optional_text(options.fairness_key),
        "webhook": _webhook(options.webhook, finished_at),
        "client_waited": call.client_waited,
        "client_gone": call.client_gone,
        "survives_restart": not is_final
        and is_taken_up(
            detached=call.detached,
            keyed=options.idempotency_key is not None,
            client_gone=call.client_gone,
            finishes=call.on_disconnect is OnDisconnect.FINISH,
            needs_secret=call.needs_secret,
        ),
        "preview": None,
    }


def _response(call: Call, *, cut: bool) -> Json | None:
    answer = call.answer
    if answer is None:
        return None
    return {
        "status": answer.status,
        "content_type": answer.content_type,
        "bytes": answer.body_bytes,
        "complete": answer.complete and not cut,
    }


def _tags(tags: Mapping[str, str]) -> Json:
    return {text(name): text(value) for name, value in tags.items()} if tags else {}


def _usage(usage: Usage | None) -> Json | None:
    if usage is None:
        return None
    read, written, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
    if read is None and written is None and total is None:
        return None
    return {"input_tokens": read, "output_tokens": written, "total_tokens": total}


def _error(failure: Failure | None) -> Json | None:
    if failure is None:
        return None
    return {"code": failure.code, "message": text(failure.message)}


def _webhook(url: str | None, finished_at: str | None) -> Json | None:
    """It waits for the end of the call, and is due then."""
    if url is None:
        return None
    shown: Json = {"url": redact_target(text(url)), "status": "pending", "attempts": 0}
    return shown | {"next_at": finished_at, "last_status": None}
