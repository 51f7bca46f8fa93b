"""A call and its attempts: what every room talks about. Values, no I/O.

A `Call` changes only in relay/, in steps without an `await` between them, so whoever looks sees
it whole. Its status is one of six; the last four are final for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

#: End-to-end header fields as they stand on the wire: order, case and repetitions kept.
Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Status(StrEnum):
    """Where a call stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Nothing leads out of a final status."""
        return self not in (Status.QUEUED, Status.RUNNING)


class WaitReason(StrEnum):
    """What a queued call waits for."""

    SLOT = "slot"
    BACKOFF = "backoff"
    PAUSED = "paused"


class Outcome(StrEnum):
    """How one attempt went. An upstream's 4xx or 5xx is an answer."""

    ANSWERED = "answered"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class OnDisconnect(StrEnum):
    """What a client that leaves does to its call."""

    FINISH = "finish"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no usable answer: a stable code (CONTRACT's error table) and words for people."""

    code: str
    message: str
    hopeless: bool = False  #: another attempt must fail the same way (a certificate error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the upstream counted them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


@dataclass(slots=True, kw_only=True)
class Request:
    """What the client sent: target and headers verbatim, less what must not travel."""

    method: str
    path: str  #: raw, as on the request line
    query: str  #: raw, without the "?"
    headers: Headers  #: end-to-end ones, as they go to the upstream; a credential passed through included
    body: bytes | None  #: None: only in the journal (large, or taken up after a restart)
    body_bytes: int
    sha256: str  #: of the body, hex
    kept_type: str | None = None  #: the media type, where the headers are only in the journal

    @property
    def content_type(self) -> str | None:
        """The media type as sent."""
        return header(self.headers, b"content-type") if self.headers else self.kept_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the client asked of the gateway in `x-gateway-` headers, `Prefer` and `Idempotency-Key`."""

    priority: int = 5
    fairness_key: str | None = None
    timeout_s: float | None = None
    queue_timeout_s: float | None = None
    max_attempts: int | None = None
    on_disconnect: OnDisconnect | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    webhook: str | None = None
    detached: bool = False  #: `Prefer: respond-async`
    wait_s: float = 0.0  #: how long a `respond-async` client waits before its 202
    retry_count: int = 0  #: `x-stainless-retry-count`


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One try of a call at one upstream. Wall times are seconds since the epoch."""

    number: int  #: from 1
    upstream: str
    started_at: float
    first_byte_at: float | None = None
    finished_at: float | None = None
    outcome: Outcome | None = None  #: None while in flight
    status: int | None = None  #: the upstream's
    headers: Headers = ()  #: the answer's, end-to-end
    failure: Failure | None = None
    retry_after_s: float | None = None  #: what the upstream asked for
    backoff_s: float | None = None  #: the pause that followed
    ambiguous: bool = False  #: the upstream may have done the work, nobody knows
    counts: bool = True  #: towards max_attempts; False where a graceful stop cut it
    body_bytes: int = 0  #: content bytes received
    sha256: str | None = None  #: of the body, hex, once it ended
    complete: bool = False  #: the answer came whole

    @property
    def content_type(self) -> str | None:
        """The answer's media type."""
        return header(self.headers, b"content-type")


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One client request and everything that happens to it.

    `seq` orders calls by acceptance and is the journal's key; `id` is the name outside. Wall times
    are seconds since the epoch, `*_ms` come from the monotonic clock.
    """

    seq: int
    id: str
    request: Request
    options: Options
    client: str  #: who asked: "key:<id>", "cred:<keyed hash>", or "" (everybody without credential)
    address: str  #: the client's IP address, for fairness among those without credential
    upstream: str
    target: str  #: path and query that follow the upstream's base_url
    model: str | None
    stream: bool
    on_disconnect: OnDisconnect
    max_attempts: int
    created_at: float
    deadline_at: float | None = None
    key_id: str | None = None
    replay_of: str | None = None
    needs_secret: bool = False  #: needs what the journal does not hold, so no start can take it up
    fingerprint: str | None = None  #: sha256 over method, upstream, path, query and body

    status: Status = Status.QUEUED
    wait_reason: WaitReason | None = WaitReason.SLOT
    detached: bool = False
    client_waited: bool = True
    client_gone: bool = False
    started_at: float | None = None
    first_byte_at: float | None = None
    finished_at: float | None = None
    queued_ms: float = 0.0
    duration_ms: float | None = None
    attempts: list[Attempt] = field(default_factory=list)  #: the last may be in flight
    answer: Attempt | None = None  #: the attempt whose answer is the call's
    failure: Failure | None = None
    usage: Usage | None = None
    version: int = 0  #: grows with every journalled change

    @property
    def flow(self) -> tuple[str, str]:
        """Whose share of the slots it uses: (client, fairness key)."""
        return (self.client or self.address, self.options.fairness_key or "")

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt in flight."""
        if self.attempts and self.attempts[-1].outcome is None:
            return self.attempts[-1]
        return None

    @property
    def attempts_used(self) -> int:
        """How many count towards max_attempts."""
        return sum(1 for attempt in self.attempts if attempt.counts)


def is_taken_up(
    *, detached: object, keyed: bool, client_gone: object, finishes: bool, needs_secret: object
) -> bool:
    """Whether a start would take an open call up: somebody can come back for it, nothing is missing.

    *keyed*: it has an Idempotency-Key. *finishes*: its client may leave without ending it.
    """
    return bool(detached or keyed or (client_gone and finishes)) and not needs_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a body on its way to the journal, at most `PART_BYTES` of it.

    `attempt` 0 is the request. `chunks` are (ms since the attempt started, bytes) of each piece as it
    arrived; empty for bodies that came in one.
    """

    attempt: int
    start: int  #: offset of its first byte in the body
    data: bytes
    chunks: tuple[tuple[int, int], ...] = ()


PART_BYTES = 262_144  # one 32 MiB insert holds the writer for 154 ms, 1 MiB in four rows for 4 ms


def header(headers: Headers, name: bytes) -> str | None:
    """The first value of *name* (lower case), or None."""
    size = len(name)
    for field_name, value in headers:
        if len(field_name) == size and field_name.lower() == name:
            return value.decode("latin-1")
    return None
