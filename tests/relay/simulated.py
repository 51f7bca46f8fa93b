"""An admission before a simulated upstream, on a clock that jumps from event to event."""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

from gateway.config import Limits, Upstream
from gateway.relay.admission import Admission, Place
from gateway.relay.breaker import BreakerState
from gateway.relay.pace import Sign

#: What becomes of an attempt: after how many seconds, and what that says about the upstream.
Fate = tuple[float, Sign | None]


@dataclass(eq=False)
class Simulated:
    """Calls that go again until an attempt goes well; `fate` decides, `events` are seen by tests."""

    fate: Callable[[], Fate]
    settings: dict[str, Any]
    now: float = 1000.0
    started: list[tuple[float, int]] = field(default_factory=list)  #: when, and then in flight
    states: list[tuple[float, BreakerState]] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)  #: after each attempt
    served: int = 0

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = count()
        self.admission = Admission(now=lambda: self.now, call_at=self.at)
        self.admission.on_grant = self._begin
        self.admission.on_breaker = lambda _, state: self.states.append((self.now, state))
        self.configure(**self.settings)

    def configure(self, **settings: Any) -> None:
        table = Upstream(name="openai", base_url="mock:", **settings)
        self.admission.configure(Limits(max_queued=100_000), {"openai": table})

    def at(self, when: float, act: Callable[..., object], *args: Any) -> None:
        heappush(self._events, (when, next(self._order), act, args))

    def call(self) -> None:
        """One more call."""
        self.admission.opened("openai")
        self._enter(retry=False)

    def run(self, until: Callable[[], bool]) -> None:
        """Let things happen until *until* holds."""
        while not until():
            assert self._events, "nothing will ever happen again"
            self.step()

    def step(self) -> None:
        self.now, _, act, args = heappop(self._events)
        act(*args)

    @property
    def upstream(self) -> Any:
        return self.admission.statistics().upstreams["openai"]

    def _enter(self, *, retry: bool) -> None:
        place = self.admission.enter(
            "openai", flow=("", ""), priority=5, since=self.now, retry=retry
        )
        if place.granted:
            self._begin(place)
        else:
            place.owner = place

    def _begin(self, place: Place) -> None:
        self.started.append((self.now, self.upstream.in_flight))
        after_s, place.sign = self.fate()
        self.at(self.now + after_s, self._end, place)

    def _end(self, place: Place) -> None:
        went_well = place.sign is Sign.WELL
        place.release()
        self.limits.append((self.now, self.upstream.limit))
        if went_well:
            self.served += 1
            self.admission.closed("openai")
        else:
            self.at(self.now + 0.5, lambda: self._enter(retry=True))
