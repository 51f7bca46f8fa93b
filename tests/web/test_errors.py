"""One table from code to HTTP, told in the words of each API."""

import json
import random
import re

import pytest

from gateway import errors as tree
from gateway.web import errors

DIALECTS = ["openai", "anthropic", "gemini", "problem"]

STATUSES = {
    400: {"bad_request"},
    401: {"unauthorized"},
    403: {"forbidden"},
    404: {"not_found", "unknown_upstream"},
    409: {"conflict"},
    410: {"gone", "cancelled"},
    413: {"body_too_large"},
    415: {"unsupported_encoding"},
    421: {"bad_host"},
    422: {"idempotency_mismatch"},
    429: {"key_limit", "auth_throttled"},
    500: {"internal"},
    502: {"upstream_unreachable", "upstream_broken", "interrupted"},
    503: {"queue_full", "draining", "journal_unavailable", "too_many_viewers"},
    504: {
        *{"queue_timeout", "connect_timeout", "first_byte_timeout"},
        *{"idle_timeout", "total_timeout", "deadline_exceeded"},
    },
}

#: RFC 9209 §2.3: of the registered proxy error types those that may fit.
PROXY_ERRORS = {
    *{"dns_timeout", "dns_error", "destination_not_found", "destination_unavailable"},
    *{"connection_refused", "connection_terminated", "connection_timeout"},
    *{"connection_read_timeout", "connection_write_timeout", "connection_limit_reached"},
    *{"http_request_error", "http_request_denied", "http_response_incomplete"},
    *{"http_response_timeout", "http_upgrade_failed", "http_protocol_error"},
    *{"proxy_internal_response", "proxy_internal_error", "proxy_configuration_error"},
}


def told(code, dialect="openai", **said):
    answer = errors.answer(code, "why", dialect=dialect, **said)
    return answer, dict(answer.headers), json.loads(answer.body)


def test_the_table_is_the_one_of_the_contract():
    by_status = {}
    for code, row in errors.TABLE.items():
        by_status.setdefault(row.status, set()).add(code)

    assert by_status == STATUSES


def test_every_refusal_of_the_error_tree_is_in_the_table():
    def codes(kind):
        yield kind.code
        for below in kind.__subclasses__():
            yield from codes(below)

    assert set(codes(tree.Refused)) <= set(errors.TABLE)


@pytest.mark.parametrize("code", sorted(errors.TABLE))
def test_proxy_status_is_a_structured_field(code):
    """RFC 9209: an item with parameters; a registered type as token, our code as string (RFC 8941)."""
    _, fields, _ = told(code)
    found = re.fullmatch(r'gateway; error=([a-z_]+); details="([a-z_]+)"', fields["Proxy-Status"])

    assert found is not None
    assert found[1] in PROXY_ERRORS
    assert found[2] == code


@pytest.mark.parametrize("code", sorted(errors.TABLE))
def test_each_dialect_has_its_own_envelope(code):
    row = errors.TABLE[code]
    openai = {"message": "why", "type": row.openai, "param": None, "code": code}
    assert told(code, "openai")[2] == {"error": openai}

    anthropic = told(code, "anthropic", call_id="call_1")[2]
    assert anthropic["type"] == "error"
    assert anthropic["error"].items() >= {"type": row.anthropic, "message": "why"}.items()
    assert anthropic["request_id"] == "call_1"

    google = told(code, "gemini")[2]["error"]
    assert google.items() >= {"code": row.status, "message": "why", "status": row.google}.items()

    answer, fields, problem = told(code, "problem", instance="/-/calls")
    assert fields["Content-Type"] == "application/problem+json"
    assert problem["status"] == answer.status == row.status
    assert (problem["code"], problem["detail"], problem["instance"]) == (code, "why", "/-/calls")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_unheard_of_code_is_told_as_our_own_fault(dialect):
    answer, _, _ = told("invented", dialect)

    assert answer.status == 500


@pytest.mark.parametrize("code", sorted(errors.TABLE))
def test_only_what_passes_says_when_to_come_back(code):
    _, fields, _ = told(code)

    passes = errors.TABLE[code].status in (429, 503)
    assert ("Retry-After" in fields) is passes
    assert ("retry-after-ms" in fields) is passes


@pytest.mark.parametrize("asked_s", [None, 0.0, 0.2, 1.4, 30, 59.9, 60, 3600])
@pytest.mark.parametrize("seed", range(5))
def test_the_pause_is_spread_and_never_above_a_minute(asked_s, seed):
    """The only range that every official SDK obeys alike."""
    _, fields, _ = told("queue_full", retry_after_s=asked_s, rng=random.Random(seed))
    seconds, ms = int(fields["Retry-After"]), int(fields["retry-after-ms"])

    assert 1 <= seconds <= 60
    assert min(asked_s or 1.0, 60) * 1000 <= ms <= min((asked_s or 1.0) * 1250, 60_000)


@pytest.mark.parametrize(
    ("dialect", "first_line"),
    [("openai", b"data: {"), ("anthropic", b"event: error"), ("gemini", b"data: {")],
)
def test_a_broken_stream_ends_with_one_event(dialect, first_line):
    message = 'two\nlines, "quotes" and \u2028'
    event = errors.stream_event("upstream_broken", message, dialect, "call_1")
    lines = event.split(b"\n")

    assert lines[0].startswith(first_line)
    assert event.endswith(b"\n\n")
    assert event.count(b"\n\n") == 1
    (data,) = [line for line in lines if line.startswith(b"data: ")]
    assert json.loads(data[6:])["error"]["message"] == message


def test_a_problem_may_have_a_finer_status():
    answer = errors.problem(tree.BadRequest("not so"), path="/-/calls", status=405)
    problem = json.loads(answer.body)

    assert (answer.status, problem["status"], problem["title"]) == (405, 405, "Method Not Allowed")
    assert (problem["code"], problem["instance"]) == ("bad_request", "/-/calls")
