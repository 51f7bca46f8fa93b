"""What handlers are given: one typed key each, filled where the application is put together."""

from typing import Protocol

from aiohttp import web

from gateway.call import Call
from gateway.journal.reader import Reader


class LiveCalls(Protocol):
    """The calls that are not final, as showing them needs it. See `relay.standing`."""

    def open_call(self, call_id: str) -> Call | None:
        """The call of that id; None once it is final, or where there is none."""
        ...

    async def wait_final(self, call_id: str, within_s: float) -> None:
        """Return when that call is final and its record durable, at the latest after *within_s*."""
        ...

    def position(self, call_id: str) -> int | None:
        """Its place in the queue, from 1; None when it does not wait for a slot."""
        ...

    def eta_s(self, call_id: str) -> float | None:
        """About how long until it has its answer; None when nobody can tell."""
        ...


READER: web.AppKey[Reader] = web.AppKey("reader", Reader)
CALLS: web.AppKey[LiveCalls] = web.AppKey("calls")

#: On a request whose key may see only one client's calls: that client, as in `Call.client`.
OWNER: web.RequestKey[str] = web.RequestKey("owner", str)
