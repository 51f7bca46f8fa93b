"""The retry policy, row by row, and its promises under arbitrary answers."""

import gzip
import random
import zlib
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.call import Attempt, Failure, Headers, Outcome
from gateway.config import Retry
from gateway.relay.retry import Again, Final, may_repeat, next_step, retry_after_s

NOW = 1_763_830_800.0  # 2025-11-22T17:00:00Z
POLICY = Retry()


def ended(
    outcome: Outcome | None,
    *,
    status: int | None = None,
    code: str | None = None,
    headers: Headers = (),
) -> Attempt:
    return Attempt(
        number=1,
        upstream="openai",
        started_at=NOW - 10,
        outcome=outcome,
        status=status,
        headers=headers,
        failure=Failure(code=code, message="…") if code else None,
    )


def answered(status: int, **headers: str) -> Attempt:
    return ended(
        Outcome.ANSWERED,
        status=status,
        headers=tuple((k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()),
    )


def step(
    attempt: Attempt,
    *,
    used: int = 1,
    allowed: int = 4,
    was_given: bool = False,
    policy: Retry = POLICY,
    within_s: float | None = None,
    body: bytes = b"",
    hopeless: bool = False,
    seed: int = 1,
) -> Final | Again:
    return next_step(
        attempt,
        used=used,
        allowed=allowed,
        given=was_given,
        policy=policy,
        now=NOW,
        within_s=within_s,
        body=body,
        rng=random.Random(seed),
        hopeless=hopeless,
    )


UNREACHABLE = ended(Outcome.UNREACHABLE, code="upstream_unreachable")
BROKEN = ended(Outcome.BROKEN, code="upstream_broken")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_the_statuses_of_the_config_are_retried(status: int):
    assert isinstance(step(answered(status)), Again)


@pytest.mark.parametrize(
    "attempt",
    [
        UNREACHABLE,
        BROKEN,
        ended(Outcome.BROKEN, status=200, code="upstream_broken"),
        *(
            ended(Outcome.TIMED_OUT, code=f"{kind}_timeout")
            for kind in ("connect", "first_byte", "idle", "total")
        ),
    ],
)
def test_an_attempt_that_failed_on_the_way_is_retried(attempt: Attempt):
    assert isinstance(step(attempt), Again)


@pytest.mark.parametrize(
    ("attempt", "why"),
    [
        (answered(200), "answered"),
        (answered(204), "answered"),
        (answered(307), "answered"),
        *((answered(status), "not_retryable") for status in (400, 401, 403, 404, 409, 413, 422)),
        (answered(501), "not_retryable"),
        (ended(Outcome.TIMED_OUT, code="deadline_exceeded"), "deadline"),
        (ended(Outcome.CANCELLED), "not_retryable"),
        (ended(Outcome.INTERRUPTED, code="interrupted"), "not_retryable"),
        (ended(Outcome.ANSWERED), "not_retryable"),
    ],
)
def test_everything_else_is_final(attempt: Attempt, why: str):
    assert Final(why=why) == step(attempt)


@pytest.mark.parametrize("attempt", [answered(503), UNREACHABLE, BROKEN])
def test_nothing_follows_an_answer_that_a_client_has_seen(attempt: Attempt):
    assert Final(why="given") == step(attempt, was_given=True)


def test_a_good_answer_is_an_answer_whether_it_was_given_or_not():
    assert Final(why="answered") == step(answered(200), was_given=True)


def test_the_last_attempt_allowed_is_final():
    assert isinstance(step(answered(503), used=3, allowed=4), Again)
    assert Final(why="attempts_used") == step(answered(503), used=4, allowed=4)
    assert Final(why="attempts_used") == step(UNREACHABLE, used=1, allowed=1)


def test_a_hopeless_failure_is_not_repeated():
    assert Final(why="not_retryable") == step(UNREACHABLE, hopeless=True)


QUOTA = b'{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}'
SPEND = (
    b'{"type":"error","error":{"type":"rate_limit_error","code":"enforced_spend_limit_reached"}}'
)
PACE = b'{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}'


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (QUOTA, "identity"),
        (SPEND, "identity"),
        (gzip.compress(QUOTA, mtime=0), "gzip"),
        (gzip.compress(SPEND, mtime=0), "X-GZip "),
        (zlib.compress(QUOTA), "deflate"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"x_should_retry": "true"}, {"retry_after": "1"}])
def test_a_429_that_means_out_of_credit_is_final(body: bytes, coding: str, more: dict[str, str]):
    attempt = answered(429, content_encoding=coding, **more)

    assert Final(why="insufficient_quota") == step(attempt, body=body)


