"""A call as rows: what each table stores of it, taken at the instant of asking.

Credentials are redacted here (`redaction.py`), so no row ever holds one. Column names stand beside
the functions that fill them, in the same order; `test_rows.py` compares them with the schema.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic_core import to_json

from gateway.call import Attempt, Call, Failure, Headers, Part
from gateway.journal.redaction import redact_headers, redact_query, redact_target

#: What SQLite stores. To bind `None` costs ten times as much as an int (measured: 700 ns against
#: 70), so in each table the columns that mostly are NULL, all together, come last: see `Columns`.
Row: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns: those that have values, and then those that mostly have none."""

    usual: tuple[str, ...]
    rare: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in the order of the rows."""
        return self.usual + self.rare


CALL = Columns(
    (
        "seq", "id", "created_ms", "method", "path", "query", "upstream", "target", "model",
        "stream", "priority", "client", "address", "tags", "fingerprint", "retry_count",
        "max_attempts", "on_disconnect", "needs_secret", "request_type", "request_bytes",
        "version", "status", "detached", "client_waited", "client_gone", "started_ms", "queued_ms",
        "wait_reason", "open_attempt", "open_started_ms",
    ),
    (
        "fairness_key", "key_id", "idempotency_key", "replay_of", "webhook", "queue_timeout_s",
        "deadline_ms",
    ),
)  # fmt: skip


def new_call(call: Call) -> Row:
    """A call when it is accepted: what never changes, and where it stands."""
    request, options = call.request, call.options
    return (
        call.seq,
        call.id,
        _ms(call.created_at),
        request.method,
        text(request.path),
        redact_query(text(request.query)),
        call.upstream,
        redact_target(text(call.target)),
        optional_text(call.model),
        int(call.stream),
        options.priority,
        call.client,
        call.address,
        _tags(options.tags),
        call.fingerprint,
        options.retry_count,
        call.max_attempts,
        call.on_disconnect.value,
        int(call.needs_secret),
        request.content_type,
        request.body_bytes,
        *_standing(call),
        *_waiting(call),
        optional_text(options.fairness_key),
        call.key_id,
        optional_text(options.idempotency_key),
        call.replay_of,
        optional_text(options.webhook),
        options.queue_timeout_s,
        _optional_ms(call.deadline_at),
    )


STATE = Columns(
    (
        "seq", "version", "status", "detached", "client_waited", "client_gone", "started_ms",
        "queued_ms", "first_byte_ms", "finished_ms", "duration_ms", "answer", "http_status",
        "response_type", "response_bytes", "complete", "input_tokens", "output_tokens",
        "total_tokens",
    ),
    ("wait_reason", "open_attempt", "open_started_ms", "error_code", "error_message"),
)  # fmt: skip


def state(call: Call, *, cut: bool = False) -> Row:
    """Where *call* stands, and how it ended if it has; *cut*: its answer is here only in part."""
    answer, usage = call.answer, call.usage
    return (
        call.seq,
        *_standing(call),
        _optional_ms(call.first_byte_at),
        _optional_ms(call.finished_at),
        call.duration_ms,
        *(
            (
                answer.number,
                answer.status,
                answer.content_type,
                answer.body_bytes,
                int(answer.complete and not cut),
            )
            if answer
            else (None, None, None, None, None)
        ),
        *(
            (usage.input_tokens, usage.output_tokens, usage.total_tokens)
            if usage
            else (None, None, None)
        ),
        *_waiting(call),
        *_failure(call.failure),
    )


REQUEST = Columns(("seq", "headers", "sha256"))


def request(call: Call) -> Row:
    """The request's headers and hash."""
    return (call.seq, _headers(call.request.headers), call.request.sha256)


ATTEMPT = Columns(
    (
        "seq", "number", "upstream", "started_ms", "first_byte_ms", "finished_ms", "outcome",
        "status", "headers", "ambiguous", "counts", "body_bytes", "sha256", "complete",
    ),
    ("error_code", "error_message", "retry_after_s", "backoff_s"),
)  # fmt: skip


def attempt(call: Call, ended: Attempt, *, cut: bool = False) -> Row:
    """An attempt of *call* that has ended; *cut*: its answer is here only in part."""
    return (
        call.seq,
        ended.number,
        ended.upstream,
        _ms(ended.started_at),
        _optional_ms(ended.first_byte_at),
        _optional_ms(ended.finished_at),
        ended.outcome.value if ended.outcome else None,
        ended.status,
        _headers(ended.headers),
        int(ended.ambiguous),
        int(ended.counts),
        ended.body_bytes,
        ended.sha256,
        int(ended.complete and not cut),
        *_failure(ended.failure),
        ended.retry_after_s,
        ended.backoff_s,
    )


PART = Columns(("seq", "attempt", "start", "data"), ("chunks",))


def part(call: Call, piece: Part) -> Row:
    """A piece of a body of *call*."""
    chunks = to_json(piece.chunks).decode() if piece.chunks else None
    return (call.seq, piece.attempt, piece.start, piece.data, chunks)


def _standing(call: Call) -> Row:
    return (
        call.version,
        call.status.value,
        int(call.detached),
        int(call.client_waited),
        int(call.client_gone),
        _optional_ms(call.started_at),
        call.queued_ms,
    )


def _waiting(call: Call) -> Row:
    """For what it waits, or the attempt that is in flight."""
    attempt = call.open_attempt
    return (
        call.wait_reason.value if call.wait_reason else None,
        attempt.number if attempt else None,
        _ms(attempt.started_at) if attempt else None,
    )


def _failure(failure: Failure | None) -> Row:
    return (failure.code, text(failure.message)) if failure else (None, None)


def _headers(headers: Headers) -> str:
    return to_json(redact_headers(headers)).decode()


def _tags(tags: Mapping[str, str]) -> str:
    return to_json({text(key): text(tags[key]) for key in tags}).decode() if tags else "{}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000 + 0.5)


def _optional_ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000 + 0.5)


#: How Python spells a byte that was not UTF-8 (PEP 383). SQLite's text cannot hold it.
_STRAY_BYTE = re.compile("[\ud800-\udfff]")


def text(raw: str) -> str:
    """*raw* with stray bytes percent-encoded, which in a request target means the same."""
    if raw.isascii():
        return raw
    return _STRAY_BYTE.sub(lambda byte: f"%{ord(byte[0]) & 0xFF:02X}", raw)


def optional_text(raw: str | None) -> str | None:
    """The same where there may be none."""
    return None if raw is None else text(raw)
