"""Calls to record, a journal whose writer runs, and a look at what is in its file."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from gateway.call import (
    Attempt,
    Call,
    OnDisconnect,
    Options,
    Outcome,
    Request,
    Status,
)
from gateway.journal.writer import Journal, open_journal

NOW = 1_800_000_000.0  # a wall clock that stands still


def make_call(seq: int, *, body: bytes = b'{"model":"m"}', **changes: Any) -> Call:
    """A queued call as relay makes it; *changes* set fields of the call or of its request."""
    request = {name: changes.pop(name) for name in ("query", "headers", "path") if name in changes}
    return Call(
        **{
            "seq": seq,
            "id": f"call_{seq:026}",
            "request": Request(
                **{
                    "method": "POST",
                    "path": "/v1/chat/completions",
                    "query": "",
                    "headers": ((b"Content-Type", b"application/json"),),
                    "body": body,
                    "body_bytes": len(body),
                    "sha256": hashlib.sha256(body).hexdigest(),
                    **request,
                }
            ),
            "options": Options(),
            "client": "",
            "address": "127.0.0.1",
            "upstream": "openai",
            "target": "/chat/completions",
            "model": "m",
            "stream": False,
            "on_disconnect": OnDisconnect.FINISH,
            "max_attempts": 4,
            "created_at": NOW,
            **changes,
        }
    )


def begin_attempt(call: Call) -> Attempt:
    """Put *call* in flight."""
    attempt = Attempt(number=len(call.attempts) + 1, upstream=call.upstream, started_at=NOW + 1)
    call.attempts.append(attempt)
    call.status, call.wait_reason = Status.RUNNING, None
    call.started_at = NOW + 1
    return attempt


def end_attempt(call: Call, **changes: Any) -> Attempt:
    """End its attempt: answered with 200, unless *changes* say otherwise."""
    attempt = call.attempts[-1]
    values = {"outcome": Outcome.ANSWERED, "status": 200, "finished_at": NOW + 2, "complete": True}
    for name, value in {**values, **changes}.items():
        setattr(attempt, name, value)
    return attempt


def end_call(call: Call, status: Status = Status.SUCCEEDED) -> None:
    """Make *call* final."""
    call.status, call.wait_reason, call.finished_at = status, None, NOW + 2
    call.answer = call.attempts[-1] if call.attempts else None


@asynccontextmanager
async def open_running(path: Path, **options: Any) -> AsyncIterator[Journal]:
    """The journal at *path* with its writer running; in the end all that was posted is written."""
    options = {"durability": "process", "now": lambda: NOW, **options}
    async with open_journal(path, **options) as journal, asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.run())
        try:
            yield journal
        finally:
            journal.close()


def committed(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the file at *path* through a connection that knows nothing of the writer's."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, values).fetchall()