@pytest.mark.parametrize(
    ("body", "coding"), [(PACE, "identity"), (gzip.compress(PACE, mtime=0), "gzip")]
)
def test_a_429_that_is_about_pace_is_retried(body: bytes, coding: str):
    assert isinstance(step(answered(429, content_encoding=coding), body=body), Again)


def test_credit_matters_to_a_429_only():
    assert isinstance(step(answered(503), body=QUOTA), Again)


def test_an_unreadable_429_is_about_pace_only_if_a_header_says_so():
    final = step(answered(429, content_encoding="br"), body=b"\x8b\x03")
    hinted = step(answered(429, content_encoding="br", retry_after="1"), body=b"\x8b\x03")
    counted = step(answered(429, content_encoding="zstd", x_ratelimit_remaining_requests="0"))
    damaged = step(answered(429, content_encoding="gzip"), body=b"no gzip")

    assert Final(why="insufficient_quota") == final
    assert isinstance(hinted, Again)
    assert isinstance(counted, Again)
    assert Final(why="insufficient_quota") == damaged


def test_an_error_body_that_unpacks_to_megabytes_is_scanned_briefly():
    bomb = gzip.compress(b"\0" * 5_000_000 + QUOTA)

    assert isinstance(step(answered(429, content_encoding="gzip"), body=bomb), Again)


@pytest.mark.parametrize(
    "attempt", [answered(503, x_should_retry="false"), answered(429, x_should_retry=" False")]
)
def test_an_upstream_that_wants_no_retry_gets_none(attempt: Attempt):
    assert Final(why="told_not_to") == step(attempt)


def test_a_break_after_a_head_that_wants_no_retry_is_final():
    attempt = ended(Outcome.BROKEN, status=500, headers=((b"X-Should-Retry", b"false"),))

    assert Final(why="told_not_to") == step(attempt)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 501, 505, 599])
def test_an_upstream_may_ask_for_a_retry_that_the_config_does_not_list(status: int):
    policy = Retry(statuses=frozenset({503}))

    assert isinstance(step(answered(status, x_should_retry="true"), policy=policy), Again)
    assert Final(why="not_retryable") == step(answered(status), policy=policy)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 451])
def test_no_upstream_can_ask_for_another_4xx_to_be_retried(status: int):
    assert Final(why="not_retryable") == step(answered(status, x_should_retry="true"))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry_after": "3"}, 3.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": " 2.5 "}, 2.5),
        ({"Retry_After": ".5"}, 0.5),
        ({"retry_after": "3", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "0.5"}, 0.0005),
        ({"retry_after_ms": "soon", "retry_after": "3"}, 3.0),
        ({"retry_after_ms": "-1", "retry_after": "3"}, 3.0),
        ({"retry_after": "Sat, 22 Nov 2025 17:00:20 GMT"}, 20.0),
        ({"retry_after": "Saturday, 22-Nov-25 17:00:20 GMT"}, 20.0),
        ({"retry_after": "Sat Nov 22 17:00:20 2025"}, 20.0),
        ({"retry_after": "Sat, 22 Nov 2025 18:00:20 +0100"}, 20.0),
        ({"retry_after": "Sat, 22 Nov 2025 16:59:59 GMT"}, None),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "1_0"}, None),
        ({"retry_after": "3, 4"}, None),
        ({"retry_after": "9" * 400}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "Sat, 99 Nov 2025 17:00:20 GMT"}, None),
        ({}, None),
    ],
)
def test_a_hint_is_read_in_every_form_and_garbage_is_none(
    headers: dict[str, str], expected: float | None
):
    seen = retry_after_s(answered(503, **headers).headers, NOW)

    assert expected == pytest.approx(seen) if seen is not None else expected is None


def test_a_hint_is_waited_in_full_up_to_the_bound():
    at_bound = step(answered(429, retry_after="300"))
    beyond = step(answered(429, retry_after="300.1"))

    assert isinstance(at_bound, Again)
    assert at_bound.retry_after_s == 300.0
    assert 300.0 <= at_bound.after_s <= 300.5
    assert Final(why="retry_after_too_long") == beyond


def test_a_hint_of_zero_leaves_the_pause_to_us():
    pauses = {
        step(answered(503, retry_after="0"), used=4, allowed=9, seed=n).after_s for n in range(50)
    }

    assert max(pauses) > 2.0  # of 4 s


def test_a_pause_that_would_pass_the_deadline_is_not_begun():
    hinted = answered(503, retry_after="20")

    assert Final(why="deadline") == step(hinted, within_s=20.0)
    assert Final(why="deadline") == step(UNREACHABLE, within_s=0.0)
    assert isinstance(step(hinted, within_s=21.0), Again)


