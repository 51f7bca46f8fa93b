"""Statistics catch up with the calls, and grow coarser with age.

Invariants: a call is counted once, in the commit that removes it from `uncounted`, where the commit
of its end had put it; a bucket is taken over by the next level once, in the commit that moves that
level's `until`; nothing is removed before it was taken over. The writer takes it in steps between
its rounds, each bounded by a few rows of `uncounted`, one bucket's time, or `EXPIRED_ROWS`.
"""

import sqlite3
from collections.abc import Mapping
from itertools import pairwise

from pydantic_core import from_json

from gateway.journal.statistics.counting import STORED, Buckets
from gateway.journal.statistics.rollups import FINEST, LEVELS, Load, Tally, decode
from gateway.journal.transaction import transaction

STEP_TALLIES = 500  # about 5 ms
GRACE_S = 10  # calls are counted after their end; late ones are counted too, only dearer
EXPIRED_ROWS = 500

UNCOUNTED = "SELECT id, tallies FROM uncounted ORDER BY id"
COUNTED = "DELETE FROM uncounted WHERE id <= ?"
NEXT = "SELECT min(start) FROM rollups WHERE level = ? AND start >= ?"
BUCKETS = f"SELECT key, upstream, {STORED} FROM rollups WHERE level = ? AND start = ?"  # noqa: S608
EXPIRED = "SELECT level, key, start, upstream FROM rollups WHERE level = ? AND start < ? LIMIT ?"
DELETE = "DELETE FROM rollups WHERE level = ? AND key = ? AND start = ? AND upstream = ?"


class Folding:
    """Counts what ended and what was in flight and queued (start, upstream → load), then folds, expires.

    A step for the writer (`Journal.work`). Loads of a time up to which there are some are left out:
    they were written before.
    """

    def __init__(
        self, loads: Mapping[tuple[int, str], Load], *, sampled_until: int, now_s: int
    ) -> None:
        self._loads = loads
        self._sampled_until = sampled_until
        self._now_s = now_s

    def __call__(self, connection: sqlite3.Connection) -> bool:
        """One step; True: it was the last."""
        with transaction(connection):
            buckets = Buckets(connection)
            self._add_loads(buckets)
            return not (
                _count(connection, buckets)
                or self._fold(connection, buckets)
                or self._expire(connection, buckets.until)
            )

    def _add_loads(self, buckets: Buckets) -> None:
        known = buckets.until[FINEST]
        fresh = {place: load for place, load in self._loads.items() if place[0] >= known}
        if fresh:
            for (start, upstream), load in fresh.items():
                buckets.add_load(start, upstream, load)
            buckets.save()
            buckets.set_until(FINEST, self._sampled_until)

    def _fold(self, connection: sqlite3.Connection, buckets: Buckets) -> bool:
        """Merge the oldest buckets that are over into the next level; False: there are none."""
        over = self._now_s - GRACE_S  # before that nothing waits for any of the levels seen
        for finer, level in pairwise(LEVELS):
            (start,) = connection.execute(NEXT, (finer, buckets.until[level])).fetchone()
            if start is None:
                continue
            if start + finer > over:
                over = min(over, start)
                continue
            for key, upstream, *stored in connection.execute(BUCKETS, (finer, start)).fetchall():
                buckets.merge((level, key, start - start % level, upstream), decode(stored))
            buckets.save()
            for each in LEVELS:
                if FINEST < each <= level:
                    buckets.set_until(each, start + finer)
            return True
        return False

    def _expire(self, connection: sqlite3.Connection, until: Mapping[int, int]) -> bool:
        """Remove some buckets that are too old for their level; False: that was all."""
        for level, coarser in pairwise(LEVELS):
            keep_s = LEVELS[level]
            if keep_s is None:
                continue
            before = min(self._now_s - keep_s, until[coarser])
            rows = connection.execute(EXPIRED, (level, before, EXPIRED_ROWS)).fetchall()
            if rows:
                connection.executemany(DELETE, rows)
                return True
        return False


def _count(connection: sqlite3.Connection, buckets: Buckets) -> bool:
    """Count some of the calls that ended; False: there are none."""
    counted = last = 0
    for last, tallies in connection.execute(UNCOUNTED):  # noqa: B007 - the last of them is used
        for values in from_json(tallies):
            buckets.count(Tally(*values))
            counted += 1
        if counted >= STEP_TALLIES:
            break
    if counted:
        buckets.save()
        connection.execute(COUNTED, (last,))
    return counted > 0
