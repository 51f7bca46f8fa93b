"""What the last process left: the calls that were open, rebuilt without their bodies.

A call taken up costs about a kilobyte, so that 100,000 may wait: the request's body and headers
stay in the journal, equal strings and equal options are one object.
"""

import sqlite3
from collections import defaultdict
from functools import lru_cache
from sys import intern
from typing import Any

from pydantic_core import from_json

from gateway.call import (
    Attempt,
    Call,
    Failure,
    Headers,
    OnDisconnect,
    Options,
    Outcome,
    Request,
    Status,
    WaitReason,
)

# One statement a status: each has its own partial index, which `IN` would not use.
CALLS = """
SELECT calls.seq, id, created_ms, method, path, query, upstream, target, model, stream, client,
       address, key_id, fingerprint, replay_of, max_attempts, deadline_ms, on_disconnect,
       needs_secret, request_type, request_bytes, sha256,
       priority, fairness_key, queue_timeout_s, tags, idempotency_key, webhook, retry_count,
       version, status, wait_reason, detached, client_waited, client_gone, started_ms,
       first_byte_ms, queued_ms, open_attempt, open_started_ms,
       (SELECT sum(length(data)) FROM parts WHERE parts.seq = calls.seq AND attempt = open_attempt)
FROM calls JOIN requests USING (seq) WHERE status = '{status}' ORDER BY calls.seq
"""

ATTEMPTS = """
SELECT attempts.seq, number, attempts.upstream, attempts.started_ms, attempts.first_byte_ms,
       attempts.finished_ms, outcome, attempts.status, headers, attempts.error_code,
       attempts.error_message, retry_after_s, backoff_s, ambiguous, counts, body_bytes, sha256,
       attempts.complete
FROM calls JOIN attempts USING (seq) WHERE calls.status = '{status}' ORDER BY seq, number
"""


def open_calls(connection: sqlite3.Connection) -> list[Call]:
    """Every call that is queued or running, oldest first.

    Its open attempt, if any, is the last of its attempts, with the bytes recorded of it. Request
    headers are (), the body is None. Headers come back redacted.
    """
    calls = []
    for status in (Status.QUEUED, Status.RUNNING):
        attempts: dict[int, list[Attempt]] = defaultdict(list)
        for seq, *row in connection.execute(ATTEMPTS.format(status=status)):
            attempts[seq].append(_attempt(row))
        for row in connection.execute(CALLS.format(status=status)):
            call = _call(row)
            call.attempts = attempts.get(call.seq, []) + call.attempts
            calls.append(call)
    calls.sort(key=lambda call: call.seq)
    return calls


def _call(row: tuple[Any, ...]) -> Call:
    # fmt: off
    (seq, call_id, created_ms, method, path, query, upstream, target, model, stream, client,
     address, key_id, fingerprint, replay_of, max_attempts, deadline_ms, on_disconnect,
     needs_secret, request_type, request_bytes, sha256,
     priority, fairness_key, queue_timeout_s, tags, idempotency_key, webhook, retry_count,
     version, status, wait_reason, detached, client_waited, client_gone, started_ms,
     first_byte_ms, queued_ms, open_attempt, open_started_ms, open_bytes) = row
    # fmt: on
    call = Call(
        seq=seq,
        id=call_id,
        request=Request(
            method=intern(method),
            path=intern(path),
            query=intern(query),
            headers=(),
            body=None,
            body_bytes=request_bytes,
            sha256=sha256,
            kept_type=request_type and intern(request_type),
        ),
        options=_options(
            priority,
            fairness_key,
            queue_timeout_s,
            tags,
            idempotency_key,
            webhook,
            retry_count,
            bool(detached),
        ),
        client=intern(client),
        address=intern(address),
        upstream=intern(upstream),
        target=intern(target),
        model=model and intern(model),
        stream=bool(stream),
        on_disconnect=OnDisconnect(on_disconnect),
        max_attempts=max_attempts,
        created_at=created_ms / 1000,
        deadline_at=_seconds(deadline_ms),
        key_id=key_id and intern(key_id),
        replay_of=replay_of,
        needs_secret=bool(needs_secret),
        fingerprint=fingerprint,
        status=Status(status),
        wait_reason=wait_reason and WaitReason(wait_reason),
        detached=bool(detached),
        client_waited=bool(client_waited),
        client_gone=bool(client_gone),
        started_at=_seconds(started_ms),
        first_byte_at=_seconds(first_byte_ms),
        queued_ms=queued_ms,
        version=version,
    )
    if open_attempt is not None:
        call.attempts.append(
            Attempt(
                number=open_attempt,
                upstream=call.upstream,
                started_at=open_started_ms / 1000,
                body_bytes=open_bytes or 0,
            )
        )
    return call


@lru_cache(maxsize=256)
def _options(
    priority: int,
    fairness_key: str | None,
    queue_timeout_s: float | None,
    tags: str,
    idempotency_key: str | None,
    webhook: str | None,
    retry_count: int,
    detached: bool,
) -> Options:
    return Options(
        priority=priority,
        fairness_key=fairness_key,
        queue_timeout_s=queue_timeout_s,
        tags=from_json(tags),
        idempotency_key=idempotency_key,
        webhook=webhook,
        retry_count=retry_count,
        detached=detached,
    )


def _attempt(row: list[Any]) -> Attempt:
    # fmt: off
    (number, upstream, started_ms, first_byte_ms, finished_ms, outcome, status, headers, error_code,
     error_message, retry_after_s, backoff_s, ambiguous, counts, body_bytes, sha256, complete) = row
    # fmt: on
    return Attempt(
        number=number,
        upstream=intern(upstream),
        started_at=started_ms / 1000,
        first_byte_at=_seconds(first_byte_ms),
        finished_at=finished_ms / 1000,
        outcome=Outcome(outcome),
        status=status,
        headers=_headers(headers),
        failure=Failure(code=error_code, message=error_message) if error_code else None,
        retry_after_s=retry_after_s,
        backoff_s=backoff_s,
        ambiguous=bool(ambiguous),
        counts=bool(counts),
        body_bytes=body_bytes,
        sha256=sha256,
        complete=bool(complete),
    )


def _headers(stored: str) -> Headers:
    return tuple(
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in from_json(stored)
    )


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
