"""From an error's code to HTTP: the one table, in the dialect of the API the client speaks.

An upstream's own error never comes here; it is relayed byte for byte.
Source: CONTRACT's error table; RFC 9457 (problem details), RFC 9209 (Proxy-Status).
"""

import random
from http import HTTPStatus
from typing import Literal, NamedTuple

from pydantic_core import to_json

from gateway.errors import BadQuery, GatewayError, Refused

Dialect = Literal["openai", "anthropic", "gemini", "problem"]


class Row(NamedTuple):
    """How one code is told: status, then each vendor's word for it, then RFC 9209's."""

    status: int
    openai: str
    anthropic: str
    google: str
    proxy: str


_REQUEST, _AUTH, _LIMIT, _SERVER = (
    "invalid_request_error",
    "authentication_error",
    "rate_limit_error",
    "server_error",
)
_API, _SLOW, _BUSY = "api_error", "timeout_error", "overloaded_error"
_DENIED = "http_request_denied"

TABLE: dict[str, Row] = {
    "bad_request": Row(400, _REQUEST, _REQUEST, "INVALID_ARGUMENT", "http_request_error"),
    "unauthorized": Row(401, _AUTH, _AUTH, "UNAUTHENTICATED", _DENIED),
    "forbidden": Row(403, "permission_error", "permission_error", "PERMISSION_DENIED", _DENIED),
    "not_found": Row(404, _REQUEST, "not_found_error", "NOT_FOUND", "http_request_error"),
    "unknown_upstream": Row(404, _REQUEST, "not_found_error", "NOT_FOUND", "destination_not_found"),
    "conflict": Row(409, _REQUEST, "conflict_error", "ABORTED", "http_request_error"),
    "gone": Row(410, _REQUEST, "not_found_error", "NOT_FOUND", "http_request_error"),
    "cancelled": Row(410, _REQUEST, _API, "CANCELLED", "http_request_denied"),
    "body_too_large": Row(
        413, _REQUEST, "request_too_large", "INVALID_ARGUMENT", "http_request_error"
    ),
    "unsupported_encoding": Row(415, _REQUEST, _REQUEST, "INVALID_ARGUMENT", "http_request_error"),
    "bad_host": Row(421, _REQUEST, _REQUEST, "INVALID_ARGUMENT", "http_request_error"),
    "idempotency_mismatch": Row(422, _REQUEST, _REQUEST, "INVALID_ARGUMENT", "http_request_error"),
    "key_limit": Row(429, _LIMIT, _LIMIT, "RESOURCE_EXHAUSTED", _DENIED),
    "auth_throttled": Row(429, _LIMIT, _LIMIT, "RESOURCE_EXHAUSTED", _DENIED),
    "internal": Row(500, _SERVER, _API, "INTERNAL", "proxy_internal_error"),
    "upstream_unreachable": Row(502, _SERVER, _API, "UNAVAILABLE", "destination_unavailable"),
    "upstream_broken": Row(502, _SERVER, _API, "UNAVAILABLE", "http_response_incomplete"),
    "interrupted": Row(502, _SERVER, _API, "UNAVAILABLE", "proxy_internal_error"),
    "queue_full": Row(503, _SERVER, _BUSY, "UNAVAILABLE", "connection_limit_reached"),
    "too_many_viewers": Row(503, _SERVER, _BUSY, "UNAVAILABLE", _DENIED),
    "draining": Row(503, _SERVER, _BUSY, "UNAVAILABLE", "proxy_internal_error"),
    "journal_unavailable": Row(503, _SERVER, _BUSY, "UNAVAILABLE", "proxy_internal_error"),
    "queue_timeout": Row(504, _SERVER, _SLOW, "DEADLINE_EXCEEDED", "connection_limit_reached"),
    "connect_timeout": Row(504, _SERVER, _SLOW, "DEADLINE_EXCEEDED", "connection_timeout"),
    "first_byte_timeout": Row(504, _SERVER, _SLOW, "DEADLINE_EXCEEDED", "http_response_timeout"),
    "idle_timeout": Row(504, _SERVER, _SLOW, "DEADLINE_EXCEEDED", "connection_read_timeout"),
    "total_timeout": Row(504, _SERVER, _SLOW, "DEADLINE_EXCEEDED", "http_response_timeout"),
    "deadline_exceeded": Row(504, _SERVER, _SLOW, "DEADLINE_EXCEEDED", "http_response_timeout"),
}

