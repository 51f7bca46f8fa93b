"""Writing a live call's recording to one connection, from any offset, to its proper end.

While the reader keeps up, the task that reads the upstream writes to it; when it lags, its own task
pulls. Invariant: the end is written only after the call's record is durable, and only if whole.
"""

import asyncio

from aiohttp import web

from gateway.relay.live_call import LiveCall
from gateway.relay.recording import Recording
from gateway.web.response import RawResponse

LAG_BYTES = 262_144  # more than this not taken by the client, and it pulls at its own pace
WRITE_S = 30.0  # a client that takes nothing for so long has left


class Following:
    """One reader of a live call's answer."""

    live: LiveCall  #: set before anything is written

    def __init__(self, *, start: int = 0) -> None:
        self.position = start
        self.recording: Recording | None = None
        self._response: RawResponse | None = None
        self._news: asyncio.Event | None = None  # while it writes: most answers come in one piece

    async def write(self, response: RawResponse, recording: Recording) -> web.StreamResponse:
        """Follow *recording* to its end. The head goes out at once, an incomplete answer is cut.

        Raises: ConnectionError, TimeoutError, asyncio.CancelledError - the reader has left
        """
        self.recording, self._response = recording, response
        whole = recording.whole() if self.live.over and self.position == 0 else None
        if whole is not None and recording.attempt.complete:
            await response.end(whole)  # head, body and end in one packet
            return response
        if not response.started:
            await response.start()
        recording.follow(self)
        try:
            await self._to_the_end(response, recording)
        finally:
            recording.unfollow(self)
        await self.live.wait_over()
        if recording.attempt.complete:
            await response.end()
        else:
            await self.break_off(response, recording)
        return response

    async def _to_the_end(self, response: RawResponse, recording: Recording) -> None:
        news = self._news = asyncio.Event()
        while True:
            news.clear()
            while data := await recording.read(self.position):
                async with asyncio.timeout(WRITE_S):
                    await response.send(data)
                self.position += len(data)
            if recording.ended and self.position >= recording.size:
                return
            await self.wait_news(news)

    async def wait_news(self, news: asyncio.Event) -> None:
        """Wait while there is nothing to write."""
        await news.wait()

    async def break_off(self, response: RawResponse, recording: Recording) -> None:
        """The answer is incomplete."""
        await response.cut()

    def has_its_answer(self) -> bool:
        """Its stream's last event was sent, or the upstream's end was read."""
        recording = self.recording
        if recording is None:
            return False
        last = recording.last_event_end
        ended = recording.ended and recording.attempt.complete
        return ended or (last is not None and self.position >= last)

    async def push(self, data: bytes) -> bool:
        """Called by the task that reads the upstream: write at once, or lag."""
        response = self._response
        if response is None or response.buffered > LAG_BYTES:
            return False
        try:
            await response.push(data)
        except ConnectionError:
            return False
        self.position += len(data)
        return True

    def wake(self) -> None:
        """There is something to pull, or the end."""
        if self._news is not None:
            self._news.set()
