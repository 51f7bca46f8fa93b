"""Requests that are the same call: an Idempotency-Key, or an SDK retrying what its client gave up on.

Invariant: at most one open call per (client, Idempotency-Key); a retry joins only a call that
nobody else waits for and whose clients went away without an answer.
"""

import asyncio
from collections.abc import Collection
from weakref import WeakValueDictionary

from gateway.call import Call, Status
from gateway.errors import IdempotencyMismatch
from gateway.journal.reader import Reader
from gateway.relay.live_call import LiveCall

JOINED_WITHIN_S = (
    60.0  # after a call succeeded whose client had left, its retry still gets the answer
)
_FREES_THE_KEY = frozenset({408, 429})

Name = tuple[str, str]


class Twins:
    """Finds the call that a new request repeats."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._keyed: dict[Name, LiveCall] = {}  # open calls with an Idempotency-Key
        self._lookups: WeakValueDictionary[Name, asyncio.Lock] = WeakValueDictionary()
        self._left: dict[Name, LiveCall] = {}  # whose clients all left without an answer

    async def find(self, call: Call) -> LiveCall | str | None:
        """The live call to join, the id of the final one to replay, or None: a new call.

        Raises: IdempotencyMismatch - the key was used for another request
        """
        key = call.options.idempotency_key
        if key is not None:
            return await self._find_keyed(call, (call.client, key))
        if call.options.retry_count >= 1:
            live = self._left.get((call.client, call.fingerprint or ""))
            if live is not None and live.stopping is None:
                del self._left[(call.client, call.fingerprint or "")]
                return live
        return None

    async def _find_keyed(self, call: Call, name: Name) -> LiveCall | str | None:
        # One lookup a key at a time: else a call could begin and end between what one of them read
        # and what it then found open here, and be made again.
        lookup = self._lookups.setdefault(name, asyncio.Lock())
        async with lookup:
            live = self._keyed.get(name)
            final = await self._reader.keyed(*name) if live is None else None
        if final is not None and final.answered_with is not None:
            status = final.answered_with
            if status not in _FREES_THE_KEY and status < 500:
                _check_same(call, final.fingerprint)
                return final.id
        if live is None or live.over:
            return None
        _check_same(call, live.call.fingerprint)
        return live

    def opened(self, live: LiveCall) -> None:
        """*live* was accepted."""
        key = live.call.options.idempotency_key
        if key is not None:
            self._keyed[(live.call.client, key)] = live

    def left(self, live: LiveCall) -> None:
        """The last client of *live* left without its answer."""
        self._left[(live.call.client, live.call.fingerprint or "")] = live

    def closed(self, live: LiveCall) -> None:
        """*live* is over."""
        call = live.call
        key = call.options.idempotency_key
        if key is not None and self._keyed.get((call.client, key)) is live:
            del self._keyed[(call.client, key)]
        name = (call.client, call.fingerprint or "")
        if self._left.get(name) is not live:
            return
        if call.status is Status.SUCCEEDED:
            asyncio.get_running_loop().call_later(JOINED_WITHIN_S, self._too_late, name, live)
        else:
            del self._left[name]

    def deleted(self, call_ids: Collection[str]) -> None:
        """The final calls of these ids are gone: nobody joins them any more."""
        for name, live in list(self._left.items()):
            if live.call.id in call_ids:
                del self._left[name]

    def _too_late(self, name: Name, live: LiveCall) -> None:
        if self._left.get(name) is live:
            del self._left[name]


def _check_same(call: Call, fingerprint: str | None) -> None:
    if call.fingerprint != fingerprint:
        raise IdempotencyMismatch
