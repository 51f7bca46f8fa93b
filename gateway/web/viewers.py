"""Who watches `/-/events`: what each viewer may see, what waits for it, and the last events of all.

Invariants: a viewer that does not keep up loses events and is told so, and delays nobody; what
waits for one is bounded; ids grow, over restarts too, and one that is known resumes without a gap.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

KEPT = 1_000  # events, for viewers that come back
WAITING = 256  # events for one viewer, beyond those that are being written to it


@dataclass(slots=True)
class Event:
    """One event as it goes over the wire."""

    id: int
    topic: str
    client: str | None  #: whose call it is about; None: it is for those who may see all
    data: bytes


@dataclass(frozen=True, slots=True)
class View:
    """What a viewer asked for, and may see."""

    topics: frozenset[str]
    owner: str | None = None  #: the one client whose calls it may see; None: all

    def shows(self, event: Event) -> bool:
        """Whether *event* is for it."""
        return event.topic in self.topics and self.owner in (None, event.client)


@dataclass(slots=True, eq=False)
class Viewer:
    """One open stream. What waits for it is written by its own task."""

    view: View
    abort: Callable[[], None]  #: ends its connection at once
    news: asyncio.Event = field(default_factory=asyncio.Event)
    writing: bool = False  #: what was taken last is not written yet
    closing: bool = False  #: it ends with what waits
    _waiting: list[bytes] = field(default_factory=list)
    _events: int = 0
    _lost: bool = False

    def offer(self, data: bytes, events: int, resync: bytes) -> None:
        """Let *data*, so many *events*, wait; where too many do already, *resync* replaces them."""
        if self._lost:
            return
        if self.writing and self._events + events > WAITING:
            self.lose(resync)
            return
        self._waiting.append(data)
        self._events += events
        self.news.set()

    def lose(self, resync: bytes) -> None:
        """Drop what waits and say so instead."""
        self._waiting, self._events, self._lost = [resync], 0, True
        self.news.set()

    def close(self, bye: bytes) -> None:
        """End the stream after what waits, with *bye*."""
        self._waiting.append(bye)
        self.closing = True
        self.news.set()

    def take(self) -> bytes:
        """All that waits."""
        data = b"".join(self._waiting)
        self._waiting, self._events, self._lost = [], 0, False
        return data


class Ring:
    """The last events; *first_id* is larger than any of an earlier process."""

    def __init__(self, first_id: int) -> None:
        self.last_id = self._since = first_id
        self._events: deque[Event] = deque()

    def next_id(self) -> int:
        """The id of the next event."""
        self.last_id += 1
        return self.last_id

    def extend(self, events: Iterable[Event]) -> None:
        """Keep *events*, which have the newest ids."""
        self._events.extend(events)
        while len(self._events) > KEPT:
            self._since = self._events.popleft().id

    def interrupt(self) -> None:
        """Something happened of which there is no event: nobody resumes from before this."""
        self._events.clear()
        self._since = self.next_id()

    def after(self, last_id: str) -> Iterator[Event] | None:
        """What followed the event of that id; None where that is not known (any more)."""
        if not (last_id.isascii() and last_id.isdigit() and len(last_id) < 20):
            return None
        seen = int(last_id)
        if not self._since <= seen <= self.last_id:
            return None
        return (event for event in self._events if event.id > seen)
