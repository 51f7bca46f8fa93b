"""A journal written by hand: calls as the write side stores them, without its process."""

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from gateway.call import (
    PART_BYTES,
    Attempt,
    Call,
    Headers,
    OnDisconnect,
    Options,
    Outcome,
    Part,
    Request,
    Status,
)
from gateway.journal import rows
from gateway.journal.migrate import load_migrations, migrate

T0 = 1_790_000_000.0  # 2026-09-21T14:13:20Z; call number N was accepted N seconds later


def answered(
    number: int = 1,
    *,
    status: int = 200,
    body: bytes = b"",
    headers: Headers = ((b"Content-Type", b"application/json"),),
    **changes: Any,
) -> tuple[Attempt, bytes]:
    """Return an attempt that was answered, and what came."""
    attempt = Attempt(
        number=number,
        upstream="openai",
        started_at=T0 + number,
        first_byte_at=T0 + number + 0.25,
        finished_at=T0 + number + 0.5,
        outcome=Outcome.ANSWERED,
        status=status,
        headers=headers,
        body_bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        complete=True,
    )
    return replace(attempt, **changes), body


class RecordedCalls:
    """The file at `path`. Its connection stays open, as a gateway's does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        migrate(self.connection, load_migrations())
        self._seq = 0

    def add(
        self,
        *,
        request: bytes = b"{}",
        request_headers: Headers = ((b"Content-Type", b"application/json"),),
        method: str = "POST",
        path: str = "/v1/chat/completions",
        query: str = "",
        options: Options | None = None,
        attempts: Sequence[tuple[Attempt, bytes]] = (),
        answer: int | None = None,
        **changes: Any,
    ) -> Call:
        """Record a call whose answer is that of attempt number *answer*; say so if none is left out."""
        self._seq += 1
        seq = self._seq
        call = Call(
            seq=seq,
            id=f"call_{seq:026}",
            request=Request(
                method=method,
                path=path,
                query=query,
                headers=request_headers,
                body=request,
                body_bytes=len(request),
                sha256=hashlib.sha256(request).hexdigest(),
            ),
            options=options or Options(),
            client="",
            address="127.0.0.1",
            upstream="openai",
            target=path,
            model="gpt-4o-mini",
            stream=False,
            on_disconnect=OnDisconnect.FINISH,
            max_attempts=4,
            created_at=T0 + seq,
            attempts=[attempt for attempt, _ in attempts],
            answer=next((one for one, _ in attempts if one.number == answer), None),
            status=Status.SUCCEEDED,
            wait_reason=None,
            started_at=attempts[0][0].started_at if attempts else None,
        )
        call = replace(call, **changes)
        states = dict(zip(rows.STATE.names, rows.state(call), strict=True))
        columns = dict(zip(rows.CALL.names, rows.new_call(call), strict=True)) | states
        self._insert("calls", tuple(columns), tuple(columns.values()))
        self._insert("requests", rows.REQUEST.names, rows.request(call))
        self._insert_body(call, 0, request)
        for attempt, body in attempts:
            if attempt.outcome is not None:
                self._insert("attempts", rows.ATTEMPT.names, rows.attempt(call, attempt))
            self._insert_body(call, attempt.number, body)
        return call

    def answer(self, body: bytes = b"{}", **said: Any) -> Call:
        """Record a plain call that was answered at once."""
        return self.add(attempts=[answered(body=body, **said)], answer=1)

    def change(self, call: Call, **columns: Any) -> None:
        """Set *columns* of the row of *call*."""
        names = ", ".join(f"{name} = ?" for name in columns)
        self.connection.execute(
            f"UPDATE calls SET {names} WHERE seq = ?", (*columns.values(), call.seq)
        )

    def purge(self, call: Call) -> None:
        """Remove the bodies, as retention does."""
        self.connection.execute("DELETE FROM parts WHERE seq = ?", (call.seq,))

    def close(self) -> None:
        self.connection.close()

    def _insert_body(self, call: Call, attempt: int, body: bytes) -> None:
        for start in range(0, len(body), PART_BYTES):
            part = Part(attempt=attempt, start=start, data=body[start : start + PART_BYTES])
            self._insert("parts", rows.PART.names, rows.part(call, part))

    def _insert(self, table: str, columns: Sequence[str], row: rows.Row) -> None:
        marks = ", ".join("?" * len(columns))
        self.connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
