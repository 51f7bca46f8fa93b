"""Recordings and the journal: their bytes go there in parts, and come back from there.

Invariant: a recording lets go of bytes in RAM only once the journal said that it has them.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from gateway.call import Attempt, Call
from gateway.journal.reader import Reader
from gateway.journal.writer import Journal
from gateway.relay.live_call import LiveCall
from gateway.relay.recording import Recording

POST_EVERY_S = 1.0  # all streams in one batch; every 100 ms cost 2-4 ms of delay a chunk


class Recorder:
    """Makes recordings and carries their bytes to the journal."""

    def __init__(self, journal: Journal, reader: Reader, monotonic: Callable[[], float]) -> None:
        self._journal = journal
        self._reader = reader
        self._monotonic = monotonic

    def record(self, call: Call, attempt: Attempt) -> Recording:
        """A recording for the answer of *attempt*."""
        return Recording(
            attempt,
            monotonic=self._monotonic,
            spill=partial(self._spill, call),
            load=partial(self._load, call.seq, attempt.number),
        )

    async def run_posting(self, open_calls: Callable[[], Iterable[LiveCall]]) -> None:
        """Hand over what the recordings of *open_calls* hold, about once a second."""
        while True:
            await asyncio.sleep(POST_EVERY_S)
            for live in list(open_calls()):
                recording = live.recording
                if recording is not None and not recording.ended:
                    self._hand_over(live.call, recording)

    async def _spill(self, call: Call, recording: Recording) -> None:
        """A large body: let go of what the journal has before more of it is read."""
        await self._journal.room()  # first: a cancel here must not lose what was already taken
        if posted := self._hand_over(call, recording):
            await posted

    def _hand_over(self, call: Call, recording: Recording) -> asyncio.Future[bool] | None:
        parts = recording.take_parts()
        if not parts:
            return None
        end = parts[-1].start + len(parts[-1].data)
        posted = self._journal.append(call, parts)
        posted.add_done_callback(partial(_durable, recording, end))
        return posted

    async def _load(self, seq: int, number: int, start: int, at_most: int) -> bytes:
        async for piece in self._reader.body(seq, number, start):
            return piece[:at_most]
        return b""


def _durable(recording: Recording, end: int, posted: asyncio.Future[bool]) -> None:
    if not posted.cancelled() and posted.exception() is None and posted.result():
        recording.durable_to(end)
