"""What each key may ask for in a minute and a day, counted in RAM.

Requests count when they come, tokens when their call has ended: a budget is passed by at most what
was in flight. A minute is the last 60 s; a day is the UTC day, and its count survives a restart.
What a key may have in flight is admission's to hold.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.call import Call
from gateway.errors import KeyLimit
from gateway.journal.keys import DAY_MS, Key

MINUTE_S = 60
LONGEST_WAIT_S = 60.0  # the longest hint that all official SDKs obey alike


class Minute:
    """How much came in the last 60 s, to the second."""

    __slots__ = ("_seconds", "total")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second, amount], at most 61 of them
        self.total = 0

    def add(self, amount: int, now: float) -> None:
        """Count *amount*."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] >= second:
            self._seconds[-1][1] += amount
        else:
            self._seconds.append([second, amount])
        self.total += amount

    def drop_old(self, now: float) -> None:
        """Forget what came earlier."""
        while self._seconds and self._seconds[0][0] <= now - MINUTE_S:
            self.total -= self._seconds.popleft()[1]

    def below_in_s(self, limit: int, now: float) -> float:
        """In how many seconds the total is below *limit* if nothing else comes."""
        left = self.total
        for second, amount in self._seconds:
            left -= amount
            if left < limit:
                return max(1.0, second + MINUTE_S - now)
        return LONGEST_WAIT_S


@dataclass(slots=True)
class _Used:
    """What one key used lately."""

    requests: Minute = field(default_factory=Minute)
    tokens: Minute = field(default_factory=Minute)
    day: int = 0
    day_tokens: int = 0


class KeyLimits:
    """Counts, and refuses what is too much. *now* is wall time, for the day; *monotonic* counts."""

    def __init__(self, *, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._now = now
        self._monotonic = monotonic
        self._used: dict[str, _Used] = {}

    def today(self) -> int:
        """The UTC day, in days since the epoch."""
        return int(self._now() * 1000) // DAY_MS

    def resume(self, tokens: Mapping[str, int]) -> None:
        """Go on with the *tokens* that each key used today before the start."""
        for key_id, used in tokens.items():
            self._used[key_id] = _Used(day=self.today(), day_tokens=used)

    def admit(self, key: Key) -> None:
        """Count one request of *key*. Raises: KeyLimit, and then it does not count."""
        used, now = self._of(key.id), self._monotonic()
        for minute, limit, of_what in (
            (used.requests, key.requests_per_minute, "requests"),
            (used.tokens, key.tokens_per_minute, "tokens"),
        ):
            minute.drop_old(now)
            if limit is not None and minute.total >= limit:
                message = f"this key may use {limit} {of_what} a minute, and did"
                raise KeyLimit(message, retry_after_s=minute.below_in_s(limit, now))
        if key.tokens_per_day is not None and used.day_tokens >= key.tokens_per_day:
            message = f"this key may use {key.tokens_per_day} tokens a day (UTC), and did"
            raise KeyLimit(message, retry_after_s=LONGEST_WAIT_S)
        used.requests.add(1, now)

    def ended(self, call: Call) -> None:
        """Count the tokens of a final *call*, as the journal counts them."""
        tokens = _tokens(call)
        if call.key_id is None or tokens is None or call.request.method != "POST":
            return
        used = self._of(call.key_id)
        used.tokens.add(tokens, self._monotonic())
        used.day_tokens += tokens

    def used(self, key_id: str) -> dict[str, int]:
        """What that key used lately, for people."""
        used, now = self._of(key_id), self._monotonic()
        used.requests.drop_old(now)
        used.tokens.drop_old(now)
        return {
            "requests_last_minute": used.requests.total,
            "tokens_last_minute": used.tokens.total,
            "tokens_today": used.day_tokens,
        }

    def _of(self, key_id: str) -> _Used:
        used = self._used.setdefault(key_id, _Used())
        if used.day != (today := self.today()):
            used.day, used.day_tokens = today, 0
        return used


def _tokens(call: Call) -> int | None:
    """What *call* used; of a stream that told none, about as many as its size says.

    The journal has the same rule in `calls_use_tokens`.
    """
    if (usage := call.usage) is not None:
        if usage.total_tokens is not None:
            return usage.total_tokens
        return (usage.input_tokens or 0) + (usage.output_tokens or 0)
    answer = call.answer
    if not call.stream or answer is None or answer.status is None or answer.status >= 400:
        return None
    return call.request.body_bytes // 4 + answer.body_bytes // 200
