"""Which upstream, which path: the table of the README row by row, and nothing climbs."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config import Upstream
from gateway.errors import BadRequest, UnknownUpstream
from gateway.web import routing

UPSTREAMS = {
    upstream.name: upstream
    for upstream in [
        Upstream(name="first", base_url="https://first.example/v1", models=("gpt-*", "o*")),
        Upstream(name="local", base_url="http://127.0.0.1:9/deep/v1", models=("gpt-4*", "meta/*")),
        Upstream(name="claude", base_url="https://claude.example", dialect="anthropic"),
        Upstream(name="gem", base_url="https://gem.example", dialect="gemini", models=("gem*",)),
        Upstream(name="mock", base_url="mock:", models=("m",)),
    ]
}


def choose(path, *, named=None, model=None):
    route = routing.choose(path, named=named, model=model, upstreams=UPSTREAMS)
    return route.upstream.name, route.target


@pytest.mark.parametrize(
    ("path", "said", "expected"),
    [
        # the header goes first
        ("/v1/x", {"named": "claude", "model": "gpt-4"}, ("claude", "/v1/x")),
        ("/gem/x", {"named": "local"}, ("local", "/gem/x")),
        ("/local/x", {"named": "local"}, ("local", "/x")),
        # then the path's first segment
        ("/local/x", {"model": "gem-1"}, ("local", "/x")),
        ("/local/v1/x", {}, ("local", "/v1/x")),
        ("/local", {}, ("local", "")),
        ("/local/", {}, ("local", "/")),
        ("/locally/x", {}, ("first", "/locally/x")),
        # then the model, in the file's order
        ("/v1/x", {"model": "gpt-4"}, ("first", "/x")),
        ("/v1/x", {"model": "meta/llama"}, ("local", "/x")),
        ("/v1/models/gem-1", {}, ("gem", "/v1/models/gem-1")),
        ("/v1/models/meta%2Fllama", {}, ("local", "/models/meta%2Fllama")),
        ("/v1/models/meta/llama", {}, ("local", "/models/meta/llama")),
        ("/v1beta/models/gem-1:generateContent", {}, ("gem", "/v1beta/models/gem-1:generateContent")),
        ("/v1/messages", {"model": "gpt-4"}, ("first", "/messages")),
        # then the API
        ("/v1/messages", {}, ("claude", "/v1/messages")),
        ("/v1/messages/count_tokens", {"model": "?"}, ("claude", "/v1/messages/count_tokens")),
        ("/v1beta/files", {}, ("gem", "/v1beta/files")),
        # then the first upstream
        ("/v1/messagesx", {}, ("first", "/messagesx")),
        ("/v1/x", {"model": "unheard-of"}, ("first", "/x")),
        ("/v1", {}, ("first", "")),
        ("/v1x", {}, ("first", "/v1x")),
        ("/other", {}, ("first", "/other")),
        ("//v1/x", {}, ("first", "//v1/x")),
        # /v1 is kept where base_url has no path of its own
        ("/v1/x", {"named": "gem"}, ("gem", "/v1/x")),
        ("/v1/x", {"model": "m"}, ("mock", "/v1/x")),
    ],
)  # fmt: skip
def test_a_path_goes_where_the_table_says(path, said, expected):
    assert choose(path, **said) == expected


@pytest.mark.parametrize("named", ["nobody", "", "First", "first "])
def test_a_name_that_is_not_configured_is_refused(named):
    with pytest.raises(UnknownUpstream):
        choose("/v1/x", named=named)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/models/gpt-4o", "gpt-4o"),
        ("/v1/models/org%2Fname", "org/name"),
        ("/v1/models/org/name", "org/name"),
        ("/v1beta/models/gemini-2:streamGenerateContent", "gemini-2"),
        ("/v1/models", None),
        ("/v1/models/", None),
        ("/v1/chat/completions", None),
    ],
)
def test_a_path_may_name_the_model(path, model):
    assert routing.model_in_path(path) == model


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20))
def test_another_model_in_the_path_is_read_back(model):
    path = routing.with_model("/v1beta/models/old:generateContent", model)

    assert routing.model_in_path(path) == model
    assert path.endswith(":generateContent")


# -- what could climb


@pytest.mark.parametrize(
    "path",
    ["/a%2fb", "/models/org%2Fname", "/a..b/...", "/.well-known/x", "/~x", "/%E2%82%AC", "/a%20b",
     "/100%", "/%zz", "/a%2e%2eb", "//", "/x;y=1/@:$&'()*+,"],
)  # fmt: skip
def test_what_apis_need_is_accepted(path):
    routing.check_path(path)


@pytest.mark.parametrize("dots", [".", ".."])
@pytest.mark.parametrize("times", [0, 1, 2, 3])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_a_dot_segment_is_refused_in_every_encoding(dots, times, separator):
    def encoded(text):
        for _ in range(times):
            text = "".join(f"%{ord(c):02x}" if c in "./\\" else c.replace("%", "%25") for c in text)
        return text

    for path in (f"/v1{encoded(f'{separator}{dots}/')}x", f"/v1/x{encoded(f'/{dots}')}"):
        with pytest.raises(BadRequest):
            routing.check_path(path)


@pytest.mark.parametrize("path", ["", "x", "*", "http://host/x", "%2fx"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(BadRequest):
        routing.check_path(path)


PIECES = st.sampled_from(
    ["/", ".", "..", "%2e", "%2E", "%252e", "%25252e", "%2f", "%5c", "%255c", "\\", "%25", "25", "2e",
     "a", "%00", "%250a", "%7f", "\x01", "%", "é"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=8).map("".join))
@example("%25252e%25252e/x")
def test_no_accepted_path_holds_a_dot_segment_however_often_it_is_decoded(rest):
    path = f"/{rest}"
    try:
        routing.check_path(path)
    except BadRequest:
        return

    text = path.encode()
    for _ in range(4):  # as it is, and decoded once, twice, three times
        assert b"\\" not in text
        assert not {b".", b".."} & set(text.split(b"/"))
        assert all(byte >= 0x20 and byte != 0x7F for byte in text)
        text = unquote_to_bytes(text)
