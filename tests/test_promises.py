"""Every promise is in promises.md, and the tests that it names are there. Nothing is imported for it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(
    r"^\| (?P<id>[SPC]\d+) \| (?P<promise>[^|]+) \| (?P<proof>[^|]+) \|$", re.MULTILINE
)
TEST = re.compile(r"`(?P<path>tests/[\w/]+\.py)::(?P<name>\w+)`")
IDS = [
    f"{letter}{n}" for letter, last in (("S", 42), ("P", 70), ("C", 39)) for n in range(1, last + 1)
]


def rows() -> list[re.Match[str]]:
    return list(ROW.finditer((ROOT / "tests/promises.md").read_text(encoding="utf-8")))


def names_in(path: str) -> set[str]:
    """Return the names of the tests that a file defines, state machines included."""
    if not (ROOT / path).exists():
        return set()
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {each.id for each in node.targets if isinstance(each, ast.Name)}
    return {name for name in found if name.lower().startswith("test")}


def test_every_promise_has_one_row():
    assert [row["id"] for row in rows()] == IDS


def test_every_row_is_proven_or_says_that_it_is_not():
    unproven = {
        row["id"]
        for row in rows()
        if not TEST.search(row["proof"]) and not row["proof"].startswith("not held: ")
    }

    assert unproven == set()


def test_every_test_that_proves_something_exists():
    named = {
        (row["id"], each["path"], each["name"])
        for row in rows()
        for each in TEST.finditer(row["proof"])
    }
    known = {path: names_in(path) for _, path, _ in named}

    assert {each for each in named if each[2] not in known[each[1]]} == set()


def test_nothing_but_tests_stands_between_backticks():
    """A test that is misspelt must not pass for prose."""
    for row in rows():
        assert TEST.sub("", row["proof"]).count("`") == 0, row["id"]
