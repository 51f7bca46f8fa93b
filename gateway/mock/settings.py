"""How one request is answered: the settings, overridden by its `x-mock` header, decided by chance.

Owns the names a user can write. Invariant: all chance is spent in `plan()`, so the same seed and
the same requests give the same answers.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: A TCP reset instead of an answer; no answer at all; half an answer.
Fault: TypeAlias = Literal["reset", "hang", "cut"]
#: The ways in which a share of the requests can fail.
Failing: TypeAlias = Literal["500", "503", "429", "reset", "hang", "cut"]

ALL_FAILURES: tuple[Failing, ...] = ("500", "503", "429", "reset", "hang", "cut")
#: No hang among them: it would hold a slot until the caller's own timeout.
DEFAULT_FAILURES: tuple[Failing, ...] = ("500", "503", "429", "reset", "cut")

MAX_TOKENS = 100_000  # a plain answer is built in one go: about 0.6 MB of words
MAX_WAIT_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MockSettings:
    """What a request gets that asks for nothing in particular."""

    latency_s: float = 10.0  #: to the first byte of a plain answer, to the last of a stream
    jitter: float = 0.0  #: 0…1: latencies spread evenly over latency_s * (1 ± jitter)
    failure_rate: float = 0.0  #: 0…1: the share of requests that fail
    failures: tuple[Failing, ...] = DEFAULT_FAILURES  #: how they fail, each as often as the others
    tokens: int = 50  #: words in an answer, whatever max_tokens the request names


@dataclass(slots=True)
class LiveSettings:
    """The settings of a running simulated API: replace `current` and the next request obeys."""

    current: MockSettings


class Overrides(BaseModel):
    """The `x-mock` header: what this one request wants, None where it does not say."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    latency_s: Annotated[float, Field(ge=0, le=MAX_WAIT_S)] | None = None
    retry_after_s: Annotated[float, Field(ge=0, le=MAX_WAIT_S)] | None = None
    fault: Fault | None = None
    tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None


class BadOverride(ValueError):
    """The `x-mock` header makes no sense; the message names the key."""


_NONE = Overrides()


def overrides(lines: Iterable[str]) -> Overrides:
    """Read `key=value, …` from the `x-mock` field *lines*; the last of a repeated key wins.

    Raises: BadOverride
    """
    said: dict[str, str] = {}
    for item in ",".join(lines).split(","):
        key, equals, value = item.partition("=")
        if equals:
            said[key.strip()] = value.strip()
        elif item.strip():
            raise BadOverride(f"x-mock: {item.strip()}: expected key=value")
    if not said:
        return _NONE
    try:
        return Overrides.model_validate_strings(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "extra_forbidden":
            known = ", ".join(Overrides.model_fields)
            raise BadOverride(
                f"x-mock: {first['loc'][0]}: unknown key, known are {known}"
            ) from None
        raise BadOverride(f"x-mock: {first['loc'][0]}: {first['msg']}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to one request. *fault* comes first, then *status*."""

    latency_s: float
    tokens: int
    status: int = 200
    fault: Fault | None = None
    retry_after_s: float | None = None


def plan(settings: MockSettings, wanted: Overrides, rng: random.Random, *, quick: bool) -> Plan:
    """Decide what one request gets.

    1. A wanted latency is exact; a configured one has jitter.
    2. A wanted status or fault is what happens; otherwise a share of the requests fails.
    3. *quick* requests (lists of models and the like) answer at once and never fail by chance.
    """
    latency_s = wanted.latency_s
    if latency_s is None:
        spread = rng.uniform(1 - settings.jitter, 1 + settings.jitter)
        latency_s = 0.0 if quick else settings.latency_s * spread
    status, fault, retry_after_s = wanted.status, wanted.fault, wanted.retry_after_s
    left_to_chance = status is None and fault is None and not quick and settings.failures
    if left_to_chance and rng.random() < settings.failure_rate:
        failing = rng.choice(settings.failures)
        if failing == "reset" or failing == "hang" or failing == "cut":
            fault = failing
        else:
            status = int(failing)
        if failing == "429" and retry_after_s is None:
            retry_after_s = 1.0
    return Plan(
        latency_s=latency_s,
        tokens=settings.tokens if wanted.tokens is None else wanted.tokens,
        status=status or 200,
        fault=fault,
        retry_after_s=retry_after_s,
    )
