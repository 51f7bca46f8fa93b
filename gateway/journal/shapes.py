"""A call as JSON: the one shape in which the API, the commands and webhooks show it.

Every field is always there. A list leaves out, unless expanded, `attempts` and the `headers` and
`sha256` of request and response. Times are RFC 3339, UTC, with milliseconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

from pydantic import JsonValue
from pydantic_core import from_json

from gateway.journal.records import AttemptRow, CallRecord, CallRow, Preview, header_fields
from gateway.journal.redaction import redact_target
from gateway.journal.selects import Page

Json: TypeAlias = dict[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What only the running gateway knows of an open call."""

    wait_reason: str | None = None
    queue_position: int | None = None  #: from 1
    eta_s: float | None = None  #: until it has its answer
    first_byte_at: float | None = None  #: of any attempt; seconds since the epoch
    attempt_first_byte_at: float | None = None  #: of the attempt in flight


def call_json(record: CallRecord, *, live: Live | None = None, expand: bool = True) -> Json:
    """The call of *record*; without *expand* as lists have it."""
    row = record.row
    live = live or Live(wait_reason=row.wait_reason)
    attempts: Json = {"attempts": _attempts(record, live)} if expand else {}
    return {
        "object": "call",
        "id": row.id,
        "status": row.status,
        "wait_reason": live.wait_reason,
        "queue_position": live.queue_position,
        "eta_s": live.eta_s,
        "method": row.method,
        "path": row.path,
        "query": row.query,
        "model": row.model,
        "stream": bool(row.stream),
        "upstream": row.upstream,
        "key": row.key_id,
        "priority": row.priority,
        "tags": from_json(row.tags),
        "created_at": rfc3339(row.created_ms),
        "started_at": rfc3339(row.started_ms),
        "first_byte_at": rfc3339(row.first_byte_ms) or moment(live.first_byte_at),
        "finished_at": rfc3339(row.finished_ms),
        "deadline_at": rfc3339(row.deadline_ms),
        "queued_ms": round(row.queued_ms, 3),
        "duration_ms": None if row.duration_ms is None else round(row.duration_ms, 3),
        "attempts_count": max(record.ended_attempts, row.open_attempt or 0),
        **attempts,
        "request": _request(record, expand=expand),
        "response": _response(record, expand=expand),
        "usage": _usage(row),
        "cost_usd": None,
        "error": _error(row.error_code, row.error_message),
        "replay_of": row.replay_of,
        "replays": list(record.replays),
        "idempotency_key": row.idempotency_key,
        "fairness_key": row.fairness_key,
        "webhook": _webhook(record),
        "client_waited": bool(row.client_waited),
        "client_gone": bool(row.client_gone),
        "survives_restart": record.survives_restart,
    }


def page_json(page: Page, calls: Iterable[Json]) -> Json:
    """A list: *page* whose calls are shown as *calls*, each with a preview."""
    ids = [record.id for record in page.records]
    return {
        "object": "list",
        "data": [
            {**call, "preview": _preview(record.preview)}
            for call, record in zip(calls, page.records, strict=True)
        ],
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": page.has_more,
        "searched_back_to": rfc3339(page.searched_to_ms),
        "next_cursor": page.cursor.text() if page.cursor else None,
    }


def _preview(preview: Preview | None) -> Json | None:
    return {"request": preview.request, "answer": preview.answer} if preview else None


def rfc3339(milliseconds: int | None) -> str | None:
    """A time in *milliseconds* since the epoch as `2026-11-22T17:00:00.123Z`."""
    if milliseconds is None:
        return None
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_to_the_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=1024)  # the times of a call, and of a page of calls, are mostly of few seconds
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def moment(seconds: float | None) -> str | None:
    """A time in *seconds* since the epoch, likewise."""
    return None if seconds is None else rfc3339(int(seconds * 1000 + 0.5))


