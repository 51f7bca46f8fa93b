"""Retry policy: what follows an attempt. Pure; time, chance and the answer are arguments.

Invariant: an attempt is repeated only where nothing of it reached a client and another may help;
a pause is never shorter than the upstream asked for and never passes the deadline. Checked row by
row and with arbitrary headers in `test_retry.py`.

Source: RFC 9110 §10.2.3 (Retry-After); retry-after-ms and x-should-retry as the official SDKs
read them.
"""

import math
import random
import re
import zlib
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal, TypeAlias

from gateway.call import Attempt, Headers, Outcome, header
from gateway.config import Retry

LONGEST_RETRY_AFTER_S = 300.0  # an upstream that asks for more has given its final answer
HINT_JITTER_S = 1.0  # at most, after a Retry-After that many calls were given at once
SCANNED_BYTES = 65_536  # of an error body, and of what it unpacks to
OUT_OF_CREDIT = (b"insufficient_quota", b"enforced_spend_limit_reached")  # OpenAI, Anthropic

#: What an upstream may ask to be repeated although the config does not list it; and every 5xx.
_ON_REQUEST = frozenset({408, 409, 429})
_NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)")

#: For the log: why there is no further attempt.
Why: TypeAlias = Literal[
    "answered",
    "not_retryable",
    "told_not_to",
    "insufficient_quota",
    "given",
    "attempts_used",
    "retry_after_too_long",
    "deadline",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The answer or failure at hand is the call's."""

    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Another attempt, after a pause without a slot."""

    after_s: float
    retry_after_s: float | None  #: what the upstream asked for


def next_step(
    attempt: Attempt,
    *,
    used: int,
    allowed: int,
    given: bool,
    policy: Retry,
    now: float,
    within_s: float | None,
    body: bytes,
    rng: random.Random,
    hopeless: bool = False,
) -> Final | Again:
    """Decide what follows the finished *attempt*.

    *used* counts the attempts so far, this one included, *allowed* how many there may be. *given*:
    a client has seen a byte or the head of its answer. *body* is that answer's as received, or its
    first `SCANNED_BYTES`. *hopeless*: another attempt must fail the same way (a certificate
    error). *within_s* is what the call has left until its deadline; *now*, wall time, is only for
    the dates that upstreams write.
    """
    why = _settled(attempt, used=used, allowed=allowed, policy=policy)
    if why is None and _is_out_of_credit(attempt, body):
        why = "insufficient_quota"
    if why is None and (given or hopeless):
        why = "given" if given else "not_retryable"
    if why is not None:
        return Final(why=why)

    hint_s = retry_after_s(attempt.headers, now)
    if hint_s is not None and hint_s > LONGEST_RETRY_AFTER_S:
        return Final(why="retry_after_too_long")
    pause_s = _pause_s(hint_s, used=used, policy=policy, rng=rng)
    if within_s is not None and pause_s >= within_s:
        return Final(why="deadline")
    return Again(after_s=pause_s, retry_after_s=hint_s)


def may_repeat(attempt: Attempt, *, used: int, allowed: int, policy: Retry) -> bool:
    """Tell at the head of an answer whether `next_step` might still repeat the attempt.

    Such an answer must be kept from every reader until it is decided. The other answers are given
    as they arrive: a client that got the head has got the call's answer.
    """
    return _settled(attempt, used=used, allowed=allowed, policy=policy) is None


def retry_after_s(headers: Headers, now: float) -> float | None:
    """The pause in seconds that *headers* ask for, by `retry-after-ms` or else `Retry-After`.

    Seconds may have a fraction; a date counts from *now*, wall time. None: nothing that makes
    sense, a date in the past included.
    """
    for name, unit_s in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        value = (header(headers, name) or "").strip()
        if _NUMBER.fullmatch(value) and math.isfinite(seconds := float(value) * unit_s):
            return seconds
    try:
        at = parsedate_to_datetime((header(headers, b"retry-after") or "").strip())
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


def _settled(attempt: Attempt, *, used: int, allowed: int, policy: Retry) -> Why | None:
    """Why no attempt follows, as far as the answer's head tells; None where one may."""
    # 1. It ended on the way: repeat it, unless the call's own time is what ran out.
    # 2. It answered: what the config lists, or what the upstream wants to be asked again.
    told = (header(attempt.headers, b"x-should-retry") or "").strip().lower()
    status = attempt.status or 0
    why: Why | None = None
    match attempt.outcome:
        case Outcome.UNREACHABLE | Outcome.TIMED_OUT | Outcome.BROKEN:
            if attempt.failure is not None and attempt.failure.code == "deadline_exceeded":
                why = "deadline"
        case Outcome.ANSWERED | None if 0 < status < 400:
            return "answered"
        case Outcome.ANSWERED | None:
            asked = told == "true" and (status in _ON_REQUEST or status >= 500)
            if status not in policy.statuses and not asked:
                why = "not_retryable"
        case Outcome.CANCELLED | Outcome.INTERRUPTED:
            why = "not_retryable"
    if why is None and told == "false":
        why = "told_not_to"
    if why is None and used >= allowed:
        why = "attempts_used"
    return why


def _pause_s(hint_s: float | None, *, used: int, policy: Retry, rng: random.Random) -> float:
    """A hint and a little more, so that those who got it together do not return together.

    Without a hint, or with one of zero, our own: doubling, capped, fully jittered.
    """
    if hint_s:
        return hint_s + rng.uniform(0.0, min(policy.backoff_s, HINT_JITTER_S))
    doubled_s = policy.backoff_s * 2.0 ** min(max(used, 1) - 1, 64)
    return rng.uniform(0.0, min(policy.backoff_max_s, doubled_s))


def _is_out_of_credit(attempt: Attempt, body: bytes) -> bool:
    """Whether a 429 is about money, not about pace: then waiting does not help.

    One that cannot be read here (brotli, zstd) is taken for it unless a header speaks of pace.
    """
    if attempt.status != 429:
        return False
    text = _plain_start(body, header(attempt.headers, b"content-encoding") or "identity")
    if text is None:
        names = [name.lower() for name, _ in attempt.headers]
        return not any(name.startswith(b"retry-after") or b"ratelimit" in name for name in names)
    return any(code in text for code in OUT_OF_CREDIT)


def _plain_start(body: bytes, coding: str) -> bytes | None:
    """The first `SCANNED_BYTES` of *body* without its *coding*; None where that is beyond us."""
    start = body[:SCANNED_BYTES]
    match coding.strip().lower():
        case "identity" | "":
            return start
        case "gzip" | "x-gzip" | "deflate":
            try:
                unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: either header
                return unpacking.decompress(start, SCANNED_BYTES)
            except zlib.error:
                return None
        case _:
            return None
