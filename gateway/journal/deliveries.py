"""What became of a call's webhook: the writer's steps that record it, and the SELECTs that tell.

A delivery comes into being by a trigger, in the commit that ends its call, so nothing here makes
one; with its call it goes. Invariant: every step may be taken twice.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gateway.journal.transaction import transaction

RECORD = """
UPDATE deliveries SET status = ?, attempts = ?, step = ?, next_ms = ?, last_status = ? WHERE seq = ?
"""
RECORD_TRY = """
INSERT OR REPLACE INTO delivery_tries (seq, number, at_ms, status, error)
SELECT seq, ?, ?, ?, ? FROM deliveries WHERE seq = ?
"""
AGAIN = "UPDATE deliveries SET status = 'pending', step = 0, next_ms = ? WHERE seq = ?"
PENDING = """
SELECT seq, id, webhook, attempts, step, next_ms FROM deliveries JOIN calls USING (seq)
WHERE deliveries.status = 'pending' ORDER BY next_ms
"""
TRIES = "SELECT number, at_ms, status, error FROM delivery_tries WHERE seq = ? ORDER BY number"


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PendingDelivery:
    """A delivery that is not over."""

    seq: int
    call_id: str
    url: str
    attempts: int = 0  #: tries so far
    step: int = 0  #: of them, those of the schedule as it runs now
    next_ms: int = 0  #: when the next is due, ms since the epoch


@dataclass(frozen=True, slots=True)
class DeliveryTry:
    """One try, once it is over."""

    number: int  #: from 1
    at_ms: int
    status: int | None  #: HTTP; None: no answer
    error: str | None  #: why it does not count as told


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The writer's step that records a try and what follows from it; see `Journal.work`."""

    seq: int
    last: DeliveryTry
    status: DeliveryStatus
    step: int
    next_ms: int | None

    def __call__(self, connection: sqlite3.Connection) -> bool:
        """Both, or neither; nothing where the call is gone."""
        last = self.last
        with transaction(connection):
            connection.execute(
                RECORD,
                (self.status, last.number, self.step, self.next_ms, last.status, self.seq),
            )
            connection.execute(
                RECORD_TRY, (last.number, last.at_ms, last.status, last.error, self.seq)
            )
        return True


def begin_again(seq: int, *, now_ms: int) -> Callable[[sqlite3.Connection], bool]:
    """The writer's step after which the delivery is due, at the beginning of the schedule."""

    def step(connection: sqlite3.Connection) -> bool:
        connection.execute(AGAIN, (now_ms, seq))
        return True

    return step


def select_pending(connection: sqlite3.Connection) -> list[PendingDelivery]:
    """The deliveries that are not over, those due first before the others."""
    return [PendingDelivery(*row) for row in connection.execute(PENDING)]


def select_tries(connection: sqlite3.Connection, seq: int) -> list[DeliveryTry]:
    """The tries of a call's delivery, in their order."""
    return [DeliveryTry(*row) for row in connection.execute(TRIES, (seq,))]
