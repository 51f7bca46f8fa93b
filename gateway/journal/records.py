"""A call as the journal holds it: one class a table, one field a column, under the column's name.

So `SELECT` lists are made from these classes, and a row is its class called with the row.
`test_records.py` compares them with the schema.
"""

from dataclasses import dataclass, fields

from pydantic_core import from_json

from gateway.call import OnDisconnect, Status, is_taken_up


@dataclass(slots=True)  # not frozen: with so many fields that takes four times as long to make
class CallRow:
    """A row of `calls`, less what only relaying needs. Flags are 0 or 1. Never changed."""

    seq: int
    id: str
    created_ms: int
    method: str
    path: str
    query: str
    upstream: str
    model: str | None
    stream: int
    priority: int
    fairness_key: str | None
    client: str
    address: str
    key_id: str | None
    tags: str
    idempotency_key: str | None
    replay_of: str | None
    webhook: str | None
    max_attempts: int
    deadline_ms: int | None
    on_disconnect: str
    needs_secret: int
    request_type: str | None
    request_bytes: int
    version: int
    status: str
    wait_reason: str | None
    detached: int
    client_waited: int
    client_gone: int
    started_ms: int | None
    first_byte_ms: int | None
    finished_ms: int | None
    queued_ms: float
    duration_ms: float | None
    open_attempt: int | None
    open_started_ms: int | None
    answer: int | None
    http_status: int | None
    response_type: str | None
    response_bytes: int | None
    complete: int | None
    error_code: str | None
    error_message: str | None
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A row of `requests`."""

    seq: int
    headers: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A row of `attempts`: one that has ended."""

    seq: int
    number: int
    upstream: str
    started_ms: int
    first_byte_ms: int | None
    finished_ms: int
    outcome: str
    status: int | None
    headers: str
    error_code: str | None
    error_message: str | None
    retry_after_s: float | None
    backoff_s: float | None
    ambiguous: int
    counts: int
    body_bytes: int
    sha256: str | None
    complete: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A row of `deliveries`: what became of the call's webhook."""

    seq: int
    status: str
    attempts: int
    step: int
    next_ms: int | None
    last_status: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a list shows of the texts of a call."""

    request: str | None  #: what its user said last
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """A call with what belongs to it, all of one instant."""

    row: CallRow
    replays: tuple[str, ...] = ()  #: ids, oldest first
    request: RequestRow | None = None  #: None in a list that was not expanded
    attempts: tuple[AttemptRow, ...] = ()  #: those that have ended; none in such a list
    ended_attempts: int = 0  #: how many of them there are, in every list
    delivery: DeliveryRow | None = None  #: of its webhook, once it is final
    preview: Preview | None = None  #: None until the indexer looked at it

    @property
    def id(self) -> str:
        """The call's name outside."""
        return self.row.id

    @property
    def seq(self) -> int:
        """The journal's key."""
        return self.row.seq

    @property
    def status(self) -> Status:
        """Where the call stood."""
        return Status(self.row.status)

    @property
    def survives_restart(self) -> bool:
        """Whether a start would take the call up as it stands."""
        row = self.row
        return not self.status.is_final and is_taken_up(
            detached=row.detached,
            keyed=row.idempotency_key is not None,
            client_gone=row.client_gone,
            finishes=row.on_disconnect == OnDisconnect.FINISH,
            needs_secret=row.needs_secret,
        )

    def attempt(self, number: int) -> AttemptRow | None:
        """The attempt of that *number*, once it has ended."""
        return next((attempt for attempt in self.attempts if attempt.number == number), None)

    @property
    def shown_attempt(self) -> int | None:
        """The attempt to look at where none is named: the answer's, the open one, else the last."""
        last = self.attempts[-1].number if self.attempts else None
        return self.row.answer or self.row.open_attempt or last


def columns(row: type[CallRow | RequestRow | AttemptRow | DeliveryRow]) -> str:
    """What to select for one *row*."""
    return ", ".join(field.name for field in fields(row))


def header_fields(headers: str) -> list[tuple[str, str]]:
    """A `headers` column as (name, value), as on the wire; a character is a byte (latin-1)."""
    return [(name, value) for name, value in from_json(headers)]
