"""An attempt's answer as it arrives: append-only, any number of readers, each at its own pace.

Invariants: what a reader gets from offset N on is the same whenever it asks; a reader that has
caught up is written to by the append itself, one that lags pulls in a task of its own and never
holds the upstream back; bytes leave RAM only when the journal holds them.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from gateway.call import PART_BYTES, Attempt, Headers, Part, Usage, header
from gateway.telemetry.usage import UsageReader, read_usage

KEEP_BYTES = 262_144  # of the newest bytes stay in RAM, for readers that follow closely
WHOLE_BYTES = 262_144  # a plain answer that declares no more is given when it is whole

_LAST_EVENT = re.compile(
    rb"[\r\n](?:data: ?\[DONE\]|event: ?message_stop"
    rb"|event: ?response\.(?:completed|failed|incomplete))[ \t]*[\r\n]"
)
_LAST_EVENT_BYTES = 64  # more than any match before its line end
_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r")


class Follower(Protocol):
    """A reader that the recording writes to while it keeps up."""

    position: int  #: bytes taken so far

    async def push(self, data: bytes) -> bool:
        """Take *data* without waiting; False: too slow just now, or gone."""
        ...

    def wake(self) -> None:
        """There is something new: bytes to pull, or the end."""
        ...


class Recording:
    """The answer of one attempt, from its head to its end.

    `spill` hands what no part holds yet to the journal; `load` reads from there what left RAM.
    """

    __slots__ = (  # thousands of calls wait at once, each with one of these
        "_chunks",
        "_durable",
        "_first",
        "_followers",
        "_in_last_event",
        "_last_ms",
        "_load",
        "_monotonic",
        "_sha256",
        "_spill",
        "_started",
        "_tail",
        "_unposted",
        "_unposted_start",
        "_usage",
        "attempt",
        "declared",
        "ended",
        "headers",
        "is_bodyless",
        "is_event_stream",
        "last_event_end",
        "reason",
        "size",
    )

    def __init__(
        self,
        attempt: Attempt,
        *,
        monotonic: Callable[[], float],
        spill: Callable[["Recording"], Awaitable[None]],
        load: Callable[[int, int], Awaitable[bytes]],
    ) -> None:
        self.attempt = attempt
        self.reason: str | None = None
        self.headers: Headers = ()  #: the answer's, Set-Cookie included: the journal never sees these
        self.declared: int | None = None  #: Content-Length, if any
        self.is_event_stream = False
        self.is_bodyless = False
        self.size = 0
        self.ended = False  #: no byte will follow
        self.last_event_end: int | None = None  #: where the stream's own last event ends
        self._monotonic = monotonic
        self._started = monotonic()
        self._spill = spill
        self._load = load
        self._last_ms = 0  # when the newest bytes of a stream came
        self._sha256 = hashlib.sha256()
        self._chunks: list[bytes] = []
        self._first = 0  # offset of _chunks[0]
        self._unposted: list[tuple[int, bytes]] = []  # each with its ms
        self._unposted_start = 0
        self._durable = 0
        self._tail = b"\n"  # what may belong to the last event; a stream begins like any line
        self._in_last_event = False
        self._usage: UsageReader | None = None  # reads along what RAM may not hold to the end
        self._followers: list[Follower] = []

    # -- writing: the task that reads the upstream

    def begin(
        self,
        *,
        status: int,
        reason: str | None,
        headers: Headers,
        declared: int | None,
        is_bodyless: bool,
    ) -> None:
        """Record the head. *is_bodyless*: no body belongs to such an answer (HEAD, 204, 304)."""
        self.is_bodyless = is_bodyless
        self.attempt.status = status
        self.attempt.headers = headers
        self.reason = reason
        self.headers = headers
        self.declared = declared
        content_type = self.attempt.content_type or ""
        self.is_event_stream = content_type.lower().startswith("text/event-stream")
        if not self.is_given_whole:
            self._usage = UsageReader(
                content_type=content_type, content_encoding=header(headers, b"content-encoding")
            )

    @property
    def is_given_whole(self) -> bool:
        """It is small and declared, or its head is all of it: its client gets it once it is complete.

        So a cut one can be retried, and no end leaves before its record.
        """
        if self.is_bodyless:
            return True
        small = self.declared is not None and self.declared <= WHOLE_BYTES
        return small and not self.is_event_stream

    async def append(self, data: bytes) -> None:
        """Record *data* and write it to every reader that keeps up."""
        self._chunks.append(data)
        if self.is_event_stream:
            self._last_ms = self.elapsed_ms()
        self._unposted.append((self._last_ms, data))
        self.size += len(data)
        self.attempt.body_bytes = self.size
        self._sha256.update(data)
        if self._usage is not None:
            self._usage.feed(data)
        if self.is_event_stream and self.last_event_end is None:
            self._find_last_event(data)
        for follower in self._followers:
            keeps_up = follower.position == self.size - len(data)
            if not (keeps_up and await follower.push(data)):
                follower.wake()
        if self.size - self._unposted_start >= PART_BYTES:
            await self._spill(self)

    def end(self, *, complete: bool) -> None:
        """Nothing follows; *complete*: the upstream ended the answer properly."""
        self.ended = True
        self.attempt.complete = complete
        self.attempt.sha256 = self._sha256.hexdigest()
        for follower in self._followers:
            follower.wake()

    def elapsed_ms(self) -> int:
        """Since the attempt began."""
        return round((self._monotonic() - self._started) * 1000)

    def silent_s(self) -> float:
        """For how long the stream has brought nothing."""
        return (self.elapsed_ms() - self._last_ms) / 1000

    # -- to the journal

    def take_parts(self) -> list[Part]:
        """The bytes that no part holds yet, cut to the journal's size, a stream's with their times."""
        start, parts = self._unposted_start, []
        for pieces in _packed(self._unposted):
            data = b"".join(piece for _, piece in pieces)
            times = tuple((ms, len(piece)) for ms, piece in pieces) if self.is_event_stream else ()
            parts.append(Part(attempt=self.attempt.number, start=start, data=data, chunks=times))
            start += len(data)
        self._unposted, self._unposted_start = [], start
        return parts

    def durable_to(self, offset: int) -> None:
        """The journal holds everything before *offset*."""
        self._durable = max(self._durable, offset)
        keep_from, gone = min(self._durable, self.size - KEEP_BYTES), 0
        while gone < len(self._chunks) and self._first + len(self._chunks[gone]) <= keep_from:
            self._first += len(self._chunks[gone])
            gone += 1
        del self._chunks[:gone]

    # -- reading

    def follow(self, follower: Follower) -> None:
        """Write to *follower* from now on, whenever it has caught up."""
        self._followers.append(follower)

    def unfollow(self, follower: Follower) -> None:
        """Stop writing to *follower*."""
        if follower in self._followers:
            self._followers.remove(follower)

    async def read(self, start: int, at_most: int = PART_BYTES) -> bytes:
        """Recorded bytes from *start* on, at most *at_most*; b"" where there are none yet."""
        if start >= self.size:
            return b""
        if start < self._first:
            return await self._load(start, min(at_most, self._first - start))
        offset, wanted = self._first, []
        room = at_most
        for chunk in self._chunks:
            if offset + len(chunk) > start and room > 0:
                piece = chunk[max(0, start - offset) :][:room]
                wanted.append(piece)
                room -= len(piece)
            offset += len(chunk)
        return wanted[0] if len(wanted) == 1 else b"".join(wanted)

    def newest(self, at_most: int) -> bytes:
        """The last bytes so far, at most *at_most*; RAM always holds them."""
        wanted = b""
        for chunk in reversed(self._chunks):
            wanted = chunk[-(at_most - len(wanted)) :] + wanted
            if len(wanted) >= at_most:
                break
        return wanted

    def whole(self) -> bytes | None:
        """The complete body where RAM still holds all of it."""
        if self._first > 0:
            return None
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def usage(self) -> Usage | None:
        """The tokens the answer reports."""
        if self._usage is not None:
            return self._usage.result()
        return read_usage(
            content_type=self.attempt.content_type,
            content_encoding=header(self.headers, b"content-encoding"),
            body=self.whole() or b"",
        )

    def _find_last_event(self, data: bytes) -> None:
        """Look for the event after which official clients hang up, its blank line included.

        JSON never holds a raw line end, so a model cannot forge one from inside an event.
        """
        window, begin = self._tail + data, 0
        if not self._in_last_event:
            found = _LAST_EVENT.search(window)
            if found is None:
                self._tail = window[-_LAST_EVENT_BYTES:]
                return
            self._in_last_event, begin = True, found.end() - 1
        if blank := _BLANK_LINE.search(window, begin):
            self.last_event_end = self.size - len(window) + blank.end()
        self._tail = window[begin:][-2:]


def _packed(pieces: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """*pieces* in groups of at most `PART_BYTES`; only a piece that is larger by itself is cut."""
    group: list[tuple[int, bytes]] = []
    room = PART_BYTES
    for ms, data in pieces:
        for offset in range(0, len(data), PART_BYTES):
            piece = data[offset : offset + PART_BYTES]
            if len(piece) > room:
                yield group
                group, room = [], PART_BYTES
            group.append((ms, piece))
            room -= len(piece)
    if group:
        yield group
