"""Credentials do not pass; everything else does, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.redaction import SECRET_HEADERS, redact_headers, redact_query, redact_target


@pytest.mark.parametrize("name", sorted(SECRET_HEADERS))
def test_the_value_of_a_credential_header_is_redacted_however_its_name_is_written(name):
    for spelling in (name, name.upper(), name.title()):
        fields = redact_headers(((spelling.encode(), b"Bearer sk-secret"),))

        assert [(spelling, "[redacted]")] == fields


def test_other_headers_keep_order_case_repetition_and_every_byte():
    headers = (
        (b"X-B", bytes(range(128, 256))),
        (b"x-a", b"1"),
        (b"X-B", b"2"),
        (b"api-keys", b"3"),
    )

    fields = redact_headers(headers)

    assert headers == tuple((n.encode("latin-1"), v.encode("latin-1")) for n, v in fields)


@pytest.mark.parametrize(
    ("query", "stored"),
    [
        ("key=s3cret", "key=[redacted]"),
        ("a=1&key=s3cret&b=2", "a=1&key=[redacted]&b=2"),
        ("api_key=s3cret&access_token=s3cret", "api_key=[redacted]&access_token=[redacted]"),
        ("TOKEN=s3cret&Sig=s3cret%3D=", "TOKEN=[redacted]&Sig=[redacted]"),
        ("%6bey=s3cret", "%6bey=[redacted]"),
        ("%4B%65%59=s3cret", "%4B%65%59=[redacted]"),
        ("+key=s3cret", "+key=[redacted]"),
        ("key=one;s3cret", "key=[redacted]"),
        ("a=1;key=s3cret&b=2", "a=1;key=[redacted]&b=2"),
        ("key=s3cret&key=s3cret", "key=[redacted]&key=[redacted]"),
        ("key=[redacted]", "key=[redacted]"),
    ],
)
def test_a_credential_in_a_query_is_redacted(query, stored):
    assert stored == redact_query(query)
    assert f"/v1/models?{stored}" == redact_target(f"/v1/models?{query}")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "alt=sse",
        "monkey=1&tokens=2&keys=3&signed=4",
        "key",
        "key=",
        "a=key%3Dx",
        "q=%zz%&&;=;x",
    ],
)
def test_a_query_without_credential_stays_as_it_was_sent(query):
    assert query == redact_query(query)


@given(
    st.lists(st.sampled_from(["key=", "a=", "Key=", "%6Bey=", "s3cret", "x", "&", "&", ";", "="]))
)
def test_no_value_of_a_secret_parameter_survives(pieces):
    query = "".join(pieces)
    stored = redact_query(query)

    for pair in stored.split("&"):
        name, _, value = pair.partition("=")
        if name.lower() in ("key", "%6bey"):
            assert value in ("", "[redacted]")
    assert stored == redact_query(stored)
