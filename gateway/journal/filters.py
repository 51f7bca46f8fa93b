"""Which calls a list shows: query parameters read into SQL conditions and a place in the list.

Invariant: no text of the asker becomes SQL. Conditions are constants of ours, values are bound by
name (`matching.py`). What is unknown or malformed is refused by name.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from gateway.call import Status
from gateway.errors import BadRequest
from gateway.journal.search.fields import Between, Equal, read_text
from gateway.journal.search.matching import (
    Bound,
    Value,
    condition,
    number_condition,
    status_condition,
    tag_condition,
    text_condition,
)
from gateway.journal.search.query import parse

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
MAX_TEXT = 1024  # characters of a value: matching a glob takes longer the longer it is

#: Every parameter of a list and what it does, as the commands' help says it.
PARAMETERS: Mapping[str, str] = {
    "q": "Words that occur in request, answer or error, and fields: refund dur:>10s -model:gpt*",
    "status": "With this status; several by comma or by repeating it.",
    "upstream": "Of this upstream (glob); repeated: of any of them.",
    "model": "Of this model (glob); repeated: of any of them.",
    "path": "Of this path (glob); repeated: of any of them.",
    "key": "Made with the gateway key of this id.",
    "tag": "With this tag, NAME:VALUE; repeated: with all of them.",
    "idempotency_key": "Sent with this Idempotency-Key.",
    "http_status": "Whose answer has this HTTP status; repeated: any of them.",
    "min_duration_ms": "That took at least so many ms; final calls only.",
    "since": "Accepted at this time (RFC 3339) or later.",
    "until": "Accepted before this time (RFC 3339).",
    "limit": f"At most so many: 1 to {MAX_LIMIT}, {DEFAULT_LIMIT} by default.",
    "after": "The page that follows the call of this id.",
    "before": "The page that precedes the call of this id.",
    "cursor": "Where a search goes on that ran out of time: its next_cursor.",
    "order": "desc (newest first, the default) or asc.",
    "expand": "all: with attempts, headers and hashes.",
}


PAGING = {"after", "before", "cursor", "expand"}  #: parameters that only a list has


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a search broke off, and in which direction.

    It is told as the `seq` of the last call looked at, of whomever that is, or, to somebody who sees
    one client's calls only, as the `call_id` of the next of these: how many calls all make is not
    theirs to know.
    """

    seq: int | None
    upwards: bool  #: towards later calls
    call_id: str | None = None

    def text(self) -> str:
        """As a list tells it."""
        return f"{'a' if self.upwards else 'd'}{self.call_id or self.seq}"

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Raises: ValueError."""
        found = CURSOR.fullmatch(text)
        if found is None:
            raise ValueError("must be the next_cursor of a list")
        upwards, call_id, seq = found[1] == "a", found[2], found[3]
        return cls(int(seq) if seq else None, upwards, call_id)


CURSOR = re.compile("([ad])(?:(call_[0-9A-Z]{26})|([0-9]{1,18}))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """A list as it was asked for."""

    conditions: tuple[str, ...] = ()  #: SQL; all must hold
    values: Mapping[str, Value] = field(default_factory=dict)  #: bound in it
    expressions: tuple[str, ...] = ()  #: of the full text in it; see `matching.py`
    globs: tuple[tuple[str, str], ...] = ()  #: of names in it
    since_ms: int | None = None  #: conditions say so too; here it bounds the search
    until_ms: int | None = None
    limit: int = DEFAULT_LIMIT
    after: str | None = None  #: id of the call that the page follows, in the list's order
    before: str | None = None  #: id of the call that it precedes
    cursor: Cursor | None = None  #: where the search for the page begins
    newest_seq: int | None = None  #: calls accepted after this one are not looked at
    ascending: bool = False  #: oldest first
    expand: bool = False


def read_filters(parameters: Iterable[tuple[str, str]]) -> Filters:
    """Read the query *parameters* of a list, (name, value) each.

    Raises: BadRequest, naming the parameter
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if name not in PARAMETERS:
            raise BadRequest(f"there is no parameter {name[:64]!r}")
        given.setdefault(name, []).append(value)

    bound = Bound()
    conditions = [_status(given["status"])] if "status" in given else []
    conditions += [_condition(name, given[name], bound) for name in FILTERS if name in given]
    for text in given.get("q", ()):
        if (tree := parse(text)) is not None:
            conditions.append(condition(tree, bound))
    filters = Filters(
        conditions=tuple(conditions),
        values=bound.values,
        expressions=tuple(bound.expressions),
        globs=tuple(bound.globs),
        since_ms=_one(given, "since", milliseconds),
        until_ms=_one(given, "until", milliseconds),
        limit=_one(given, "limit", _integer(1, MAX_LIMIT)) or DEFAULT_LIMIT,
        after=_one(given, "after", _text),
        before=_one(given, "before", _text),
        cursor=_one(given, "cursor", Cursor.read),
        ascending=_one(given, "order", _choice("asc", "desc")) == "asc",
        expand=_one(given, "expand", _choice("all")) == "all",
    )
    if filters.cursor and (filters.after or filters.before):
        raise BadRequest("cursor: not together with after or before")
    return filters


