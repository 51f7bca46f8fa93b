"""Which stretch of time statistics are asked for: query parameters read into steps of stored buckets.

Invariant: a step is made of whole buckets of one level that is kept for twice the window, so that
the window and the one before it are answered in full, and from about `MAX_BUCKETS` rows an upstream
at most.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import BadRequest
from gateway.journal.statistics.rollups import DAY_S, FINEST, LEVELS, LONGEST_FIRST

SHORTEST_S, LONGEST_S = 300, 30 * DAY_S
MAX_BUCKETS = 720  # 30 days by the hour
DEFAULT_STEPS = 120  # at most: what a chart shows well
#: Steps taken by themselves: lengths that people read at a glance, and that read few rows.
DEFAULT_STEPS_S = (10, 60, 300, 600, 900, 1800, 3600, 7200, 21_600)

PARAMETERS = ("window", "step", "upstream", "key")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": DAY_S}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Steps of `step_s` from `since` to `until`, the end of the one that is going on."""

    window_s: int
    step_s: int
    until: int  #: seconds since the epoch, like all times here
    upstream: str | None = None  #: this one alone
    key: str | None = None  #: the calls of this one alone

    @property
    def steps(self) -> int:
        """How many."""
        return -(-self.window_s // self.step_s)

    @property
    def since(self) -> int:
        """When the first step starts."""
        return self.until - self.steps * self.step_s

    @property
    def before(self) -> int:
        """When the equal window before it starts."""
        return self.since - self.steps * self.step_s

    @property
    def levels(self) -> list[int]:
        """How long the buckets are of which a step can be made, longest first."""
        return [level for level in LONGEST_FIRST if self.step_s % level == 0]


def read_window(parameters: Iterable[tuple[str, str]], *, now: float) -> Window:
    """Read the query *parameters*, (name, value) each.

    Raises: BadRequest, saying what is allowed
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise BadRequest(f"there is no parameter {name[:64]!r}; there are {known}")
        if name in given:
            raise BadRequest(f"{name}: may be given once")
        if not value:
            raise BadRequest(f"{name}: must not be empty")
        given[name] = value
    window_s = _duration("window", given.get("window", "1h"))
    if not SHORTEST_S <= window_s <= LONGEST_S:
        raise BadRequest("window: must be from 5m to 30d")
    step_s = _step(window_s, given.get("step"))
    return Window(
        window_s=window_s,
        step_s=step_s,
        until=(int(now) // step_s + 1) * step_s,
        upstream=given.get("upstream"),
        key=given.get("key"),
    )


def _step(window_s: int, text: str | None) -> int:
    if text is None:
        return next(
            step_s
            for step_s in DEFAULT_STEPS_S
            if _fits(window_s, step_s) and window_s <= step_s * DEFAULT_STEPS
        )
    step_s = _duration("step", text)
    if not step_s or step_s % FINEST:
        raise BadRequest("step: must be a multiple of 10s")
    if step_s > window_s:
        raise BadRequest("step: must not be longer than the window")
    if not _fits(window_s, step_s):
        least_s = next(each for each in DEFAULT_STEPS_S if _fits(window_s, each))
        raise BadRequest(
            f"step: {step_s}s is too fine for this window; take a multiple of {least_s}s, or leave it"
            " out"
        )
    return step_s


def _fits(window_s: int, step_s: int) -> bool:
    level = next(level for level in LONGEST_FIRST if step_s % level == 0)
    keep_s = LEVELS[level]
    return window_s <= level * MAX_BUCKETS and (keep_s is None or 2 * window_s <= keep_s)


def _duration(name: str, text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadRequest(f"{name}: must be a whole number with s, m, h or d, such as 90s or 6h")
    return int(match[1]) * _UNITS_S[match[2]]
