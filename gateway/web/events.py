"""`GET /-/events`: what changes, as Server-Sent Events, while somebody watches.

Each change is put into bytes once and the same bytes go to every viewer. Invariants: without a
viewer nothing is made and no timer runs; a viewer never holds up a call, another viewer or a stop.
Checked by `test_events.py` over real sockets.

Source: WHATWG HTML, 9.2 Server-sent events
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from itertools import count

from aiohttp import web
from pydantic_core import to_json

from gateway import __version__
from gateway.errors import BadRequest, Draining, NotFound, TooManyViewers
from gateway.journal.shapes import Json, rfc3339
from gateway.relay.watching import CallChanged, CallDeleted, Change, Watch
from gateway.web.dependencies import OWNER
from gateway.web.viewers import Event, Ring, View, Viewer

MAX_VIEWERS = 50
MAX_OF_ONE_CLIENT = 8  # of those who may see one client's calls only, …
KEPT_FREE = 10  # … and these are for those who may see all
TOPICS = frozenset({"call", "stats", "upstream", "alert"})
OF_ONE_CLIENT = frozenset({"call"})  # what those may see who may not see all

TICK_S = 0.25
STATS_TICKS = 4
PING_TICKS = 60
WRITE_S = 10.0  # a viewer that takes nothing for so long has left
BYE_S = 0.5  # for the last event, when the gateway stops
PIECE = 65_536  # bytes written in one go
SEND_BUFFER = 131_072  # bytes; the kernel's own choice is megabytes a viewer

_RETRY = b"retry: 2000\n\n"
_PING = b": ping\n\n"
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


class Events:
    """The viewers, and what they are told. `run()` must be running."""

    def __init__(
        self,
        watch: Watch,
        *,
        stats: Callable[[float], Json],
        upstream: Callable[[str], Json],
        now: Callable[[], float],
        build: str | None = None,
    ) -> None:
        self._watch = watch
        self._stats = stats  # of the last so many seconds
        self._upstream = upstream
        self._now = now
        self._build = build
        self._viewers: set[Viewer] = set()
        self._watched = asyncio.Event()
        self._ring = Ring(int(now() * 1_000_000))  # more than one event a µs was never told
        self._closed = False

    def routes(self) -> list[web.RouteDef]:
        """The one route."""
        return [web.get("/-/events", self.show, allow_head=False)]

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Write events until the viewer leaves or the gateway stops."""
        view, last_id = _asked(request)
        viewer = self._enter(view, request)
        response = web.StreamResponse(headers=_HEADERS)
        response.force_close()
        viewer.offer(_RETRY + self._greeting(view, last_id), 0, b"")
        try:
            await response.prepare(request)
            await _write(viewer, response)
        except TimeoutError:
            viewer.abort()
        finally:
            self._leave(viewer)
        return response

    async def run(self) -> None:
        """Tell what changes, until cancelled."""
        while True:
            await self._watched.wait()
            for tick in count(1):
                await asyncio.sleep(TICK_S)
                if not self._viewers:
                    break
                self._tell_changes()
                if tick % STATS_TICKS == 0:
                    self._tell([self._event("stats", self._stats(STATS_TICKS * TICK_S))])
                if tick % PING_TICKS == 0:
                    for viewer in self._viewers:
                        viewer.offer(_PING, 0, b"")

    def close(self) -> None:
        """Tell what is left to tell and end every stream; return without waiting for anybody."""
        self._closed = True
        self._tell_changes()
        loop = asyncio.get_running_loop()
        for viewer in self._viewers:
            viewer.close(_encoded("bye", {}))
            loop.call_later(BYE_S, self._cut, viewer)

    def _enter(self, view: View, request: web.Request) -> Viewer:
        if self._closed:
            raise Draining
        narrow = [each.view.owner for each in self._viewers if each.view.owner is not None]
        if view.owner is not None and (
            narrow.count(view.owner) >= MAX_OF_ONE_CLIENT or len(narrow) >= MAX_VIEWERS - KEPT_FREE
        ):
            raise TooManyViewers("too many watch with such a key already", retry_after_s=30.0)
        if len(self._viewers) >= MAX_VIEWERS:
            raise TooManyViewers(f"{MAX_VIEWERS} viewers watch already", retry_after_s=30.0)
        transport = request.transport
        assert transport is not None
        if (connection := transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if not self._watch.begin():
            self._ring.interrupt()
            self._stats(STATS_TICKS * TICK_S)  # forget the rates of the last time
        self._tell_changes()
        viewer = Viewer(view, transport.abort)
        self._viewers.add(viewer)
        self._watched.set()
        return viewer

    def _leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        if not self._viewers:
            self._watched.clear()
            self._watch.linger()

    def _cut(self, viewer: Viewer) -> None:
        if viewer in self._viewers:
            viewer.abort()

    def _greeting(self, view: View, last_id: str | None) -> bytes:
        """What a newcomer gets first: who speaks, what it missed, and how things stand."""
        hello: Json = {"at": self._at(), "version": __version__, "build": self._build}
        pieces = [_encoded("hello", hello)]
        if last_id is not None:
            missed = self._ring.after(last_id)
            if missed is None:
                pieces.append(self._resync())
            else:
                pieces += [event.data for event in missed if view.shows(event)]
        if "stats" in view.topics:
            pieces.append(self._event("stats", self._stats(0.0)).data)
        return b"".join(pieces)

    def _tell_changes(self) -> None:
        changes = self._watch.take()
        if changes is None:
            self._ring.interrupt()
            for viewer in self._viewers:
                viewer.lose(self._resync())
            return
        events = [event for change in changes if (event := self._changed(change)) is not None]
        self._ring.extend(events)
        self._tell(events)

    def _tell(self, events: Iterable[Event]) -> None:
        """Hand *events* to everybody who may see them; what two see alike is joined once."""
        seen: dict[View, tuple[bytes, int]] = {}
        for viewer in self._viewers:
            view = viewer.view
            if view not in seen:
                shown = [event.data for event in events if view.shows(event)]
                seen[view] = b"".join(shown), len(shown)
            data, number = seen[view]
            if number:
                viewer.offer(data, number, self._resync())

    def _changed(self, change: Change) -> Event | None:
        if isinstance(change, CallChanged):
            assert change.call is not None
            return self._event("call", change.call, change.client)
        if isinstance(change, CallDeleted):
            gone: Json = {"object": "call", "id": change.id, "deleted": True}
            return self._event("call", gone, change.client)
        try:
            return self._event("upstream", self._upstream(change.name))
        except NotFound:  # a reload took it out of the config
            return None

    def _event(self, topic: str, content: Json, client: str | None = None) -> Event:
        number = self._ring.next_id()
        return Event(number, topic, client, b"id: %d\n%b" % (number, _encoded(topic, content)))

    def _resync(self) -> bytes:
        """It carries the newest id: from there on nothing is missing."""
        return b"id: %d\n%b" % (self._ring.last_id, _encoded("resync", {}))

    def _at(self) -> str | None:
        return rfc3339(round(self._now() * 1000))


def _encoded(name: str, content: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json(content))


async def _write(viewer: Viewer, response: web.StreamResponse) -> None:
    """Write what waits for *viewer* until its stream is closed. Raises: TimeoutError - it is stuck."""
    while not viewer.closing or viewer.news.is_set():
        await viewer.news.wait()
        viewer.news.clear()
        viewer.writing, data = True, memoryview(viewer.take())
        for start in range(0, len(data), PIECE):
            async with asyncio.timeout(WRITE_S):
                await response.write(data[start : start + PIECE])
        viewer.writing = False


def _asked(request: web.Request) -> tuple[View, str | None]:
    """What the query asks for, less what this viewer may not see; and after which event."""
    for name in request.query:
        if name not in ("topics", "last_event_id"):
            raise BadRequest(f"there is no parameter {name[:64]!r} here")
    topics = TOPICS
    if (text := request.query.get("topics")) is not None:
        topics = frozenset(topic.strip() for topic in text.split(","))
        if unknown := sorted(topics - TOPICS):
            raise BadRequest(
                f"topics: there is no {unknown[0][:64]!r}; known: call, stats, upstream"
            )
    owner = request.get(OWNER)
    if owner is not None:
        topics &= OF_ONE_CLIENT
    last_id = request.headers.get("Last-Event-ID", request.query.get("last_event_id"))
    return View(topics, owner), last_id
