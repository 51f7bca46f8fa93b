"""A key gives nothing that its maker does not have, whatever either of them says: S6."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.keys import BOUNDS, SCOPES, Key, effective, is_within, matches

names = st.text("ab-*?[", min_size=1, max_size=4)
globs = st.lists(names, max_size=3).map(tuple)
bounds: dict[str, Any] = {name: st.none() | st.integers(1, 3) for name in BOUNDS}


@st.composite
def keys(draw: st.DrawFn) -> Key:
    return Key(
        id="x", name="x", hash=bytes(32), created_ms=0, created_by="cli",
        scopes=tuple(draw(st.sets(st.sampled_from(SCOPES), min_size=1))),
        upstreams=draw(globs), models=draw(globs),
        bodies=draw(st.sampled_from(["full", "metadata", "none"])),
        expires_ms=draw(st.none() | st.integers(1, 3)),
        **{name: draw(value) for name, value in bounds.items()},
    )  # fmt: skip


@given(keys(), keys(), st.text("ab-", min_size=1, max_size=4))
def test_what_a_key_lets_through_its_maker_would_let_through_too(new, maker, name):
    if is_within(new, maker):
        assert new.effective <= maker.effective
        for globs in ("upstreams", "models"):
            assert not matches(getattr(new, globs), name) or matches(getattr(maker, globs), name)
        for bound in (*BOUNDS, "expires_ms"):
            if getattr(maker, bound) is not None:
                assert getattr(new, bound) <= getattr(maker, bound)


@given(keys(), keys(), keys())
def test_nothing_is_gained_by_making_keys_with_keys(maker, child, grandchild):
    if is_within(child, maker) and is_within(grandchild, child):
        assert is_within(grandchild, maker)


@given(keys())
def test_every_key_may_make_its_like(key):
    assert is_within(key, key)


def test_scopes_include_others_and_nothing_else():
    assert effective(["read-all"]) == {"read-all", "read-own"}
    assert effective(["operate-all"]) == {*{"operate-all", "operate-own", "read-all", "read-own"}}
    assert effective(["admin"]) == set(SCOPES)
    assert effective(["relay", "root"]) == {"relay"}
