"""What was really said: the client's and the upstream's own logs of a run.

Every request carries a number `n` in its body; it ties the two logs and the journal together.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

#: A status that nothing leads out of.
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(eq=False)
class Sent:
    """One request of the client's, however often it was sent, and everything it was told."""

    n: int
    kind: str
    body: bytes
    path: str = "/v1/chat/completions"
    key: str | None = None  #: Idempotency-Key
    times: int = 0  #: how often it was sent
    accepted: set[str] = field(default_factory=set)  #: ids of calls answered with 202
    answers: list[tuple[str, int, str]] = field(default_factory=list)  #: complete: id, status, sha
    statuses: list[tuple[str, str]] = field(default_factory=list)  #: as shown by the API: id, final
    cancel_asked: bool = False
    hung_up: bool = False

    def told_status(self, call: dict[str, Any]) -> None:
        """Keep the status of *call* if it claims to be final."""
        if call["status"] in FINAL:
            self.statuses.append((call["id"], call["status"]))

    def told_answer(self, call_id: str, status: int, body: bytes) -> None:
        """Keep a complete answer."""
        self.answers.append((call_id, status, sha256(body)))


@dataclass(eq=False)
class Hit:
    """One request that reached the upstream."""

    n: int
    number: int  #: which one of *n*, from 1
    order: int  #: which one of all
    path: str
    status: int
    sha256: str  #: of the whole answer, whether or not it could be sent


class UpstreamLog:
    """Every request the upstream saw."""

    def __init__(self) -> None:
        self.hits: dict[int, list[Hit]] = defaultdict(list)
        self.count = 0

    def add(self, n: int, path: str, status: int, body: bytes) -> Hit:
        """Keep one more request."""
        self.count += 1
        hits = self.hits[n]
        hits.append(Hit(n, len(hits) + 1, self.count, path, status, sha256(body)))
        return hits[-1]


def sha256(data: bytes) -> str:
    """The hash by which bodies are compared."""
    return hashlib.sha256(data).hexdigest()
