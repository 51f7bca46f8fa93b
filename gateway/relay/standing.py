"""Where the open calls stand, for whoever shows them: what only the running process knows."""

import asyncio
import contextlib
from collections.abc import Mapping

from gateway.call import Call, WaitReason
from gateway.relay.admission import Admission
from gateway.relay.live_call import LiveCall


class Standing:
    """Answers about calls that are not final, by id. None where there is no such call."""

    def __init__(self, calls: Mapping[str, LiveCall], admission: Admission) -> None:
        self._calls = calls
        self._admission = admission

    def open_call(self, call_id: str) -> Call | None:
        """The call of that id while it is not final."""
        live = self._calls.get(call_id)
        return None if live is None else live.as_it_stands()

    async def wait_final(self, call_id: str, within_s: float) -> None:
        """Return when the call is final and recorded, or after *within_s*."""
        live = self._calls.get(call_id)
        if live is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await live.wait_over()

    def position(self, call_id: str) -> int | None:
        """Its place in the queue, 1 is next; None while it does not wait for a slot."""
        live = self._calls.get(call_id)
        if live is None or live.call.wait_reason is WaitReason.BACKOFF:
            return None
        return self._admission.position(live.place) or None

    def eta_s(self, call_id: str) -> float | None:
        """Seconds until it probably has its answer; None where nobody can tell."""
        live = self._calls.get(call_id)
        if live is None or live.call.wait_reason is WaitReason.BACKOFF:
            return None
        return self._admission.eta_s(live.place)

    def oldest_queued_s(self) -> float | None:
        """How long ago the oldest call that waits for a slot was accepted; None: none waits."""
        since = next((live.since for live in self._calls.values() if live.place.waits), None)
        return None if since is None else asyncio.get_running_loop().time() - since