MAX_RETRY_AFTER_S = 60.0  # the only range that all official SDKs treat alike


class Answer(NamedTuple):
    """An answer of the gateway's own, ready to be written."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def answer(
    code: str,
    message: str,
    *,
    dialect: Dialect,
    retry_after_s: float | None = None,
    call_id: str | None = None,
    instance: str | None = None,
    rng: random.Random | None = None,
) -> Answer:
    """The answer that tells *code* to a client of *dialect*; 429 and 503 say when to come back."""
    row = TABLE.get(code, TABLE["internal"])
    headers = [
        (
            "Content-Type",
            "application/problem+json" if dialect == "problem" else "application/json",
        ),
        ("Proxy-Status", f'gateway; error={row.proxy}; details="{code}"'),
    ]
    if row.status in (429, 503):
        wait = min(MAX_RETRY_AFTER_S, retry_after_s or 1.0)
        if rng is not None:
            wait = min(MAX_RETRY_AFTER_S, wait * (1 + rng.random() / 4))
        headers += [
            ("Retry-After", str(max(1, round(wait)))),
            ("retry-after-ms", str(round(wait * 1000))),
        ]
    if row.status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="gateway"'))
    return Answer(row.status, headers, to_json(body(code, message, dialect, call_id, instance)))


def body(
    code: str,
    message: str,
    dialect: Dialect,
    call_id: str | None = None,
    instance: str | None = None,
) -> dict[str, object]:
    """The error envelope of *dialect* as an object."""
    row = TABLE.get(code, TABLE["internal"])
    if dialect == "anthropic":
        return {
            "type": "error",
            "error": {"type": row.anthropic, "message": message, "code": code},
            "request_id": call_id,
        }
    if dialect == "gemini":
        detail = {"code": row.status, "message": message, "status": row.google}
        return {"error": {**detail, "details": [{"reason": code}]}}
    if dialect == "openai":
        return {"error": {"message": message, "type": row.openai, "param": None, "code": code}}
    return {
        "type": f"urn:gateway:{code}",
        "title": HTTPStatus(row.status).phrase,
        "status": row.status,
        "detail": message,
        "code": code,
        **({"instance": instance} if instance else {}),
    }


def stream_event(code: str, message: str, dialect: Dialect, call_id: str) -> bytes:
    """The one error event a broken event stream ends with; no `[DONE]` follows it."""
    data = to_json(body(code, message, dialect, call_id))
    name = b"event: error\n" if dialect == "anthropic" else b""
    return name + b"data: " + data + b"\n\n"


def problem(
    error: GatewayError, *, path: str, rng: random.Random | None = None, status: int | None = None
) -> Answer:
    """*error* as problem details, for everything under `/-/`; *status* where HTTP has a finer one."""
    retry_after_s = error.retry_after_s if isinstance(error, Refused) else None
    told = answer(
        error.code,
        error.message,
        dialect="problem",
        retry_after_s=retry_after_s,
        instance=path,
        rng=rng,
    )
    details: dict[str, object] = {}
    if isinstance(error, BadQuery):
        details = {"position": error.position, "hint": error.hint}
    if status is not None:
        details |= {"status": status, "title": HTTPStatus(status).phrase}
    if not details:
        return told
    details = body(error.code, error.message, "problem", None, path) | details
    return Answer(status or told.status, told.headers, to_json(details))
