"""The fields of the query language: what may be asked about a call, and how a value is read.

A value becomes a `Test`: equal to, like a glob, or between bounds. What column a field is, stands here
too; how tests become SQL, in `matching.py`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from gateway.call import Status

MAX_GLOB = 256  # characters: comparing takes as long as glob times text


@dataclass(frozen=True, slots=True)
class Equal:
    """Exactly this; text."""

    value: str


@dataclass(frozen=True, slots=True)
class Glob:
    """Like this pattern of `*`, `?` and `[…]`, as SQLite's GLOB understands it."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """A number from *low* to *high*; each end is in it or not."""

    low: float = -math.inf
    high: float = math.inf
    with_low: bool = True
    with_high: bool = True


@dataclass(frozen=True, slots=True)
class Tagged:
    """Has a tag of this name, with such a value; None: any."""

    name: str
    value: Equal | Glob | None


Test: TypeAlias = Equal | Glob | Between | Tagged


@dataclass(frozen=True, slots=True)
class FieldType:
    """A field of the language."""

    column: str  #: SQL over a row of `calls`; NULL: there is no such value
    read: Callable[[str], Test]  #: raises ValueError, saying what it must be
    example: str


def read_text(text: str) -> Equal | Glob:
    """A glob, or where there is nothing of one in it, just that. Raises: ValueError - it is too long."""
    if not any(character in text for character in "*?["):
        return Equal(text)
    if len(text) > MAX_GLOB:
        raise ValueError(f"must be at most {MAX_GLOB} characters where it holds *, ? or [")
    return Glob(text)


def _method(text: str) -> Test:
    return read_text(text.upper())


def _status(text: str) -> Test:
    if text not in list(Status):
        near = get_close_matches(text, list(Status), 1)
        meant = f"did you mean {near[0]}?" if near else f"must be among {', '.join(Status)}"
        raise ValueError(meant)
    return Equal(text)


def _flag(text: str) -> Test:
    if text not in ("true", "false", "yes", "no"):
        raise ValueError("must be true or false")
    wanted = float(text in ("true", "yes"))
    return Between(wanted, wanted)


def _tag(text: str) -> Test:
    name, equals, value = text.partition("=")
    if not equals:
        return Tagged(text, None)
    return Tagged(name, read_text(value))


_COMPARED = re.compile(r"(>=|<=|>|<|=)?([0-9]+(?:\.[0-9]+)?)([a-z]*)", re.IGNORECASE)
_MS = {"": 1000.0, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
_BYTES = {"": 1.0, "b": 1.0, "kb": 1024.0, "mb": 1024.0**2, "gb": 1024.0**3}
_COUNT = {"": 1.0, "k": 1e3, "m": 1e6}


def _number(units: Mapping[str, float], what: str) -> Callable[[str], Test]:
    def read(text: str) -> Test:
        match = _COMPARED.fullmatch(text)
        unit = units.get(match[3].lower()) if match and len(match[2]) <= 18 else None
        if match is None or unit is None:
            raise ValueError(f"must be {what}")
        number = float(match[2]) * unit
        match match[1]:
            case ">" | ">=":
                return Between(low=number, with_low=match[1] == ">=")
            case "<" | "<=":
                return Between(high=number, with_high=match[1] == "<=")
            case _:
                pass
        return Between(number, number)

    return read


def _http(text: str) -> Test:
    if len(text) == 3 and text[0] in "12345" and text[1:].lower() == "xx":
        hundreds = float(text[0]) * 100
        return Between(hundreds, hundreds + 100, with_high=False)
    return _number({"": 1.0}, "a status such as 503, 5xx or >=500")(text)


_plain_number = _number({"": 1.0}, "a number, with >, >=, < or <= before it or nothing")
_duration = _number(_MS, "a duration such as >10s; units are ms, s, m, h and d")
_size = _number(_BYTES, "a size such as >1mb; units are b, kb, mb and gb")
_count = _number(_COUNT, "a number such as >1000")

# Attempts are numbered without a gap; that of the one in flight stands in the call's own row.
ATTEMPTS = """max(ifnull(open_attempt, 0),
    ifnull((SELECT max(number) FROM attempts WHERE attempts.seq = calls.seq), 0))"""

FIELDS: Mapping[str, FieldType] = {
    "status": FieldType("status", _status, "status:failed,expired"),
    "upstream": FieldType("upstream", read_text, "upstream:openai"),
    "model": FieldType("model", read_text, "model:gpt*"),
    "path": FieldType("path", read_text, "path:/v1/embeddings"),
    "key": FieldType("key_id", read_text, "key:key_01KAP3"),
    "tag": FieldType("tags", _tag, "tag:team=search"),
    "http": FieldType("http_status", _http, "http:5xx"),
    "error": FieldType("error_code", read_text, "error:connect_timeout"),
    "method": FieldType("method", _method, "method:POST"),
    "id": FieldType("id", read_text, "id:call_01KAP3*"),
    "attempts": FieldType(ATTEMPTS, _plain_number, "attempts:>1"),
    "dur": FieldType("duration_ms", _duration, "dur:>10s"),
    "queue": FieldType("queued_ms", _duration, "queue:>2s"),
    "ttfb": FieldType("first_byte_ms - started_ms", _duration, "ttfb:>3s"),
    "size": FieldType("request_bytes + ifnull(response_bytes, 0)", _size, "size:>1mb"),
    "tokens": FieldType("total_tokens", _count, "tokens:>1000"),
    "stream": FieldType("stream", _flag, "stream:true"),
    "priority": FieldType("priority", _plain_number, "priority:<5"),
    "idempotency": FieldType("idempotency_key", read_text, "idempotency:order-7"),
    "fairness": FieldType("fairness_key", read_text, "fairness:tenant-7"),
    "replay_of": FieldType("replay_of", read_text, "replay_of:call_01KAP3"),
}
