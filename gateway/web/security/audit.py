"""`GET /-/audit`, and writing to the trail that it shows: to the journal and to the log.

What was done is done whether or not the journal can be written at that moment; then the log has it.
Invariant: every change has an entry. Of readings the log has each, and the trail a few a minute, since
nothing is ever removed from it: whoever exports in a loop fills no disk.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog
from aiohttp import web
from pydantic_core import to_json

from gateway.errors import BadRequest
from gateway.journal.audit import Entry, add
from gateway.journal.shapes import Json
from gateway.journal.writer import Journal
from gateway.web.calls import json_response
from gateway.web.dependencies import READER

log = structlog.get_logger()

MAX_LIMIT = 1000
MINUTE_MS = 60_000
READINGS_A_MINUTE = 10  # of one actor and kind, all different


@dataclass(slots=True)
class _Lately:
    """What somebody read in a minute."""

    since_ms: int
    more: int  #: that are in no entry yet
    details: set[bytes] = field(default_factory=set)  #: those that are


class Audit:
    """Writes entries."""

    def __init__(self, journal: Journal, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        self._readings: dict[tuple[str, str], _Lately] = {}  # by actor and action

    def entry(self, actor: str, action: str, target: str | None, detail: Json) -> Entry:
        """An entry of this moment, logged and not yet in the journal."""
        log.info("audited", actor=actor, action=action, target=target, detail=detail)
        return Entry(
            at_ms=int(self._now() * 1000), actor=actor, action=action, target=target, detail=detail
        )

    def record(
        self, actor: str, action: str, target: str | None = None, detail: Json | None = None
    ) -> asyncio.Future[None]:
        """Write an entry; the future is done, or failed, once the journal has it or cannot."""
        return self._journal.work(add(self.entry(actor, action, target, detail or {})))

    def record_reading(self, actor: str, action: str, detail: Json) -> asyncio.Future[None] | None:
        """The same, or None where it is only logged, and counted in the next entry (`more`)."""
        entry = self.entry(actor, action, None, detail)
        lately = self._readings.get((actor, action))
        if lately is None or not 0 <= entry.at_ms - lately.since_ms < MINUTE_MS:
            lately = _Lately(entry.at_ms, 0 if lately is None else lately.more)
            self._readings[actor, action] = lately
        asked = to_json(detail)
        if asked in lately.details or len(lately.details) >= READINGS_A_MINUTE:
            lately.more += 1
            return None
        lately.details.add(asked)
        more: Json = {"more": lately.more} if lately.more else {}
        lately.more = 0
        return self._journal.work(add(replace(entry, detail=detail | more)))


def routes() -> list[web.RouteDef]:
    """The one route."""
    return [web.get("/-/audit", show_audit)]


async def show_audit(request: web.Request) -> web.Response:
    """`GET /-/audit`: newest first; `limit`, and `after` or `before` an entry's id."""
    for name in request.query:
        if name not in ("limit", "after", "before"):
            raise BadRequest(f"there is no parameter {name[:64]!r} here")
    limit = _number(request, "limit", MAX_LIMIT) or 50
    after, before = _number(request, "after"), _number(request, "before")
    page = await request.app[READER].audit(limit, after=after, before=before)
    return json_response(page.json())


def _number(request: web.Request, name: str, highest: int = 1 << 53) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 17 and 1 <= int(text) <= highest):
        raise BadRequest(f"{name}: must be a whole number from 1 to {highest}")
    return int(text)