@dataclass(frozen=True, slots=True)
class Selection:
    """All calls that filters choose, as against a page of them."""

    filters: Filters
    at_most: int | None = None

    def also(self, condition: str) -> "Selection":
        """Those of them that also meet this SQL condition."""
        conditions = (*self.filters.conditions, condition)
        return replace(self, filters=replace(self.filters, conditions=conditions))


def read_selection(parameters: Iterable[tuple[str, str]], *, ascending: bool = False) -> Selection:
    """Read filters, `limit` and `order` (*ascending* unless given) of what is done with many calls.

    Raises: BadRequest, naming the parameter
    """
    given = list(parameters)
    names = {name for name, _ in given}
    for name in PAGING & names:
        raise BadRequest(f"{name}: only for a list")
    filters = read_filters(given)
    if "order" not in names:
        filters = replace(filters, ascending=ascending)
    return Selection(filters, filters.limit if "limit" in names else None)


def milliseconds(text: str) -> int:
    """The first whole millisecond since the epoch that is not before an RFC 3339 time.

    Raises: ValueError, saying what it must be
    """
    if match := RFC_3339.fullmatch(text):
        day, clock, offset = match.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock}{offset.replace(' ', '+').upper()}")
            return -((EPOCH - moment) // timedelta(milliseconds=1))
        except (ValueError, OverflowError):
            pass  # a 31st of February
    raise ValueError(
        "must be a time such as 2026-11-22T17:00:00Z (write the + of an offset as %2B)"
    )


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A blank before the offset is a "+" that nobody encoded.
RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"
    r"([Zz]|[+ -][0-9]{2}:[0-9]{2})"
)

ARE_OPEN = status_condition([Status.QUEUED, Status.RUNNING])


def _status(texts: list[str]) -> str:
    try:
        return status_condition({Status(name) for text in texts for name in text.split(",")})
    except ValueError:
        raise BadRequest(f"status: must be among {', '.join(Status)}") from None


def _condition(name: str, texts: list[str], bound: Bound) -> str:
    chosen = FILTERS[name]
    if chosen.several is None and len(texts) > 1:
        raise BadRequest(f"{name}: may be given once")
    each = [_read(name, text, lambda text: chosen.condition(text, bound)) for text in texts]
    return f"({f' {chosen.several} '.join(each)})"


def _one(given: Mapping[str, list[str]], name: str, read: Callable[[str], T]) -> T | None:
    texts = given.get(name, [])
    if len(texts) > 1:
        raise BadRequest(f"{name}: may be given once")
    return _read(name, texts[0], read) if texts else None


def _read(name: str, text: str, read: Callable[[str], T]) -> T:
    try:
        return read(_text(text))
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from error


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValueError(f"must be at most {MAX_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must be UTF-8")
    return text


def _integer(lowest: int, highest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if text.isascii() and text.isdigit() and lowest <= int(text) <= highest:
            return int(text)
        raise ValueError(f"must be a whole number from {lowest} to {highest}")

    return read


def _choice(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text in choices:
            return text
        raise ValueError(f"must be {' or '.join(choices)}")

    return read


def _duration(text: str) -> float:
    try:
        duration_ms = float(text)
    except ValueError:
        duration_ms = math.nan
    if not 0 <= duration_ms < math.inf:
        raise ValueError("must be a number of milliseconds")
    return duration_ms


@dataclass(frozen=True, slots=True)
class _Filter:
    #: what a value asks for; raises ValueError, saying what it must be
    condition: Callable[[str, Bound], str]
    several: str | None = "OR"  #: how repeated ones add up; None: it may be given once


def _glob(column: str) -> _Filter:
    return _Filter(lambda text, bound: text_condition(column, read_text(text), bound))


def _exactly(column: str) -> _Filter:
    return _Filter(lambda text, bound: text_condition(column, Equal(text), bound))


def _tag(text: str, bound: Bound) -> str:
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError("must be NAME:VALUE")
    return tag_condition(name, Equal(value), bound)


def _http_status(text: str, bound: Bound) -> str:
    status = _integer(100, 599)(text)
    return number_condition("http", Between(status, status), bound)


FILTERS: Mapping[str, _Filter] = {
    "upstream": _glob("upstream"),
    "model": _glob("model"),
    "path": _glob("path"),
    "key": _exactly("key_id"),
    "tag": _Filter(_tag, "AND"),
    "idempotency_key": _exactly("idempotency_key"),
    "http_status": _Filter(_http_status),
    "min_duration_ms": _Filter(
        lambda text, bound: f"duration_ms >= {bound.value(_duration(text))}", None
    ),
    "since": _Filter(lambda text, bound: f"created_ms >= {bound.value(milliseconds(text))}", None),
    "until": _Filter(lambda text, bound: f"created_ms < {bound.value(milliseconds(text))}", None),
}
