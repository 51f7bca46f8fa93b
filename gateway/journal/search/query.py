"""The query language of lists: text read into a tree. Pure; knows neither SQL nor FTS5.

    refund "next week" status:failed,expired model:gpt* -tag:team=search (dur:>10s OR http:5xx)

Words and phrases are searched for in request, answer and error; `field:value` asks about the call;
what stands side by side must all hold. An unknown `field:` is text. `-` negates, `OR` and
parentheses do what they look like. `fields.py` says which fields there are and reads their values.

Invariant: whatever is typed becomes a tree or a `BadQuery` that names a place in it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from gateway.errors import BadQuery
from gateway.journal.search.fields import FIELDS, Test
from gateway.journal.search.words import has_words

MAX_CHARS = 1024
MAX_TERMS = 64
MAX_DEPTH = 16
MIN_PREFIX = 2  # characters before a `*`: fewer stand for half of all words


@dataclass(frozen=True, slots=True)
class Text:
    """These words, one after the other; *prefix*: the last may go on."""

    words: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One of these tests holds for the field."""

    name: str
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    node: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    nodes: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them."""

    nodes: "tuple[Node, ...]"


Node: TypeAlias = Text | Field | Not | And | Or


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  #: "(", ")", "-", "OR", "term", "end"
    at: int
    field: str | None = None
    value: str = ""
    value_at: int = 0
    quoted: bool = False


_NAME = re.compile(r"([a-z_]+):")
_BARE = re.compile(r'[^\s()"]+')
_BLANK = re.compile(r"\s*")


def parse(text: str) -> Node | None:
    """The tree of *text*; None where it asks for nothing. Raises: BadQuery."""
    if len(text) > MAX_CHARS:
        raise BadQuery(f"must be at most {MAX_CHARS} characters", MAX_CHARS)
    for at, character in enumerate(text):
        if "\ud800" <= character <= "\udfff":
            raise BadQuery("must be UTF-8", at)
    tokens = list(_tokens(text))
    if len(tokens) == 1:
        return None
    if sum(token.kind == "term" for token in tokens) > MAX_TERMS:
        raise BadQuery(f"asks for more than {MAX_TERMS} things", tokens[MAX_TERMS].at)
    return _Parser(tokens).parse()


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while True:
        at = _end(_BLANK, text, at)
        if at == len(text):
            yield _Token("end", at)
            return
        if text[at] in "()":
            yield _Token(text[at], at)
            at += 1
        elif text[at] == "-" and at + 1 < len(text) and not text[at + 1].isspace():
            yield _Token("-", at)
            at += 1
        elif text.startswith("OR", at) and _end(_BARE, text, at) == at + 2:
            yield _Token("OR", at)
            at += 2
        else:
            token, at = _term(text, at)
            yield token


def _term(text: str, at: int) -> tuple[_Token, int]:
    field, start = None, at
    if (name := _NAME.match(text, at)) and name[1] in FIELDS:
        field, start = name[1], name.end()
    if text[start : start + 1] == '"':
        value, end = _quoted(text, start)
        star = text[end : end + 1] == "*" and field is None
        return _Token("term", at, field, value + "*" * star, start, not star), end + star
    end = _end(_BARE, text, start)
    if field and text[end - 1 : end] == "=" and text[end : end + 1] == '"':  # tag:team="a b"
        quoted, after = _quoted(text, end)
        return _Token("term", at, field, text[start:end] + quoted, start, True), after
    return _Token("term", at, field, text[start:end], start), end


def _quoted(text: str, at: int) -> tuple[str, int]:
    end = text.find('"', at + 1)
    if end < 0:
        raise BadQuery("this quote is never closed", at, hint='end the phrase with "')
    return text[at + 1 : end], end + 1


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


class _Parser:
    """Recursive descent: any = all ("OR" all)*, all = one+, one = ["-"] (term | "(" any ")")."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def parse(self) -> Node:
        node = self._any(0)
        if self._token.kind == ")":
            raise BadQuery("there is no ( for this )", self._token.at)
        return node

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._token
        self._at += 1
        return token

    def _any(self, depth: int) -> Node:
        nodes = [self._all(depth)]
        while self._token.kind == "OR":
            self._take()
            nodes.append(self._all(depth))
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def _all(self, depth: int) -> Node:
        nodes = [self._one(depth)]
        while self._token.kind not in (")", "OR", "end"):
            nodes.append(self._one(depth))
        return nodes[0] if len(nodes) == 1 else And(tuple(nodes))

    def _one(self, depth: int) -> Node:
        token = self._take()
        if depth >= MAX_DEPTH:
            raise BadQuery("this is nested too deeply", token.at)
        match token.kind:
            case "-":
                return Not(self._one(depth + 1))
            case "(":
                node = self._any(depth + 1)
                if self._token.kind != ")":
                    raise BadQuery("this ( is never closed", token.at, hint="add )")
                self._take()
                return node
            case "term":
                return _leaf(token)
            case _:
                pass
        self._at -= 1
        what = {"OR": "OR", ")": ")", "end": "the end"}[token.kind]
        raise BadQuery(f"something to look for is missing before {what}", token.at)


def _leaf(token: _Token) -> Node:
    if token.field is None:
        return _text(token)
    if not token.value:
        raise BadQuery(f"{token.field}: has no value", token.at, hint=FIELDS[token.field].example)
    # A quoted value is one value, whatever is in it.
    values = [token.value] if token.quoted else token.value.split(",")
    tests: list[Test] = []
    at = token.value_at
    for value in values:
        try:
            tests.append(FIELDS[token.field].read(value))
        except ValueError as error:
            hint = FIELDS[token.field].example
            raise BadQuery(f"{token.field}: {error}", at, hint=hint) from error
        at += len(value) + 1
    return Field(token.field, tuple(tests))


def _text(token: _Token) -> Text:
    words = token.value
    prefix = words.endswith("*") and not token.quoted
    words = words.rstrip("*") if prefix else words
    if not has_words(words):
        raise BadQuery("there is no word in this", token.at, hint="letters or digits are searched")
    if prefix and (not has_words(words[-1]) or len(words) < MIN_PREFIX):
        hint = f"put at least {MIN_PREFIX} letters before the *"
        raise BadQuery("this would match too many words", token.at, hint=hint)
    return Text(words, prefix)
