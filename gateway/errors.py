"""The error tree: what the gateway itself refuses or fails, each with a stable `code`.

Knows no HTTP: `web/errors.py` holds the one table from code to status. Failures of an attempt are
not here; they are values (`call.Failure`), because retry policy must see them.
"""


class GatewayError(Exception):
    """Something of the gateway's own went wrong."""

    code = "internal"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])

    @property
    def message(self) -> str:
        """For people; never holds a credential."""
        return str(self.args[0])


class ConfigError(GatewayError):
    """The configuration cannot be used; every reason is one line: file, key path, why."""

    code = "bad_config"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class JournalLocked(GatewayError):
    """Another gateway holds this journal."""

    code = "journal_locked"


class JournalDamaged(GatewayError):
    """The journal file cannot be used as it is; it was left untouched."""

    code = "journal_damaged"


class Refused(GatewayError):
    """The request made no call, or the question has no answer."""

    retry_after_s: float | None = None


class BadRequest(Refused):
    """The request is malformed."""

    code = "bad_request"


class BadQuery(BadRequest):
    """A query cannot be understood: *position* is where in it, *hint* what may have been meant."""

    def __init__(self, message: str, position: int, *, hint: str | None = None) -> None:
        super().__init__(f"q: {message}, at character {position + 1}")
        self.position = position
        self.hint = hint


class Unauthorized(Refused):
    """A valid gateway key is needed."""

    code = "unauthorized"


class Forbidden(Refused):
    """This is not allowed."""

    code = "forbidden"


class NotFound(Refused):
    """There is nothing here."""

    code = "not_found"


class UnknownUpstream(Refused):
    """No upstream of that name is configured."""

    code = "unknown_upstream"


class Gone(Refused):
    """It was here, and retention removed it."""

    code = "gone"


class Cancelled(Refused):
    """The call was cancelled."""

    code = "cancelled"


class Conflict(Refused):
    """The call is not in a state that allows this."""

    code = "conflict"


class BodyTooLarge(Refused):
    """The body is larger than max_body_bytes, of [server] or of the key."""

    code = "body_too_large"


class UnsupportedEncoding(Refused):
    """The body is encoded in a way that cannot be read here."""

    code = "unsupported_encoding"


class BadHost(Refused):
    """The Host header names a host that this gateway does not serve."""

    code = "bad_host"


class IdempotencyMismatch(Refused):
    """Another request was sent under this Idempotency-Key."""

    code = "idempotency_mismatch"


class Busy(Refused):
    """Not now: the same request may well succeed after *retry_after_s*."""

    def __init__(self, message: str | None = None, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KeyLimit(Busy):
    """This key is at its own limit."""

    code = "key_limit"


class AuthThrottled(Busy):
    """Too many wrong keys were shown lately."""

    code = "auth_throttled"


class QueueFull(Busy):
    """Every place in the queue is taken."""

    code = "queue_full"


class TooManyViewers(Busy):
    """Too many watch already."""

    code = "too_many_viewers"


class Draining(Busy):
    """The gateway is stopping and takes no new calls."""

    code = "draining"


class JournalUnavailable(Busy):
    """The journal cannot be written, so nothing can be accepted."""

    code = "journal_unavailable"
