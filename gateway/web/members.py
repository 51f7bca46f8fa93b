"""The top level of a JSON object, read without building what is inside it.

A parser builds a value of every two or three bytes that somebody sends: of a body of 32 MiB a gigabyte,
and for seconds nothing else runs meanwhile. Here brackets are counted, no more than `MOST` of them, and
other threads get their turns.
Invariant: of what does not look like one object up to its last byte, nothing is told.
"""

import json
import re
from collections.abc import Container, Iterator
from itertools import islice
from typing import TypeAlias

from pydantic_core import from_json

from gateway.errors import BadRequest

MOST = 1_000_000  # brackets and members of one body: a second or two

MOST_LISTED = 16_384  # bytes of a list of names that is looked into

#: Name and value, the value as it stands in the text; None where that is an object, or a list that
#: was not asked for.
Member: TypeAlias = tuple[str, bytes | None]

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BLANK = rb"[ \t\r\n]*+"
_OPEN = re.compile(rb"%b\{%b(\})?" % (_BLANK, _BLANK))
#: `"name": value` and what follows it; of an object or a list as far as its bracket.
_MEMBER = re.compile(
    rb"%b(%b)%b:%b(?:(%b|[-+.0-9A-Za-z]++)%b([,}])|[\[{])"
    % (_BLANK, _STRING, _BLANK, _BLANK, _STRING, _BLANK),
    re.DOTALL,
)
_NEXT = re.compile(rb"%b([,}])" % _BLANK)
_END = re.compile(rb"%b\Z" % _BLANK)
_OTHER = rb'[^"\[\]{}]*+'
_FLAT = rb"%b(?:%b%b)*+" % (_OTHER, _STRING, _OTHER)
#: All up to the next bracket, but not those in strings nor around what holds no other; or a piece of it.
_BRACKET = re.compile(
    rb"%b(?:(?:%b|\[%b\]|\{%b\})%b){0,1000}+([\[\]{}])?" % (_OTHER, _STRING, _FLAT, _FLAT, _OTHER),
    re.DOTALL,
)

_TOKEN = re.compile(rb'%b|[^",\[{]{1,65536}+|.' % _STRING, re.DOTALL)


def top_level(body: bytes, *, lists: Container[str] = ()) -> list[Member]:
    """Each member in order, repeated names too; none where *body* is no JSON object.

    *lists*: names, in small letters, of which a list is wanted too, however it spells its case.

    Raises: BadRequest - it holds too much to be looked into
    """
    try:
        return list(_members(body, lists))
    except ValueError:  # so are JSONDecodeError and UnicodeDecodeError
        return []


def are_more_than(most: int, body: bytes) -> bool:
    """Whether the JSON *body* is longer than *most* strings, commas, brackets and what is between.

    A parser would need about 1 µs for each, and hold up everything else meanwhile.
    """
    return next(islice(_TOKEN.finditer(body), most, None), None) is not None


def text(value: bytes | None) -> str | None:
    """The string that *value* is; None where it is none."""
    if value is None or value[:1] != b'"':
        return None
    try:
        plain = value[1:-1].decode() if b"\\" not in value else json.loads(value)
    except ValueError:
        return None
    return str(plain)


def strings(value: bytes | None) -> list[str] | None:
    """What the list of strings *value* holds; None where it is no such list, or a very long one."""
    if value is None or value[:1] != b"[" or len(value) > MOST_LISTED:
        return None
    try:
        found = from_json(value)
    except ValueError:
        return None
    return found if all(isinstance(each, str) for each in found) else None


def _members(body: bytes, lists: Container[str]) -> Iterator[Member]:
    opened = _OPEN.match(body)
    if opened is None:
        raise ValueError
    at, left, follows = opened.end(), MOST, opened[1] or b","
    while follows == b",":
        member = _MEMBER.match(body, at)
        if member is None:
            raise ValueError
        name, value, follows = member.groups()
        at, left = member.end(), left - 1
        plain = text(name)
        if plain is None:
            raise ValueError
        if value is None:
            bracket = at - 1
            at, left = _skip(body, at, left)
            if body[bracket : bracket + 1] == b"[" and plain.casefold() in lists:
                value = body[bracket:at]
            after = _NEXT.match(body, at)
            if after is None:
                raise ValueError
            follows, at = after[1], after.end()
        if left < 0:
            raise _too_much()
        yield plain, value
    if _END.match(body, at) is None:
        raise ValueError


def _skip(body: bytes, at: int, left: int) -> tuple[int, int]:
    """Behind the bracket that closes the one before *at*; and how many are *left*."""
    depth = 1
    while depth:
        run = _BRACKET.match(body, at)
        if run is None or run.end() == at:
            raise ValueError
        at, left = run.end(), left - 1
        if run[1] is not None:
            depth += 1 if run[1] in b"[{" else -1
        if left < 0:
            raise _too_much()
    return at, left


def _too_much() -> BadRequest:
    return BadRequest(f"the body is JSON of more than {MOST} members and brackets")
