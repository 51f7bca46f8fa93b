"""The top level of JSON objects, against the standard library's parser."""

import json
import random

import pytest

from gateway.errors import BadRequest
from gateway.web import members

WORDS = ["model", "stream", "x", 'y"', "z\\", "{", "é", "😀", "a\nb", "[x]", "}", ""]


def grown(rng: random.Random, depth: int = 0) -> object:
    """Return some JSON value."""
    kind = rng.randrange(4 if depth > 4 else 6)
    if kind == 4:
        return [grown(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 5:
        return {rng.choice(WORDS): grown(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [rng.choice(WORDS), rng.randrange(-9, 9), 1.5e-7, rng.choice([True, False, None])][kind]


def test_members_are_those_that_a_parser_finds():
    rng = random.Random(5)
    for _ in range(3_000):
        pairs = [(rng.choice(WORDS), grown(rng)) for _ in range(rng.randrange(5))]
        inside = ",".join(
            f"{json.dumps(name)} : {json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=1)}"
            for name, value in pairs
        )
        found = members.top_level(f" {{{inside}}}\n".encode())
        assert [name for name, _ in found] == [name for name, _ in pairs]
        for (_, text), (_, value) in zip(found, pairs, strict=True):
            assert (text is None) == isinstance(value, list | dict)
            assert members.text(text) == (value if isinstance(value, str) else None)


def test_a_changed_byte_hides_no_member_that_a_parser_finds():
    rng = random.Random(7)
    for _ in range(3_000):
        body = bytearray(json.dumps({rng.choice(WORDS): grown(rng) for _ in range(4)}).encode())
        body[rng.randrange(len(body))] = rng.choice(b'{}[]",:\\ a1')
        try:
            pairs = json.loads(bytes(body), object_pairs_hook=list)
        except ValueError:
            continue
        assert [name for name, _ in members.top_level(bytes(body))] == [name for name, _ in pairs]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"a":1', b'{"a":1}}', b'{"a":1,}', b'{"a"}', b'{"a":[}', b"{a:1}", b'{"a":"'],
)
def test_nothing_is_told_of_what_is_no_object(body):
    assert members.top_level(body) == []


def test_lists_that_are_asked_for_are_told_as_they_stand():
    rng = random.Random(9)
    for _ in range(1_000):
        pairs = [(rng.choice(["Models", *WORDS]), grown(rng)) for _ in range(rng.randrange(5))]
        inside = ",".join(f"{json.dumps(name)} : {json.dumps(value)}" for name, value in pairs)
        found = members.top_level(f"{{{inside}}}".encode(), lists=("models",))
        for (_, text), (name, value) in zip(found, pairs, strict=True):
            if name == "Models" and isinstance(value, list):
                assert text is not None
                assert json.loads(text) == value
                plain = all(isinstance(each, str) for each in value)
                assert members.strings(text) == (value if plain else None)
            else:
                assert (text is None) == isinstance(value, list | dict)
                assert members.strings(text) is None


def test_what_holds_too_much_is_refused():
    with pytest.raises(BadRequest):
        members.top_level(b'{"a":' + b"[" * (members.MOST + 2))


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b"", 0),
        (b'"a, [b] \\" {c}"', 1),
        (b'{"a":1,"b":[2]}', 8),
        (b"[1,22,333]", 6),
        (b"[],[]", 5),
        (b" " * 65_537, 2),
        (b'"cut off', 2),
    ],
)
def test_a_body_is_counted_as_far_as_it_may_go(body, tokens):
    assert members.are_more_than(tokens - 1, body) if tokens else True
    assert not members.are_more_than(tokens, body)
