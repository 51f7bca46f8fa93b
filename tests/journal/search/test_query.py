"""The query language: what is typed is a tree or a named mistake, and SQL answers as the tree says."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.call import Status
from gateway.errors import BadQuery
from gateway.journal.filters import read_filters
from gateway.journal.search.fields import FIELDS, Between, Equal, Glob, Tagged
from gateway.journal.search.query import And, Field, Node, Not, Or, Text, parse
from gateway.journal.search.scan import Wanted, scan
from gateway.journal.search.volumes import Entry, write_entries
from gateway.journal.search.words import spaced
from tests.recorded_calls import RecordedCalls

INJECTION = [
    "') OR 1=1 --", '"; DROP TABLE calls; --', "x' UNION SELECT * FROM meta --", "\x00", "a\x00b",
    'a" OR request:b', "request : a", "{request answer} : a", "^a", "a NEAR b", "NEAR(a b, 2)",
    "a NOT b", "*", "a* b**", "search_1", "model:'", 'model:"a\' OR TRUE"', "tag:a=b' OR '1",
    "model:[a-", "id:%", ":v0", "?1", "$x", "@x", "a:b:c", "dur:>1e9", "http:>=999999999999999999",
    "tokens:99999999999999999999", "-", "--a", "- a", "()", "(()", "OR", "a OR", "a OR OR b",
    '""', '"', "''", "\u202e\u2066abc", "東京", "东京*", "กรุงเทพ", "\U0001f600", "ﬁ", "İ", "a\tb\nc",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", None),
        ("  ", None),
        ("refund", Text("refund")),
        ('"next week"', Text("next week")),
        ("ref*", Text("ref", prefix=True)),
        ('"next we"*', Text("next we", prefix=True)),
        ("a1 b1", And((Text("a1"), Text("b1")))),
        ("aa OR bb cc", Or((Text("aa"), And((Text("bb"), Text("cc")))))),
        ("(aa OR bb) cc", And((Or((Text("aa"), Text("bb"))), Text("cc")))),
        ("-aa", Not(Text("aa"))),
        ("--aa", Not(Not(Text("aa")))),
        ("-(aa bb)", Not(And((Text("aa"), Text("bb"))))),
        ("well-known", Text("well-known")),
        ("status:failed,expired", Field("status", (Equal("failed"), Equal("expired")))),
        ("model:gpt*", Field("model", (Glob("gpt*"),))),
        ('model:"a b"', Field("model", (Equal("a b"),))),
        ("tag:team=search", Field("tag", (Tagged("team", Equal("search")),))),
        ('tag:team="a, b"', Field("tag", (Tagged("team", Equal("a, b")),))),
        ("tag:team", Field("tag", (Tagged("team", None),))),
        ("http:5xx", Field("http", (Between(500, 600, with_high=False),))),
        ("dur:>1.5s", Field("dur", (Between(low=1500.0, with_low=False),))),
        ("dur:<=2m", Field("dur", (Between(high=120_000.0),))),
        ("queue:>250ms", Field("queue", (Between(low=250.0, with_low=False),))),
        ("size:>1mb", Field("size", (Between(low=1_048_576.0, with_low=False),))),
        ("tokens:2k", Field("tokens", (Between(2000, 2000),))),
        ("method:post", Field("method", (Equal("POST"),))),
        ("stream:yes", Field("stream", (Between(1, 1),))),
        ("https://example.com/a", Text("https://example.com/a")),
        ("state:failed", Text("state:failed")),
        ("ORacle", Text("ORacle")),
    ],
)
def test_it_means_what_it_looks_like(text: str, tree: Node | None) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "position", "hint"),
    [
        ('refund "next', 7, '"'),
        ("(aa bb", 0, ")"),
        ("aa)", 2, None),
        ("aa OR", 5, None),
        ("OR aa", 0, None),
        ("()", 1, None),
        ("status:faild", 7, "status:"),
        ("status:failed,nope", 14, "status:"),
        ("model:", 0, "model:gpt*"),
        ("dur:>ten", 4, "dur:>10s"),
        ("http:9xx", 5, "http:5xx"),
        ("aa !!!", 3, "letters"),
        ("a*", 0, "2 letters"),
        ("aa \udcff", 3, None),
        ("a" * 1025, 1024, None),
        ("-" * 20 + "a", 16, None),
        ("aa " * 65, 192, None),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, position: int, hint: str | None) -> None:
    with pytest.raises(BadQuery) as caught:
        parse(text)

    assert caught.value.position == position
    assert hint is None or hint in (caught.value.hint or "")


def test_a_misspelt_status_suggests_the_right_one() -> None:
    with pytest.raises(BadQuery, match="did you mean failed"):
        parse("status:faild")


@pytest.mark.parametrize("name", FIELDS)
def test_the_example_of_every_field_is_a_query(name: str) -> None:
    tree = parse(FIELDS[name].example)

    assert isinstance(tree, Field)
    assert tree.name == name


WORDS = ["alpha", "beta", "gamma", "Ünïcode", "東京", "alphabet"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
ROWS = st.fixed_dictionaries({
    "status": st.sampled_from(list(Status)),
    "model": st.sampled_from([None, "gpt-4o", "gpt-3", "claude"]),
    "http_status": st.sampled_from([None, 200, 404, 503]),
    "duration_ms": st.sampled_from([None, 5.0, 1500.0, 20_000.0]),
    "error_code": st.sampled_from([None, "upstream_error", "connect_timeout"]),
    "total_tokens": st.sampled_from([None, 10, 5000]),
    "attempts": st.integers(0, 3),
    "tags": st.dictionaries(st.sampled_from(["team", "run"]), st.sampled_from(["a", "b"])),
    "request": TEXTS,
    "answer": TEXTS,
})  # fmt: skip
LEAVES = st.sampled_from([
    *(Text(word) for word in ("alpha", "BETA", "unicode", "東京", "京", "alpha beta")),
    Text("alph", prefix=True),
    *(Field("status", (Equal(status),)) for status in Status),
    Field("status", (Equal("failed"), Equal("queued"))),
    Field("model", (Equal("gpt-4o"),)), Field("model", (Glob("gpt*"), Equal("claude"))),
    Field("http", (Between(500, 600, with_high=False),)), Field("http", (Between(200, 200),)),
    Field("dur", (Between(low=1500.0, with_low=False),)), Field("dur", (Between(high=1500.0),)),
    Field("error", (Glob("*_timeout"),)), Field("tokens", (Between(low=1000),)),
    Field("attempts", (Between(low=1, with_low=False),)), Field("attempts", (Between(1, 1),)),
    Field("tag", (Tagged("team", Equal("a")),)), Field("tag", (Tagged("run", None),)),
])  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda nodes: And(tuple(nodes))),
        st.lists(inner, min_size=2, max_size=3).map(lambda nodes: Or(tuple(nodes))),
    ),
    max_leaves=6,
)


EMPTY: dict[str, Any] = {
    "status": Status.QUEUED, "tags": {}, "attempts": 0, "request": "ab", "answer": "",
    **dict.fromkeys(("model", "http_status", "duration_ms", "error_code", "total_tokens")),
}  # fmt: skip


def holds(node: Node, row: dict[str, Any]) -> bool:
    """What the tree says of a call: the language, in other words."""
    match node:
        case Not(inner):
            return not holds(inner, row)
        case And(nodes):
            return all(holds(each, row) for each in nodes)
        case Or(nodes):
            return any(holds(each, row) for each in nodes)
        case Text(words, prefix):
            return any(says(row[side], words, prefix) for side in ("request", "answer"))
        case Field(name, tests):
            return any(meets(name, test, row) for test in tests)


def says(text: str, words: str, prefix: bool) -> bool:
    plain = text.lower().replace("ü", "u").replace("ï", "i")
    if words in ("東京", "京"):
        return words in plain
    padded = f" {plain} "
    return f" {words.lower()}{'' if prefix else ' '}" in padded


def meets(name: str, test: Any, row: dict[str, Any]) -> bool:
    column = {
        "http": "http_status", "dur": "duration_ms", "error": "error_code", "tokens": "total_tokens"
    }.get(name, name)  # fmt: skip
    match test:
        case Tagged(tag, value):
            return row["tags"].get(tag) == (value.value if value else row["tags"].get(tag, ""))
        case Equal(value):
            return row[column] == value
        case Glob(pattern):
            return row[column] is not None and fnmatchcase(row[column], pattern)
        case Between(low, high, with_low, with_high):
            value = row[column]
            if value is None:
                return False
            above = value >= low if with_low else value > low
            return above and (value <= high if with_high else value < high)
    raise AssertionError


def written(node: Node) -> str:
    """The tree as somebody would type it."""
    match node:
        case Not(inner):
            return f"-{written(inner)}"
        case And(nodes):
            return f"({' '.join(map(written, nodes))})"
        case Or(nodes):
            return f"({' OR '.join(map(written, nodes))})"
        case Text(words, prefix):
            return f'"{words}"{"*" if prefix else ""}'
        case Field(name, tests):
            return f"{name}:{','.join(map(valued, tests))}"


def valued(test: Any) -> str:
    match test:
        case Tagged(name, value):
            return f"{name}={value.value}" if value else name
        case Equal(value) | Glob(value):
            return value
        case Between(low, high, with_low, with_high):
            if low == high:
                return f"{low:g}"
            if with_high is False:
                return "5xx"
            unit = "ms" if low == 1500.0 or high == 1500.0 else ""
            if high < float("inf"):
                return f"<={high:g}{unit}"
            return f">{'=' if with_low else ''}{low:g}{unit}"
    raise AssertionError


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedCalls]:
    """Yield a journal that each example fills anew."""
    with RecordedCalls(tmp_path_factory.mktemp("query") / "gateway.db") as recorded:
        recorded.connection.execute("PRAGMA synchronous = OFF")
        yield recorded


def fill(journal: RecordedCalls, rows: list[dict[str, Any]]) -> None:
    """Let the journal hold calls 1, 2, … as *rows* say."""
    connection = journal.connection
    connection.execute("BEGIN")
    for table in ("calls", "requests", "parts", "attempts", "texts", "tags"):
        connection.execute(f"DELETE FROM {table}")
    for (number,) in connection.execute("SELECT number FROM volumes").fetchall():
        connection.execute(f"DROP TABLE search_{number}")
    connection.execute("DELETE FROM volumes")
    connection.execute("COMMIT")
    journal._seq = 0
    for row in rows:
        call = journal.add(status=row["status"], model=row["model"])
        names = ("http_status", "duration_ms", "error_code", "total_tokens")
        journal.change(call, open_attempt=None, **{name: row[name] for name in names})
        for number in range(1, row["attempts"] + 1):
            connection.execute(
                "INSERT INTO attempts VALUES (?,?,'u',0,NULL,0,'answered',NULL,'[]',NULL,NULL,NULL,"
                "NULL,0,1,0,NULL,1)",
                (call.seq, number),
            )
        for name, value in row["tags"].items():
            connection.execute("INSERT INTO tags VALUES (?, ?, ?)", (name, value, call.seq))
    entries = [
        Entry(seq=seq, final=True, request=spaced(row["request"]), answer=spaced(row["answer"]))
        for seq, row in enumerate(rows, 1)
    ]
    write_entries(connection, entries, searched_seq=0)


def found(journal: RecordedCalls, query: str) -> list[int]:
    filters = read_filters([("q", query)])
    wanted = Wanted(
        conditions=filters.conditions,
        values=dict(filters.values),
        expressions=filters.expressions,
        globs=filters.globs,
    )
    done = scan(journal.connection, wanted, "seq", most=100, deadline=0)
    return sorted(seq for (seq,) in done.rows)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(ROWS, max_size=5), trees=st.lists(TREES, min_size=1, max_size=4))
def test_sql_answers_as_the_tree_says(
    journal: RecordedCalls, rows: list[dict[str, Any]], trees: list[Node]
) -> None:
    fill(journal, rows)
    for tree in trees:
        expected = [seq for seq, row in enumerate(rows, 1) if holds(tree, row)]

        assert expected == found(journal, written(tree)), written(tree)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from([*INJECTION, *(f"{name}:" for name in FIELDS), *'()-"* ', " OR ", "ab"]),
        max_size=6,
    ).map("".join)
)
def test_whatever_is_typed_is_answered_or_refused_with_a_place(
    journal: RecordedCalls, text: str
) -> None:
    if not journal.connection.execute("SELECT 1 FROM volumes").fetchone():
        fill(journal, [EMPTY])
    position = 0
    try:
        found(journal, text)
    except BadQuery as refused:
        position = refused.position

    assert 0 <= position <= len(text)


@pytest.mark.parametrize("text", INJECTION)
def test_nothing_typed_becomes_sql_or_fts_syntax(journal: RecordedCalls, text: str) -> None:
    fill(journal, [])
    call = journal.add()
    write_entries(
        journal.connection, [Entry(seq=call.seq, final=True, request="a b")], searched_seq=0
    )
    try:
        numbers = found(journal, text)
    except BadQuery:
        return

    assert numbers in ([], [call.seq])
    assert journal.connection.execute("SELECT count(*) FROM calls").fetchone() == (1,)
