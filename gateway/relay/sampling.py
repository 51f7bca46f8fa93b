"""What was in flight and queued over time: looked at once a second, recorded every ten.

Invariant: in RAM is what the journal does not say it has, up to `KEPT` buckets.
Nothing is kept, and nothing written, of a time in which nothing was in flight and nothing waited.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from gateway.journal.statistics.rollups import FINEST, Load
from gateway.journal.writer import Journal
from gateway.relay.admission import AdmissionStatistics
from gateway.relay.slots import SlotsStatistics

EVERY_S = 1.0
LONGEST_MS = 10_000  # after a longer pause (the machine slept) nobody knows what was in flight
MOST_UNCOUNTED = 1_000  # calls; whoever reads statistics has to count them each time
KEPT = 10_000  # while the journal cannot be written; six hours of one upstream are 4,320


class Sampling:
    """Looks at the slots and tells the journal. *now* is wall time."""

    def __init__(
        self,
        journal: Journal,
        statistics: Callable[[], AdmissionStatistics],
        now: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._statistics = statistics
        self._now = now
        self._looked_ms = int(now() * 1000)
        self._loads: dict[tuple[int, str], Load] = {}  # by start and upstream, oldest first
        self._saved_until = 0
        self._saving: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Look and tell, for as long as the process lives."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.tick()

    def tick(self) -> None:
        """Look, and tell the journal when it is time to."""
        self.look()
        if self._saving is None or self._saving.done():
            self._save()

    def look(self) -> None:
        """Take what is in flight and queued now for what it was since the last look."""
        begin, now_ms = self._looked_ms, int(self._now() * 1000)
        self._looked_ms = now_ms
        if now_ms - begin > LONGEST_MS:
            return
        statistics = self._statistics()
        while begin < now_ms:
            start = begin // (FINEST * 1000) * FINEST
            end = min(now_ms, (start + FINEST) * 1000)
            self._add(start, "", end - begin, statistics, statistics.slots)
            for name, slots in statistics.upstreams.items():
                self._add(start, name, end - begin, slots, slots.max_in_flight)
            begin = end

    def unsaved(self) -> Mapping[tuple[int, str], Load]:
        """What the journal may not have yet, by start and upstream."""
        self.look()
        return {place: replace(load) for place, load in self._loads.items()}

    def _add(
        self,
        start: int,
        upstream: str,
        ms: int,
        seen: AdmissionStatistics | SlotsStatistics,
        limit: int,
    ) -> None:
        if seen.in_flight or seen.queued:
            load = self._loads.setdefault((start, upstream), Load())
            load.add(ms, in_flight=seen.in_flight, queued=seen.queued, limit=limit)

    def _save(self) -> None:
        """Have the journal bring its statistics up to date, with the buckets that are over."""
        open_start = self._looked_ms // (FINEST * 1000) * FINEST
        if open_start == self._saved_until and self._journal.uncounted < MOST_UNCOUNTED:
            return
        while len(self._loads) > KEPT:
            del self._loads[next(iter(self._loads))]
        over = {place: load for place, load in self._loads.items() if place[0] < open_start}
        self._saving = self._journal.keep_statistics(over, sampled_until=open_start)
        self._saving.add_done_callback(lambda saving: self._saved(saving, over, open_start))

    def _saved(
        self, saving: asyncio.Future[None], over: Mapping[tuple[int, str], Load], until: int
    ) -> None:
        if saving.cancelled() or saving.exception() is not None:
            return  # an outage, of which the journal tells; the next look tries again
        self._saved_until = until
        for place in over:
            self._loads.pop(place, None)
