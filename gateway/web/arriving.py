"""How much of arriving request bodies is in RAM: a budget in bytes, and a line of those who wait for it.

Invariants, held by `test_arriving.py`: what is reserved is never more than the budget; several
bodies of one client never hold more than half of it, and while they wait for that half others pass;
what a body holds is given back exactly once, when nothing has its bytes any more.

It cannot deadlock, because nobody waits while holding: a body reserves all that it may come to need
in one step, its declared length, or as much as any body may have where it declares none, and gives
back what it did not need. A body larger than the whole budget takes the whole budget, alone.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from gateway.errors import QueueFull

SMALL_BYTES = 65_536  # a body up to this is not counted: its connection has a buffer of that size
WAIT_S = 30.0  # in line; a client that is told to come back keeps no connection meanwhile
RETRY_AFTER_S = 5.0


class Arriving:
    """The budget and the line. *budget* is asked anew each time: a reload may change it."""

    def __init__(self, budget: Callable[[], int]) -> None:
        self._budget = budget
        self._line: OrderedDict[Arrival, tuple[int, asyncio.Future[None]]] = OrderedDict()
        self._held_by: Counter[str] = Counter()  # by client
        self.held_bytes = 0  #: reserved now

    def body(self, client: str = "") -> "Arrival":
        """A body of *client* that is about to arrive; it holds nothing yet."""
        return Arrival(self, client)

    def enter(self, arrival: "Arrival", wanted: int) -> asyncio.Future[None] | None:
        """Reserve *wanted* bytes for *arrival*, now (None) or once the future is done."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[arrival] = wanted, future
        self._serve()
        return None if future.done() else future

    def leave(self, arrival: "Arrival") -> None:
        """Wait no longer."""
        if self._line.pop(arrival, None) is not None:
            self._serve()

    def give_back(self, arrival: "Arrival", held: int) -> None:
        """Let others have *held* bytes of what *arrival* has."""
        self.held_bytes -= held
        self._held_by[arrival.client] -= held
        if not self._held_by[arrival.client]:
            del self._held_by[arrival.client]
        self._serve()

    def _serve(self) -> None:
        passed: set[str] = set()  # clients whose next body waits for their share
        for arrival, (wanted, future) in [*self._line.items()]:
            if arrival.client in passed or not self._has_share(arrival, wanted):
                passed.add(arrival.client)
                continue
            if not self._grant(arrival, wanted):
                return
            del self._line[arrival]
            if not future.done():
                future.set_result(None)

    def _has_share(self, arrival: "Arrival", wanted: int) -> bool:
        """Whether the client of *arrival* may hold so much more: its first body always."""
        held = self._held_by[arrival.client]
        return not held or held + wanted <= self._budget() // 2

    def _grant(self, arrival: "Arrival", wanted: int) -> bool:
        budget = self._budget()
        held = min(wanted, budget)
        if self.held_bytes + held > budget:
            return False
        arrival.held_bytes = held
        self.held_bytes += held
        self._held_by[arrival.client] += held
        return True


class Arrival:
    """What one body holds of the budget: a context that gives it back at its end, or later (`until`)."""

    __slots__ = ("_arriving", "_holders", "client", "held_bytes")

    def __init__(self, arriving: Arriving, client: str) -> None:
        self._arriving = arriving
        self.client = client  #: whose it is
        self._holders = 1
        self.held_bytes = 0

    async def reserve(self, wanted: int) -> None:
        """Wait in line until *wanted* bytes are free.

        Cancelled, it leaves the line. (A client that leaves is noticed as long as its connection is
        read from; one that has filled its buffer, when its turn comes.)

        Raises: QueueFull, after `WAIT_S`
        """
        future = self._arriving.enter(self, wanted)
        if future is None:
            return
        try:
            async with asyncio.timeout(WAIT_S):
                await future
        except TimeoutError:
            message = "the bodies that arrive hold all the memory that there is for them"
            raise QueueFull(message, retry_after_s=RETRY_AFTER_S) from None
        finally:
            self._arriving.leave(self)

    def keep(self, needed: int) -> None:
        """Give back what is reserved beyond *needed* bytes."""
        if needed < self.held_bytes:
            unneeded, self.held_bytes = self.held_bytes - needed, needed
            self._arriving.give_back(self, unneeded)

    def until(self, done: "asyncio.Future[Any]") -> None:
        """Hold it at least until *done* is, however this context ends: the bytes are there so long."""
        self._holders += 1
        done.add_done_callback(self._let_go)

    def _let_go(self, done: "asyncio.Future[Any] | None" = None) -> None:
        if done is not None and not done.cancelled():
            done.exception()  # whoever waited for it may have left
        self._holders -= 1
        if not self._holders:
            self.keep(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._let_go()
