"""The keys in RAM: what every request is checked against, and the one way to change them.

Invariants: a key that was revoked here opens nothing from the next request on, whether or not the
journal could be written; a new or wider key opens nothing before it is durable. Whether a key is
known or not, checking it costs the same and compares every byte.
"""

import asyncio
import hmac
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from gateway.errors import JournalUnavailable, NotFound
from gateway.journal import keys
from gateway.journal.audit import Entry
from gateway.journal.keys import Key
from gateway.journal.writer import Journal
from gateway.web.security.identity import HOST, Identity, of_key

NOTE_USE_S = 60.0  # how late the journal may learn that a key was used

_NOBODY = bytes(32)  # what an unknown key is compared with


class KeyRing:
    """All keys. *limit* is told how many calls of each may be in flight, and how many may wait.

    It is told at once, and at every change.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        known: Iterable[Key],
        token: str,
        now: Callable[[], float],
        limit: Callable[[str, int | None, int | None], None],
    ) -> None:
        self._journal = journal
        self._keys: dict[str, Key] = {}
        self._token = keys.hash_of(token.encode())
        self._now = now
        self._limit = limit
        self._used_ms: dict[str, int] = {}
        self._noted_ms: dict[str, int] = {}  # what of that the journal knows
        for key in known:
            self._put(key)

    def now_ms(self) -> int:
        """Wall time."""
        return int(self._now() * 1000)

    def identify(self, presented: bytes) -> Identity | None:
        """Whose key *presented* is, None where it opens nothing."""
        key = self._keys.get(keys.id_in(presented))
        digest = keys.hash_of(presented)
        is_host = hmac.compare_digest(digest, self._token)
        is_key = hmac.compare_digest(digest, key.hash if key is not None else _NOBODY)
        if is_host:
            return HOST
        now_ms = self.now_ms()
        if key is None or not is_key or not key.is_valid(now_ms):
            return None
        self._used_ms[key.id] = now_ms
        return of_key(key)

    def get(self, key_id: str) -> Key:
        """The key of that id. Raises: NotFound."""
        key = self._keys.get(key_id)
        if key is None:
            raise NotFound("there is no such key")
        return key

    def valid(self, key_id: str | None) -> Key | None:
        """The key of that id, while it opens anything."""
        key = self._keys.get(key_id) if key_id is not None else None
        return key if key is not None and key.is_valid(self.now_ms()) else None

    def every(self) -> list[Key]:
        """All keys, revoked ones too, the oldest first."""
        return sorted(self._keys.values(), key=lambda key: (key.created_ms, key.id))

    def last_used_ms(self, key: Key) -> int | None:
        """When it was last used, as far as is known."""
        return self._used_ms.get(key.id, key.last_used_ms)

    async def add(self, key: Key, entry: Entry) -> None:
        """Let *key* in, once it is durable. Raises: JournalUnavailable."""
        await self._journal.work(keys.insert(key, entry))
        self._put(key)

    async def change(self, key: Key, entry: Entry) -> Key:
        """Take over what is changeable of *key*, once it is durable. Raises: JournalUnavailable."""
        await self._journal.work(keys.change(key, entry))
        changes = {name: getattr(key, name) for name in keys.CHANGEABLE}
        changed = replace(self._keys[key.id], **changes)  # it may have been revoked meanwhile
        self._put(changed)
        return changed

    def revoke(self, key: Key, entry: Entry) -> asyncio.Future[None]:
        """Let *key* open nothing any more, from now on; the future says when that is durable.

        Raises: JournalUnavailable, from the future - after a restart it would open again
        """
        self._put(keys.revoked(key, entry.at_ms))
        return self._journal.work(keys.revoke(key.id, entry.at_ms, entry))

    async def run(self) -> None:
        """Write down, now and then, when keys were used."""
        while True:
            await asyncio.sleep(NOTE_USE_S)
            with suppress(JournalUnavailable):
                await self.note_used()

    async def close(self) -> None:
        """Write down what is not yet, where that can be."""
        with suppress(JournalUnavailable):
            await self.note_used()

    async def note_used(self) -> None:
        """Write it down now. Raises: JournalUnavailable."""
        used = {key: at for key, at in self._used_ms.items() if self._noted_ms.get(key) != at}
        if used:
            oldest = self.now_ms() // keys.DAY_MS - keys.KEEP_USAGE_DAYS
            await self._journal.work(keys.note_used(used, oldest))
            self._noted_ms |= used

    def _put(self, key: Key) -> None:
        self._keys[key.id] = key
        bounds = (key.max_in_flight, key.max_queued) if key.revoked_ms is None else (None, None)
        self._limit(key.id, *bounds)
