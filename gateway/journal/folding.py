"""Statistics grow coarser with age: buckets are merged into longer ones, and old short ones go.

Invariants: a bucket is taken over by the next level once, in the commit that moves that level's
`until`; nothing is removed before it was taken over. The writer takes it in steps between its
rounds, each of one bucket's time or of `EXPIRED_ROWS`.
"""

import sqlite3
from collections.abc import Mapping
from itertools import pairwise

from gateway.journal.counting import STORED, Counting
from gateway.journal.rollups import FINEST, LEVELS, Load, decode
from gateway.journal.transaction import transaction

GRACE_S = 10  # the commit of a call comes after its end; later ones are counted too, only dearer
EXPIRED_ROWS = 500

NEXT = "SELECT min(start) FROM rollups WHERE level = ? AND start >= ?"
BUCKETS = f"SELECT key, upstream, {STORED} FROM rollups WHERE level = ? AND start = ?"  # noqa: S608 - names
EXPIRED = "SELECT level, key, start, upstream FROM rollups WHERE level = ? AND start < ? LIMIT ?"
DELETE = "DELETE FROM rollups WHERE level = ? AND key = ? AND start = ? AND upstream = ?"


class Folding:
    """Writes what was in flight (start, upstream → load) up to *sampled_until*, then folds and expires.

    A step for the writer (`Journal.work`); what is already there of the loads is left out.
    """

    def __init__(
        self,
        counting: Counting,
        loads: Mapping[tuple[int, str], Load],
        *,
        sampled_until: int,
        now_s: int,
    ) -> None:
        self._counting = counting
        self._loads = loads
        self._sampled_until = sampled_until
        self._now_s = now_s

    def __call__(self, connection: sqlite3.Connection) -> bool:
        """One step; True: it was the last."""
        cursor = connection.cursor()
        try:
            with transaction(connection):
                self._add_loads(cursor)
                more = self._fold(cursor) or self._expire(cursor)
                self._counting.save(cursor)
        except BaseException:
            self._counting.forget()
            raise
        return not more

    def _add_loads(self, cursor: sqlite3.Cursor) -> None:
        known = self._counting.until(cursor)[FINEST]
        fresh = {place: load for place, load in self._loads.items() if place[0] >= known}
        if not fresh:
            return
        for (start, upstream), load in fresh.items():
            self._counting.add_load(cursor, start, upstream, load)
        self._counting.save(cursor)  # folding reads the file
        self._counting.set_until(cursor, FINEST, max(known, self._sampled_until))

    def _fold(self, cursor: sqlite3.Cursor) -> bool:
        """Merge the oldest buckets that are over into the next level; False: there are none."""
        until = self._counting.until(cursor)
        for finer, level in pairwise(LEVELS):
            over = self._now_s - GRACE_S if finer == FINEST else until[finer]
            (start,) = cursor.execute(NEXT, (finer, until[level])).fetchone()
            if start is None or start + finer > over:
                continue
            for key, upstream, *stored in cursor.execute(BUCKETS, (finer, start)).fetchall():
                place = (level, key, start - start % level, upstream)
                self._counting.merge(cursor, place, decode(stored))
            self._counting.set_until(cursor, level, start + finer)
            return True
        return False

    def _expire(self, cursor: sqlite3.Cursor) -> bool:
        """Remove some buckets that are too old for their level; False: that was all."""
        until = self._counting.until(cursor)
        for level, coarser in pairwise(LEVELS):
            keep_s = LEVELS[level]
            if keep_s is None:
                continue
            before = min(self._now_s - keep_s, until[coarser])
            rows = cursor.execute(EXPIRED, (level, before, EXPIRED_ROWS)).fetchall()
            if rows:
                cursor.executemany(DELETE, rows)
                return True
        return False
