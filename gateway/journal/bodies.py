"""Which recorded body is meant, and whether it is here: one answer for the API and the commands."""

from dataclasses import dataclass

from gateway.call import Outcome, Status
from gateway.errors import Cancelled, GatewayError, Gone, NotFound
from gateway.journal.reader import Reader
from gateway.journal.records import AttemptRow, CallRecord


class Unanswered(GatewayError):
    """The call ended without an answer; *code* says how, as a waiting client was told."""

    def __init__(self, code: str | None, message: str | None) -> None:
        super().__init__(message)
        self.code = code or "interrupted"


@dataclass(frozen=True, slots=True)
class Body:
    """Recorded bytes: `Reader.body(seq, attempt)` gives them."""

    seq: int
    attempt: int  #: 0: the request's
    size: int  #: of what is here, from the beginning
    whole: bool  #: it is all that there was to come


def is_pending(record: CallRecord, number: int | None) -> bool:
    """Whether the call's answer, or the one of attempt *number*, is still to come."""
    if number is None:
        return not record.status.is_final
    return number == record.row.open_attempt


def choose_attempt(record: CallRecord, number: int | None) -> AttemptRow:
    """The attempt whose answer is the call's, or attempt *number*. It has an answer.

    Raises: Cancelled; Unanswered; NotFound, where there is no such attempt
    """
    row = record.row
    if number is None:
        if record.status is Status.CANCELLED:
            raise Cancelled
        if row.answer is None:
            raise Unanswered(row.error_code, row.error_message)
        number = row.answer
    attempt = record.attempt(number)
    if attempt is None:
        raise NotFound(f"there is no attempt {number}")
    if attempt.status is None:
        if attempt.outcome == Outcome.CANCELLED:
            raise Cancelled("the attempt was cancelled before it had an answer")
        raise Unanswered(attempt.error_code, attempt.error_message)
    return attempt


async def request_body(reader: Reader, record: CallRecord) -> Body:
    """The body that the client sent. Raises: Gone."""
    held = await reader.body_bytes(record.seq, 0)
    if held != record.row.request_bytes:
        raise Gone("retention removed the body of this request")
    return Body(record.seq, 0, held, whole=True)


async def answer_body(reader: Reader, attempt: AttemptRow) -> Body:
    """What *attempt* received. Raises: Gone."""
    held = await reader.body_bytes(attempt.seq, attempt.number)
    whole = bool(attempt.complete)
    if held < attempt.body_bytes and (whole or not held):
        raise Gone("retention removed the body of this answer")
    return Body(attempt.seq, attempt.number, held, whole)
