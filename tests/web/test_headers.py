"""What a client's fields mean: each value that makes sense, and each that does not, by its name."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import OnDisconnect, Options
from gateway.config import Upstream
from gateway.errors import BadRequest
from gateway.journal.redaction import has_secret_parameter
from gateway.web import headers

OPENAI = Upstream(name="openai", base_url="https://api.openai.com/v1")
KEYED = Upstream(name="keyed", base_url="https://api.openai.com/v1", api_key="sk-ours")
GEMINI = Upstream(name="gemini", base_url="https://gemini.example", dialect="gemini")
KEYED_GEMINI = Upstream(
    name="gemini", base_url="https://gemini.example", dialect="gemini", api_key="sk-ours"
)
MOCK = Upstream(name="mock", base_url="mock:")


def fields(*pairs: tuple[str, str]) -> headers.Headers:
    return tuple((name.encode(), value.encode()) for name, value in pairs)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("x-gateway-timeout-s", "30", {"timeout_s": 30.0}),
        ("X-Gateway-Timeout-S", " 0.25 ", {"timeout_s": 0.25}),
        ("x-gateway-queue-timeout-s", "1e3", {"queue_timeout_s": 1000.0}),
        ("x-gateway-priority", "0", {"priority": 0}),
        ("x-gateway-priority", "9", {"priority": 9}),
        ("x-gateway-fairness-key", "x" * 64, {"fairness_key": "x" * 64}),
        ("x-gateway-max-attempts", "1", {"max_attempts": 1}),
        ("x-gateway-on-disconnect", "finish", {"on_disconnect": OnDisconnect.FINISH}),
        ("x-gateway-on-disconnect", "cancel", {"on_disconnect": OnDisconnect.CANCEL}),
        ("x-gateway-tags", "team=search, run=7", {"tags": {"team": "search", "run": "7"}}),
        ("x-gateway-tags", "a==b,,", {"tags": {"a": "=b"}}),
        ("x-gateway-tags", "ort=Köln", {"tags": {"ort": "Köln"}}),
        ("x-gateway-webhook", "https://a.example/x", {"webhook": "https://a.example/x"}),
        ("Idempotency-Key", "k-1", {"idempotency_key": "k-1"}),
        ("Idempotency-Key", '"k-1"', {"idempotency_key": "k-1"}),
        ("x-stainless-retry-count", "2", {"retry_count": 2}),
        ("Prefer", "respond-async", {"detached": True, "wait_s": 0.0}),
        ("Prefer", "Respond-Async, wait=10", {"detached": True, "wait_s": 10.0}),
        ("Prefer", 'wait="10",respond-async', {"detached": True, "wait_s": 10.0}),
        ("Prefer", "respond-async, wait=99999999999999", {"detached": True, "wait_s": 3600.0}),
        ("Prefer", "respond-async, wait=0000000000007", {"detached": True, "wait_s": 7.0}),
    ],
)
def test_a_field_means_what_it_says(name, value, expected):
    assert headers.options(fields((name, value))) == Options(**expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("x-gateway-timeout-s", v) for v in ["", "soon", "0", "-1", "nan", "inf", "1_0", "4e7"]),
        *(("x-gateway-queue-timeout-s", v) for v in ["", "0", "1,5", "0x10"]),
        *(("x-gateway-priority", v) for v in ["", "-1", "10", "1.5", "five", "²", "0" * 9]),
        *(("x-gateway-max-attempts", v) for v in ["", "0", "+1", "1e1", "9" * 400]),
        *(("x-gateway-fairness-key", v) for v in ["", "x" * 65, "a\tb", "a\x7f"]),
        *(("x-gateway-on-disconnect", v) for v in ["", "Finish", "ignore"]),
        *(("x-gateway-tags", v) for v in ["team", "a b=c", "=x", "a=\x01", "x" * 65 + "=1"]),
        ("x-gateway-tags", "a=" + "x" * 257),
        ("x-gateway-tags", ",".join(f"t{n}=1" for n in range(33))),
        *(("Idempotency-Key", v) for v in ["", '""', "x" * 256, "a\tb"]),
        *(("Prefer", f"respond-async, wait={v}") for v in ["", "-1", "1.5", "soon", "²"]),
        ("x-gateway-delay-s", "5"),
        ("x-gateway-not-before", "2026-11-22T17:00:00Z"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_name(name, value):
    with pytest.raises(BadRequest) as refused:
        headers.options(fields((name, value)))

    assert name.lower() in refused.value.message.lower()


def test_a_field_of_the_gateways_that_comes_twice_is_refused():
    twice = fields(("x-gateway-priority", "1"), ("X-Gateway-Priority", "1"))

    with pytest.raises(BadRequest, match="x-gateway-priority"):
        headers.options(twice)


@pytest.mark.parametrize(
    "pair",
    [
        ("x-gateway-call-id", "call_1"),
        ("x-gateway-invented", "???"),
        ("Prefer", "wait=10"),
        ("Prefer", "return=minimal, respond-asynchronously"),
        ("x-stainless-retry-count", "0"),
        ("x-stainless-retry-count", "many"),
        ("x-stainless-retry-count", "9" * 400),
    ],
)
def test_what_is_not_for_the_gateway_means_nothing(pair):
    assert headers.options(fields(pair)) == Options()


NAMES = st.sampled_from(
    [*(sorted(headers._KNOWN)), "prefer", "idempotency-key", "x-stainless-retry-count"]
)


@given(st.lists(st.tuples(NAMES.map(str.encode), st.binary(max_size=12)), max_size=4))
def test_no_bytes_in_a_field_are_worse_than_a_bad_request(raw):
    with contextlib.suppress(BadRequest):
        headers.options(tuple(raw))


# -- credentials


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "api-key", "x-goog-api-key"])
def test_a_client_is_known_by_whichever_credential_it_presents(name):
    assert headers.credential(fields((name, "secret")), "", "openai") == b"secret"


def test_the_key_in_a_query_is_a_credential_on_gemini_only():
    assert headers.credential((), "a=1&ke%79=AIza%2B", "gemini") == b"AIza+"
    assert headers.credential((), "key=AIza", "openai") is None
    both = fields(("x-goog-api-key", "header"))
    assert headers.credential(both, "key=query", "gemini") == b"header"


@pytest.mark.parametrize(
    ("upstream", "passed"), [(OPENAI, True), (GEMINI, True), (KEYED, False), (MOCK, False)]
)
def test_a_call_depends_on_the_clients_credential_where_the_upstream_has_none(upstream, passed):
    sent = fields(("Authorization", "Bearer sk-client"), ("Accept", "*/*"))

    assert headers.travelling(sent, upstream) == (sent, passed)
    assert headers.travelling(sent[1:], upstream) == (sent[1:], False)


@pytest.mark.parametrize(
    ("query", "upstream", "sent"),
    [
        ("key=AIza&alt=sse", KEYED_GEMINI, "alt=sse"),
        ("alt=sse&k%65y=AIza", KEYED_GEMINI, "alt=sse"),
        ("key=AIza", KEYED_GEMINI, ""),
        ("keys=1&monkey=2", KEYED_GEMINI, "keys=1&monkey=2"),
        ("key=AIza&alt=sse", GEMINI, "key=AIza&alt=sse"),
        ("key=AIza&alt=sse", KEYED, "key=AIza&alt=sse"),
    ],
)
def test_geminis_key_is_left_out_where_the_upstream_has_its_own(query, upstream, sent):
    assert headers.sent_query(query, upstream) == sent


@pytest.mark.parametrize(
    ("query", "secret"),
    [
        ("key=1", True), ("API_KEY=1", True), ("a=1&access_token=2", True), ("token=", True),
        ("s%69g=1", True), ("a=1;token=x", True),
        ("", False), ("keys=1", False), ("token", False), ("x=key", False),
    ],
)  # fmt: skip
def test_a_query_that_the_journal_will_hold_in_part_is_recognised(query, secret):
    assert has_secret_parameter(query) is secret


# -- the gateway's own keys

KEY = "gw_abcdefghijklmnop_" + "qrstuvwxyz234567" * 2 + "abcdefgh"
cased = st.sampled_from([str, str.upper, str.lower, str.title])
blanks = st.text(" \t", max_size=3)
credential_fields = st.tuples(
    st.sampled_from(["Authorization", "X-API-Key", "api-key", "x-goog-api-key"]), cased
).map(lambda drawn: drawn[1](drawn[0]))
schemes = st.tuples(
    st.sampled_from(["bearer", "basic", "token", "apikey", "digest"]), cased, st.text(" \t", min_size=1)
).map(lambda drawn: drawn[1](drawn[0]) + drawn[2])  # fmt: skip


@given(credential_fields, st.just("") | schemes, blanks, blanks)
def test_a_gateway_key_is_known_after_any_scheme_and_any_blanks_and_stays_here(
    name, scheme, before, after
):
    sent = fields((name, before + scheme + KEY + after), ("Accept", "*/*"))

    assert headers.gateway_keys(sent) == [KEY.encode()]
    assert headers.travelling(sent, OPENAI) == (sent[1:], False)


@given(credential_fields, st.just("") | schemes, cased, st.data())
def test_whatever_stands_around_a_gateway_key_it_does_not_travel(name, scheme, case, data):
    around = st.text('x7_ ?>,;:="\t\xe9', max_size=4)
    text = f"{data.draw(around)}{case(KEY)}{data.draw(around)}"
    if scheme.lower().startswith("basic") and data.draw(st.booleans()):
        encode = data.draw(st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
        text = encode(text.encode("latin-1")).decode()
        text = data.draw(st.sampled_from([text, text.rstrip("=")]))
    sent = ((name.encode(), f"{scheme}{text}".encode("latin-1")), (b"Accept", b"*/*"))

    assert headers.travelling(sent, OPENAI) == (sent[1:], False)
    assert headers.travelling(sent, KEYED) == (sent[1:], False)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("packed", [f"{KEY}:", f"??>:{KEY}", f"é??:{KEY}~?>"])
def test_basic_may_hold_a_gateway_key_as_user_or_password(packed, encode):
    sent = fields(("Authorization", f"Basic {encode(packed.encode()).decode()}"))

    assert headers.gateway_keys(sent) == [KEY.encode()]
    assert headers.travelling(sent, OPENAI) == ((), False)


@pytest.mark.parametrize("value", [
    "sk-client", "Bearer sk-gw_1", "Basic Z3dfczpzZWNyZXQ=", "Basic gateway", "Basic A", "Bearer", "",
    "Digest username=gw_a", 'Token token="gw"',
])  # fmt: skip
def test_other_credentials_are_not_taken_for_a_gateway_key(value):
    sent = fields(("Authorization", value))

    assert headers.gateway_keys(sent) == []
    assert headers.travelling(sent, OPENAI) == (sent, True)


@pytest.mark.parametrize("query", [
    f"key={KEY}", f"key={KEY.upper()}", f"k%65y=%67w{KEY[2:]}", f"key=Bearer%20{KEY}", f"key=+{KEY}",
    "key=gw_no_such",
])  # fmt: skip
@pytest.mark.parametrize("upstream", [OPENAI, KEYED, GEMINI, KEYED_GEMINI])
def test_a_gateway_key_in_a_query_does_not_travel(query, upstream):
    assert headers.sent_query(f"a=1&{query}&b=2", upstream) == "a=1&b=2"


# -- what travels


def test_fields_travel_in_their_order_with_their_case_and_repetitions():
    sent = fields(("x-B", "1"), ("X-a", "2"), ("x-b", "3"), ("Idempotency-Key", "k"),
                  ("X-Stainless-Retry-Count", "1"), ("Cookie", "a=1"))  # fmt: skip

    assert headers.travelling(sent, OPENAI) == (sent, False)


@pytest.mark.parametrize(
    "name",
    ["Host", "Expect", "X-Gateway-Key", "x-gateway-tags", "X-GATEWAY-INVENTED", "Connection",
     "Transfer-Encoding", "Content-Length", "TE", "Upgrade", "Keep-Alive"],
)  # fmt: skip
def test_what_is_for_this_hop_or_for_the_gateway_does_not_travel(name):
    assert headers.travelling(fields((name, "x")), OPENAI) == ((), False)


@pytest.mark.parametrize(
    ("value", "travels"),
    [
        ("respond-async", None),
        ("respond-async, wait=5", None),
        ("respond-async, wait=5, return=minimal", "return=minimal"),
        ("wait=5", "wait=5"),
        ("return=minimal,  wait=5", "return=minimal,  wait=5"),
    ],
)
def test_only_the_preferences_that_are_for_the_gateway_stay_here(value, travels):
    expected = fields(("Prefer", travels)) if travels else ()

    assert headers.travelling(fields(("Prefer", value)), OPENAI) == (expected, False)


# -- browsers

HOST = ("Host", "127.0.0.1:8080")


@pytest.mark.parametrize(
    ("sent", "refused"),
    [
        ([], False),
        ([("Origin", "http://127.0.0.1:8080")], False),
        ([("Origin", "HTTP://127.0.0.1:8080"), ("Sec-Fetch-Site", "same-origin")], False),
        ([("Origin", "https://app.example"), ("Sec-Fetch-Site", "cross-site")], False),
        ([("Sec-Fetch-Site", "none")], False),
        ([("Origin", "https://evil.example")], True),
        ([("Origin", "https://app.example.evil.example")], True),
        ([("Origin", "http://127.0.0.1:8081")], True),
        ([("Origin", "http://127.0.0.1")], True),
        ([("Origin", "null")], True),
        ([("Origin", "")], True),
        ([("Origin", "http://[")], True),
        ([("Origin", "http://127.0.0.1:8080"), ("Sec-Fetch-Site", "cross-site")], True),
        ([("Sec-Fetch-Site", "cross-site")], True),
        ([("Sec-Fetch-Site", "same-site")], True),
    ],
)
def test_a_browser_may_ask_from_our_own_origin_or_an_allowed_one(sent, refused):
    raw = fields(HOST, *sent)

    refusal = headers.check_origin(raw, ("https://app.example",), by_tls=False)

    assert (refusal is not None) is refused


@pytest.mark.parametrize(
    ("origin", "by_tls", "ours"),
    [
        ("https://127.0.0.1:8080", True, True),
        ("http://127.0.0.1:8080", True, False),  # anybody on the way wrote that page
        ("http://127.0.0.1:8080", False, True),
        ("https://127.0.0.1:8080", False, True),  # a proxy that does not say what it speaks
        ("https://127.0.0.1", True, False),
    ],
)
def test_a_page_without_tls_is_not_ours_to_a_request_with_it(origin, by_tls, ours):
    raw = fields(HOST, ("Origin", origin))

    assert headers.is_same_origin(raw, by_tls=by_tls) is ours
    assert (headers.check_origin(raw, (), by_tls=by_tls) is None) is ours


@pytest.mark.parametrize(
    ("destination", "is_page"),
    [("document", True), ("frame", True), ("iframe", True), ("empty", False), ("script", False)],
)
def test_a_navigation_is_recognised(destination, is_page):
    assert headers.is_navigation(fields(("Sec-Fetch-Dest", destination))) is is_page
    assert not headers.is_navigation(())