def _attempts(record: CallRecord, live: Live) -> list[JsonValue]:
    """Those that have ended, and the one in flight."""
    row = record.row
    attempts: list[JsonValue] = [_attempt(attempt) for attempt in record.attempts]
    if row.open_attempt is not None and record.attempt(row.open_attempt) is None:
        attempts.append(
            {
                "number": row.open_attempt,
                "upstream": row.upstream,
                "started_at": rfc3339(row.open_started_ms),
                "first_byte_at": moment(live.attempt_first_byte_at),
                "finished_at": None,
                "outcome": None,
                "status": row.http_status if row.answer == row.open_attempt else None,
                "error": None,
                "retry_after_s": None,
                "backoff_s": None,
                "ambiguous": False,
                "content_type": None,
                "bytes": None,
                "complete": False,
                "sha256": None,
                "headers": None,
            }
        )
    return attempts


def _attempt(attempt: AttemptRow) -> Json:
    return {
        "number": attempt.number,
        "upstream": attempt.upstream,
        "started_at": rfc3339(attempt.started_ms),
        "first_byte_at": rfc3339(attempt.first_byte_ms),
        "finished_at": rfc3339(attempt.finished_ms),
        "outcome": attempt.outcome,
        "status": attempt.status,
        "error": _error(attempt.error_code, attempt.error_message),
        "retry_after_s": attempt.retry_after_s,
        "backoff_s": attempt.backoff_s,
        "ambiguous": bool(attempt.ambiguous),
        "content_type": _content_type(attempt),
        "bytes": attempt.body_bytes,
        "complete": bool(attempt.complete),
        "sha256": attempt.sha256,
        "headers": _headers(attempt.headers),
    }


def _content_type(attempt: AttemptRow) -> str | None:
    fields = header_fields(attempt.headers)
    return next((value for name, value in fields if name.lower() == "content-type"), None)


def _request(record: CallRecord, *, expand: bool) -> Json:
    shown: Json = {"content_type": record.row.request_type, "bytes": record.row.request_bytes}
    if expand and record.request:
        shown |= {"sha256": record.request.sha256, "headers": _headers(record.request.headers)}
    return shown


def _response(record: CallRecord, *, expand: bool) -> Json | None:
    """The answer; its hash and headers are null until its attempt has ended."""
    row = record.row
    if row.answer is None:
        return None
    shown: Json = {
        "status": row.http_status,
        "content_type": row.response_type,
        "bytes": row.response_bytes,
    }
    attempt = record.attempt(row.answer)
    if expand:
        shown["sha256"] = attempt.sha256 if attempt else None
    shown["complete"] = bool(row.complete)
    if expand:
        shown["headers"] = _headers(attempt.headers) if attempt else None
    return shown


def _headers(headers: str) -> Json:
    """By name, as first spelled; the values of a repeated one joined by commas (RFC 9110 §5.3)."""
    spelled: dict[str, str] = {}
    joined: dict[str, str] = {}
    for name, value in header_fields(headers):
        known = spelled.setdefault(name.lower(), name)
        joined[known] = f"{joined[known]}, {value}" if known in joined else value
    return dict(joined)


def _usage(row: CallRow) -> Json | None:
    counted: Json = {
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "total_tokens": row.total_tokens,
    }
    return counted if any(tokens is not None for tokens in counted.values()) else None


def _error(code: str | None, message: str | None) -> Json | None:
    return None if code is None else {"code": code, "message": message}


def _webhook(record: CallRecord) -> Json | None:
    """What became of it; before the call is final it waits for that."""
    delivery = record.delivery
    if record.row.webhook is None:
        return None
    return {
        "url": redact_target(record.row.webhook),
        "status": delivery.status if delivery else "pending",
        "attempts": delivery.attempts if delivery else 0,
        "next_at": rfc3339(delivery.next_ms) if delivery else None,
        "last_status": delivery.last_status if delivery else None,
    }
