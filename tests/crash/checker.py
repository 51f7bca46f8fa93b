"""Compares three logs of one run: what the client was told, what the upstream saw, what is recorded.

Each function names what is wrong, one line a finding, and nothing where all is well.
"""

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from tests.crash.histories import FINAL, Sent, UpstreamLog, sha256

SINGLE = "/v1/single/chat"  # the path where the upstream has one slot

CALLS = """
SELECT seq, id, status, wait_reason, detached, idempotency_key, open_attempt, answer, http_status,
       error_code, complete FROM calls ORDER BY seq
"""
ATTEMPTS = "SELECT seq, number, outcome, ambiguous, counts, sha256, complete FROM attempts"
BODY = "SELECT data FROM parts WHERE seq = ? AND attempt = ? ORDER BY start"


@dataclass(eq=False)
class Recorded:
    """A call as the journal has it."""

    call: sqlite3.Row
    n: int
    attempts: dict[int, sqlite3.Row] = field(default_factory=dict)
    answer_sha256: str | None = None

    @property
    def id(self) -> str:
        return str(self.call["id"])

    @property
    def status(self) -> str:
        return str(self.call["status"])


Journal = dict[str, Recorded]


def read_journal(path: Path) -> Journal:
    """Every call of the journal, by id, the oldest first."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        ended: dict[int, dict[int, sqlite3.Row]] = defaultdict(dict)
        for row in connection.execute(ATTEMPTS):
            ended[row["seq"]][row["number"]] = row
        recorded = {}
        for call in connection.execute(CALLS).fetchall():
            n = from_json(_body(connection, call["seq"], 0))["n"]
            found = recorded[call["id"]] = Recorded(call, n, ended[call["seq"]])
            if call["answer"] is not None:
                found.answer_sha256 = sha256(_body(connection, call["seq"], call["answer"]))
        return recorded


def read_wreck(path: Path) -> Journal:
    """The journal of a dead process, looked at in a copy: opening it would already repair it."""
    copy = path.with_name("wreck") / path.name
    copy.parent.mkdir(exist_ok=True)
    for end in ("", "-wal"):
        source = path.with_name(path.name + end)
        if source.exists():
            shutil.copyfile(source, copy.with_name(copy.name + end))
    (copy.with_name(copy.name + "-shm")).unlink(missing_ok=True)
    return read_journal(copy)


def _body(connection: sqlite3.Connection, seq: int, attempt: int) -> bytes:
    return b"".join(data for (data,) in connection.execute(BODY, (seq, attempt)))


@dataclass(eq=False)
class Run:
    """All that is known once the gateway was killed, started again and had nothing left to do."""

    sent: list[Sent]
    upstream: UpstreamLog
    journal: Journal
    deaths: list[tuple[Journal, int]]  #: what each left, and how many requests had gone upstream
    counted: dict[str, int]  #: final status → calls that statistics know

    def __post_init__(self) -> None:
        self.by_n: dict[int, list[Recorded]] = defaultdict(list)
        for recorded in self.journal.values():
            self.by_n[recorded.n].append(recorded)


def findings(run: Run) -> list[str]:
    """Everything that is wrong with *run*."""
    checks = (
        _lost, _undone, _unexpected, _unjournalled, _repeated, _bytes, _cut, _order, _miscounted,
    )  # fmt: skip
    return [f"{check.__name__[1:]}: {found}" for check in checks for found in check(run)]


def _lost(run: Run) -> Iterator[str]:
    """Whatever a client was told exists, and is final now; a detached call has its answer."""
    for sent in run.sent:
        told = sent.accepted | {call_id for call_id, *_ in sent.answers}
        for call_id in sorted(told - run.journal.keys()):
            yield f"{call_id} ({sent.kind} {sent.n}) is not in the journal"
        for call_id in sorted(sent.accepted & run.journal.keys()):
            status, may = run.journal[call_id].status, {"succeeded"}
            if sent.cancel_asked:
                may.add("cancelled")
            if status not in may:
                error = run.journal[call_id].call["error_code"]
                yield f"{call_id} ({sent.kind} {sent.n}) was accepted and is {status}, {error}"
    for recorded in run.journal.values():
        if recorded.status not in FINAL:
            yield f"{recorded.id} is still {recorded.status}"


def _undone(run: Run) -> Iterator[str]:
    """What was shown as final has stayed so, through every crash."""
    shown = {(call_id, status) for sent in run.sent for call_id, status in sent.statuses}
    left = {(each.id, each.status) for wreck, _ in run.deaths for each in wreck.values()}
    for call_id, status in sorted(shown | left):
        now = run.journal[call_id].status if call_id in run.journal else "nowhere"
        if status in FINAL and now != status:
            yield f"{call_id} was {status} and is {now}"


def _unexpected(run: Run) -> Iterator[str]:
    """No call that nobody sent; with an Idempotency-Key no second one beside an answered one."""
    known = {sent.n: sent for sent in run.sent}
    for n, calls in run.by_n.items():
        if n not in known:
            yield f"nobody sent {n}"
        elif len(calls) > known[n].times:
            yield f"{n} was sent {known[n].times} times and is {len(calls)} calls"
        elif known[n].key and sum(call.status == "succeeded" for call in calls) > 1:
            yield f"{n} succeeded more than once under one Idempotency-Key"


def _unjournalled(run: Run) -> Iterator[str]:
    """No request at the upstream without an attempt in the journal."""
    for n, hits in run.upstream.hits.items():
        attempts = sum(len(call.attempts) for call in run.by_n[n])
        if len(hits) > attempts:
            yield f"{n} went upstream {len(hits)} times, the journal has {attempts} attempts"


def _repeated(run: Run) -> Iterator[str]:
    """Work is done twice only where the journal says that it may have been.

    A call accounts for one good answer of the upstream, or none; each further one needs an attempt
    that was ambiguous, or one that was cancelled.
    """
    for n, hits in run.upstream.hits.items():
        good = sum(hit.status == 200 for hit in hits)
        answered = sum(_outcomes(call).count("answered 1") for call in run.by_n[n])
        doubtful = sum(
            _outcomes(call).count(outcome)
            for call in run.by_n[n]
            for outcome in ("interrupted", "cancelled")
        )
        if good > answered + doubtful:
            yield f"{n} was answered {good} times; {answered} recorded, {doubtful} in doubt"


def _outcomes(call: Recorded) -> list[str]:
    return [
        f"answered {row['complete']}" if row["outcome"] == "answered" else str(row["outcome"])
        for row in call.attempts.values()
    ]


def _bytes(run: Run) -> Iterator[str]:
    """The recorded answer is one that the upstream gave, and so is what any client read."""
    for recorded in run.journal.values():
        given = {hit.sha256: hit.status for hit in run.upstream.hits[recorded.n]}
        answer = recorded.answer_sha256
        if recorded.status != "succeeded":
            continue
        if answer is None or given.get(answer) != recorded.call["http_status"]:
            yield f"{recorded.id} ({recorded.n}) holds bytes that the upstream never sent"
        elif recorded.attempts[recorded.call["answer"]]["sha256"] != answer:
            yield f"{recorded.id} ({recorded.n}) has another hash than its bytes"
    for sent in run.sent:
        for call_id, status, digest in sent.answers:
            found = run.journal.get(call_id)
            if found and (found.answer_sha256, found.call["http_status"]) != (digest, status):
                yield f"{call_id} ({sent.kind} {sent.n}) was answered otherwise than recorded"


def _cut(run: Run) -> Iterator[str]:
    """An attempt in flight at the crash is interrupted, ambiguous, and counted."""
    for left in (each for wreck, _ in run.deaths for each in wreck.values()):
        number = left.call["open_attempt"]
        if number is None:
            continue
        row: Any = run.journal[left.id].attempts.get(number)
        stands = row and (row["outcome"], row["ambiguous"], row["counts"])
        if stands != ("interrupted", 1, 1):
            yield f"{left.id}, attempt {number}, was in flight and is recorded as {stands}"


def _order(run: Run) -> Iterator[str]:
    """Where there is one slot and every call is sent once, calls arrive as they were accepted."""
    seqs = {sent.n: run.by_n[sent.n][0].call["seq"] for sent in run.sent if run.by_n[sent.n]}
    single = [hit for hits in run.upstream.hits.values() for hit in hits if hit.path == SINGLE]
    single.sort(key=lambda hit: hit.order)
    ends = [0, *(hits for _, hits in run.deaths), run.upstream.count]
    for begin, end in pairwise(ends):
        arrived = [seqs[hit.n] for hit in single if begin < hit.order <= end and hit.n in seqs]
        if arrived != sorted(arrived):
            yield f"calls {arrived} arrived in this order"


def _miscounted(run: Run) -> Iterator[str]:
    """Statistics know every call that ended, once."""
    ended: dict[str, int] = defaultdict(int)
    for recorded in run.journal.values():
        ended[recorded.status] += 1
    for status in sorted(FINAL):
        if ended[status] != run.counted.get(status, 0):
            yield f"{ended[status]} calls {status}, {run.counted.get(status, 0)} were counted"