def test_pauses_double_and_use_their_whole_range():
    """Full jitter: anything from nothing to 0.5, 1, 2 … 30 s."""
    for used, cap_s in ((1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (90, 30.0)):
        pauses = [step(UNREACHABLE, used=used, allowed=99, seed=n).after_s for n in range(200)]

        assert min(pauses) < 0.1 * cap_s
        assert 0.9 * cap_s < max(pauses) <= cap_s


@pytest.mark.parametrize(
    ("attempt", "used", "held"),
    [
        (ended(None, status=200), 1, False),
        (ended(None, status=404), 1, False),
        (ended(None, status=503), 1, True),
        (ended(None, status=429), 1, True),
        (ended(None, status=503), 4, False),
        (ended(None, status=503, headers=((b"x-should-retry", b"false"),)), 1, False),
        (ended(None, status=409, headers=((b"x-should-retry", b"true"),)), 1, True),
    ],
)
def test_only_an_answer_that_may_be_repeated_is_held_back(attempt: Attempt, used: int, held: bool):
    assert held == may_repeat(attempt, used=used, allowed=4, policy=POLICY)


NAMES = st.sampled_from(
    [b"Retry-After", b"retry-after-ms", b"x-should-retry", b"Content-Encoding", b"date"]
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.text(alphabet="0123456789.+-eE_, naifNI", max_size=12).map(str.encode),
    st.floats(allow_nan=True).map(lambda number: str(number).encode()),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: format_datetime(at).encode()),
    st.integers(-3600, 3600).map(
        lambda ahead_s: format_datetime(datetime.fromtimestamp(NOW + ahead_s, UTC)).encode()
    ),
    st.sampled_from([b"true", b"false", b"gzip", b"br", b"0", b"1", b"299.9", b"301", b"1500"]),
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple)
ATTEMPTS = st.builds(
    ended,
    st.sampled_from(Outcome),
    status=st.none() | st.sampled_from([200, 304, 400, 404, 409, 429, 500, 503, 529, 999]),
    code=st.none() | st.sampled_from(["upstream_broken", "total_timeout", "deadline_exceeded"]),
    headers=HEADERS,
)
POLICIES = st.builds(
    Retry,
    max_attempts=st.just(4),
    backoff_s=st.floats(0, 1000),
    backoff_max_s=st.floats(0, 1000),
)


@given(
    attempt=ATTEMPTS,
    used=st.integers(0, 2000),
    allowed=st.integers(1, 2000),
    was_given=st.booleans(),
    policy=POLICIES,
    left_s=st.none() | st.floats(0, 1000),
    body=st.binary(max_size=60) | st.sampled_from([QUOTA, gzip.compress(SPEND)]),
    seed=st.integers(0, 9),
)
def test_every_decision_keeps_the_promises(
    attempt: Attempt, used: int, allowed: int, was_given: bool, policy: Retry,
    left_s: float | None, body: bytes, seed: int,
):  # fmt: skip
    """Total; ≤ *allowed* attempts; own delay in [0, cap]; ≥ the hint; never past the deadline."""
    decided = step(
        attempt, used=used, allowed=allowed, was_given=was_given, policy=policy,
        within_s=left_s, body=body, seed=seed,
    )  # fmt: skip

    if isinstance(decided, Again):
        assert used < allowed
        assert not was_given
        assert (
            attempt.status is None
            or attempt.outcome is not Outcome.ANSWERED
            or (attempt.status in policy.statuses | {409} or attempt.status >= 500)
        )
        assert left_s is None or decided.after_s < left_s
        assert decided.retry_after_s == retry_after_s(attempt.headers, NOW)
        if decided.retry_after_s:
            assert decided.retry_after_s <= 300
            assert 0 <= decided.after_s - decided.retry_after_s <= 1
        else:
            assert 0 <= decided.after_s <= policy.backoff_max_s


@given(attempt=ATTEMPTS, used=st.integers(1, 5), seed=st.integers(0, 9))
def test_an_answer_released_at_its_head_is_never_repeated(attempt: Attempt, used: int, seed: int):
    attempt.outcome = None
    held = may_repeat(attempt, used=used, allowed=4, policy=POLICY)
    attempt.outcome = Outcome.ANSWERED
    decided = step(attempt, used=used, seed=seed)

    assert held or isinstance(decided, Final)


@given(value=st.binary(max_size=60))
@example(b"Sat, 22 Nov 2025 17:00:20 +9999999999")
@example(b"Sat, 22 Nov 99999 17:00:20 GMT")
@example(b"1 Jan 0 0:0:0 -2359")
@example(b"1 Jan 1 0:0:0 +2359")
@example(b"9" * 5000)
@example(b"(" * 60)
@example("²".encode("latin-1"))
def test_no_header_value_breaks_the_reading_of_hints(value: bytes):
    for name in (b"retry-after", b"Retry-After-MS"):
        seen = retry_after_s(((name, value),), NOW)

        assert seen is None or 0 <= seen < float("inf")
