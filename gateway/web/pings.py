"""Pings that keep a silent stream's connection alive, in the form each dialect's clients survive.

A ping stands between two events, never inside one; it is not recorded and counts nowhere.
Source: measured with the official clients: OpenAI's Python decoder never forgets an `id:` and from
then on fails at a blank line without data; Google's fails at anything but a bare line end.
"""

import asyncio
import re
from collections.abc import Callable

from gateway.call import header
from gateway.relay.live_call import LiveCall
from gateway.relay.recording import Recording
from gateway.web.errors import Dialect
from gateway.web.following import Following
from gateway.web.response import RawResponse

#: What ends an event.
BOUNDARIES = (b"\n\n", b"\r\n\r\n", b"\r\r")
_ID = re.compile(rb"[\r\n]id[:\r\n]")


class Pings:
    """The pings of one client's stream, at least *every_s* apart."""

    def __init__(self, every_s: float, dialect: Dialect) -> None:
        self.every_s = every_s
        self._dialect = dialect
        self._looked_at = 0  # of the stream, for an `id:`
        self._tail = b"\n"  # of what was looked at; a stream begins like any line
        self._has_ids = False

    @property
    def ping(self) -> bytes:
        """The bytes of one."""
        if self._dialect == "anthropic":
            return b'event: ping\ndata: {"type": "ping"}\n\n'
        if self._dialect == "gemini":
            return b"\n"
        return b": ping\n" if self._has_ids else b": ping\n\n"

    async def wait_offer(self, live: LiveCall, begin: Callable[[], RawResponse]) -> None:
        """Wait for an answer to give, or the end; meanwhile write what *begin* returns, and pings.

        Nothing is taken: while only these were sent, the call may still be tried again.
        """
        begun: RawResponse | None = None
        while True:
            try:
                async with asyncio.timeout(self.every_s):
                    await live.wait_offer()
            except TimeoutError:
                if begun is None:
                    begun = begin()
                    await begun.start(self.ping)
                else:
                    await begun.send(self.ping)
            else:
                return

    async def wait_news(
        self, news: asyncio.Event, reader: Following, recording: Recording, response: RawResponse
    ) -> None:
        """Wait for *news* while *reader* is written to by the recording itself; ping its silences."""
        wait_s = self.every_s
        while not news.is_set():
            try:
                async with asyncio.timeout(wait_s):
                    await news.wait()
            except TimeoutError:
                wait_s = self.every_s - recording.silent_s()
                if wait_s <= 0:
                    wait_s = self.every_s
                    await self.look(recording)
                    if self.fits(recording, reader.position):  # no await from here on
                        await response.push(self.ping)

    async def look(self, recording: Recording) -> None:
        """Learn from what has come whether it carries ids; this may have to read the journal."""
        while self._dialect == "openai" and not self._has_ids:
            data = await recording.read(self._looked_at)
            if not data:
                return
            self._looked_at += len(data)
            self._has_ids = _ID.search(self._tail + data) is not None
            self._tail = (self._tail + data)[-3:]

    def fits(self, recording: Recording, position: int) -> bool:
        """Whether a client that has the stream up to *position* may get one this very moment.

        All of the stream must have been looked at: an id that came meanwhile changes the form.
        """
        if not recording.is_event_stream or header(recording.headers, b"content-encoding"):
            return False
        if position < recording.size:
            return False
        if self._dialect == "openai" and not self._has_ids and self._looked_at < recording.size:
            return False
        newest = recording.newest(4)
        return not newest or newest.endswith(BOUNDARIES)
