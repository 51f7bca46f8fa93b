"""From the tree of a query to SQL: a condition over a row of `calls`, its values bound by name.

Invariants: no text of the asker becomes SQL; a condition is meant for a window of calls, `:low` to
`:high`, so that what it looks up elsewhere is no more than that window's worth. Full text is the
content of a table expression `found_<n>`, the names that a glob means of `names_<n>`; `scan.py` puts
both before the statement.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from gateway.call import Status
from gateway.journal.search.fields import FIELDS, Between, Equal, Glob, Tagged, Test
from gateway.journal.search.query import And, Field, Node, Not, Or, Text
from gateway.journal.search.words import phrase

Value: TypeAlias = str | int | float

#: SQLite finds these by their indexes, one state at a time and only where it is a literal.
INDEXED = [status for status in Status if status is not Status.SUCCEEDED]

PATH_CHARS = 1024  #: of a path that a glob is compared with

#: Columns with an index and, mostly, few different values: a glob is a choice among these.
NAMES = ("model", "upstream", "error_code")


@dataclass(slots=True)
class Bound:
    """What conditions bind: values by name, and full-text expressions by number."""

    values: dict[str, Value] = field(default_factory=dict)
    expressions: list[str] = field(default_factory=list)  #: of `found_0`, `found_1` …
    globs: list[tuple[str, str]] = field(default_factory=list)  #: column, pattern; of `names_0` …

    def value(self, value: Value) -> str:
        """The place of *value* in the SQL."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def found(self, expression: str) -> str:
        """The condition that full text is found."""
        self.expressions.append(expression)
        return f"seq IN (SELECT seq FROM found_{len(self.expressions) - 1})"  # noqa: S608


def condition(node: Node, bound: Bound) -> str:
    """The SQL of *node*: true where it holds, false or NULL where it does not."""
    if expression := _full_text(node):
        return bound.found(expression)
    match node:
        case Not(inner):
            return f"(({condition(inner, bound)}) IS NOT TRUE)"
        case Or(nodes):
            return f"({' OR '.join(condition(each, bound) for each in nodes)})"
        case And(nodes):
            # Words side by side are one look into the index.
            texts = [each for each in nodes if _full_text(each)]
            others = [each for each in nodes if not _full_text(each)]
            whole = [And(tuple(texts))] if texts else []
            return f"({' AND '.join(condition(each, bound) for each in (*whole, *others))})"
        case Field(name, tests):
            return _field(name, tests, bound)
        case Text():
            raise AssertionError("all text is full text")
    assert_never(node)


def status_condition(wanted: Iterable[Status]) -> str:
    """The call has one of these statuses."""
    chosen = sorted(set(wanted))
    if not set(chosen) <= set(INDEXED):
        return f"status IN ({', '.join(repr(status.value) for status in chosen)})"
    found = (
        f"SELECT seq FROM calls WHERE status = {status.value!r} AND seq BETWEEN :low AND :high"  # noqa: S608
        for status in chosen
    )
    return f"seq IN ({' UNION ALL '.join(found)})"


def tag_condition(name: str, test: Equal | Glob | None, bound: Bound) -> str:
    """The call has such a tag."""
    value = "TRUE" if test is None else text_condition("tags.value", test, bound)
    return (
        f"seq IN (SELECT tags.seq FROM tags WHERE name = {bound.value(name)} AND {value}"  # noqa: S608
        " AND tags.seq BETWEEN :low AND :high)"
    )


def text_condition(column: str, test: Equal | Glob, bound: Bound) -> str:
    """*column* is that, or like that."""
    if isinstance(test, Equal):
        value = bound.value(test.value)
        if column == "key_id":  # who has a key is known by it (`Call.client`), and has that index
            return f"(client = 'key:' || {value} AND client <> '' AND key_id = {value})"
        return f"{column} = {value}"
    # The one text of a call that may be long: no more of it is compared, whatever it holds.
    text = f"substr(path, 1, {PATH_CHARS})" if column == "path" else column
    glob = f"{text} GLOB {bound.value(test.pattern)}"
    if column not in NAMES:
        return glob
    bound.globs.append((column, test.pattern))
    return f"({glob} AND {column} IN (SELECT name FROM names_{len(bound.globs) - 1}))"  # noqa: S608


def number_condition(name: str, test: Between, bound: Bound) -> str:
    """The field *name* of the language is within those bounds."""
    return f"({_indexed(name, test)}{_between(FIELDS[name].column, test, bound)})"


def _full_text(node: Node) -> str | None:
    """The FTS5 expression of *node*, if it is nothing but text."""
    match node:
        case Text(words, prefix):
            return phrase(words, prefix=prefix)
        case And(nodes) | Or(nodes):
            parts = [_full_text(each) for each in nodes]
            if all(parts):
                operator = " AND " if isinstance(node, And) else " OR "
                return f"({operator.join(filter(None, parts))})"
        case Field() | Not():
            pass
    return None


def _field(name: str, tests: tuple[Test, ...], bound: Bound) -> str:
    if name == "status":
        return status_condition(Status(test.value) for test in tests if isinstance(test, Equal))
    return f"({' OR '.join(_test(name, test, bound) for test in tests)})"


def _test(name: str, test: Test, bound: Bound) -> str:
    column = FIELDS[name].column
    match test:
        case Tagged(tag, value):
            return tag_condition(tag, value, bound)
        case Equal() | Glob():
            return text_condition(column, test, bound)
        case Between():
            return number_condition(name, test, bound)
    assert_never(test)


def _between(column: str, test: Between, bound: Bound) -> str:
    ends = []
    if test.low > -math.inf:
        ends.append(f"{column} {'>=' if test.with_low else '>'} {bound.value(test.low)}")
    if test.high < math.inf:
        ends.append(f"{column} {'<=' if test.with_high else '<'} {bound.value(test.high)}")
    return " AND ".join(ends) or f"{column} IS NOT NULL"


def _indexed(name: str, test: Between) -> str:
    """What follows from *test* and leads SQLite to an index."""
    if name == "http" and test.low >= 400:
        return "http_status >= 400 AND "
    if name == "attempts" and (test.low > 1 or (test.low == 1 and not test.with_low)):
        return (
            "seq IN (SELECT seq FROM attempts WHERE number = 2 AND seq BETWEEN :low AND :high"
            " UNION ALL SELECT seq FROM calls WHERE status = 'running') AND "
        )
    return ""
