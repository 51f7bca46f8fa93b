"""What never reaches the file: the values of credentials in headers and queries.

Everything that the journal stores of a header or a query passes through here first, so that no
reading of the journal, and no copy of its file, can give a credential away. Names and order stay.
"""

import re
from functools import lru_cache
from urllib.parse import unquote_plus

from gateway.call import Headers

REDACTED = "[redacted]"

SECRET_HEADERS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-gateway-key",
        "cookie",
        "set-cookie",
    }
)

SECRET_PARAMETERS = frozenset({"key", "api_key", "access_token", "token", "sig"})

#: What a query with a secret parameter contains at least; most queries do not, and are done.
_SUSPECT = re.compile(r"key|token|sig|%", re.IGNORECASE)


def redact_headers(headers: Headers) -> list[tuple[str, str]]:
    """Header fields as text (latin-1, so every byte has its character), credentials redacted."""
    return [
        ((name := _header_name(raw))[0], REDACTED if name[1] else value.decode("latin-1"))
        for raw, value in headers
    ]


def redact_query(query: str) -> str:
    """*query* with credentials redacted; every other byte of it stays as it was sent.

    It changes exactly when it holds a credential, so comparing tells whether it does.
    """
    if not _SUSPECT.search(query):
        return query
    return "&".join(map(_redact_pair, query.split("&")))


def has_secret_parameter(query: str) -> bool:
    """Whether *query* has a parameter whose value the journal does not hold."""
    if not _SUSPECT.search(query):
        return False
    return any(_secret_at(pair) is not None for pair in query.split("&"))


def redact_target(target: str) -> str:
    """A path with its query (`/v1/models?key=…`), redacted like a query."""
    path, mark, query = target.partition("?")
    return path + mark + redact_query(query)


@lru_cache(maxsize=256)
def _header_name(raw: bytes) -> tuple[str, bool]:
    """The name as text, and whether its values are secret."""
    name = raw.decode("latin-1")
    return name, name.lower() in SECRET_HEADERS


def _redact_pair(pair: str) -> str:
    """What follows a secret name is redacted up to the next `&`."""
    value_at = _secret_at(pair)
    if value_at is None or value_at == len(pair):  # no credential, or an empty one
        return pair
    return pair[:value_at] + REDACTED


def _secret_at(pair: str) -> int | None:
    """Where the value of a secret name begins; None: *pair* holds none.

    Some servers also take `;` as a separator: a name after one counts, a value does not end there.
    """
    start = 0
    for field in pair.split(";"):
        name, equals, _ = field.partition("=")
        value_at = start + len(name) + len(equals)
        if equals and _is_secret(name):
            return value_at
        start += len(field) + 1
    return None


def _is_secret(name: str) -> bool:
    return unquote_plus(name).strip().lower() in SECRET_PARAMETERS
