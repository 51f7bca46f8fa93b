"""Where the writer keeps statistics: buckets of the file, changed in the transaction at hand.

Invariant: what is in RAM equals the file as of the transaction at hand; where that failed, or
nobody knows, `forget()` lets the file speak again. So a call's end and its counting are one commit.
"""

import sqlite3
from collections.abc import Iterable
from typing import TypeAlias

from gateway.journal.rollups import FINEST, Bucket, Load, Tally, decode, encode

#: A row of `rollups`: (level, key, start, upstream).
Place: TypeAlias = tuple[int, str, int, str]

STORED = "sums, duration, queued, first_byte"  #: columns of a row, as `rollups.Stored`
KEPT_BUCKETS = 128  # in RAM, when another stretch of time begins: old ones are hardly wanted again

BUCKET = f"""
SELECT {STORED} FROM rollups WHERE level = ? AND key = ? AND start = ? AND upstream = ?
"""  # noqa: S608 - names of columns
# Not REPLACE: that would take the row out of its index and put it back.
KEEP_BUCKET = f"""
INSERT INTO rollups (level, key, start, upstream, {STORED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (level, key, start, upstream) DO UPDATE SET sums = excluded.sums,
  duration = excluded.duration, queued = excluded.queued, first_byte = excluded.first_byte
"""  # noqa: S608 - names of columns
UNTIL = "SELECT level, until FROM rollup_levels ORDER BY level"
SET_UNTIL = "UPDATE rollup_levels SET until = ? WHERE level = ?"


class Counting:
    """The statistics of one file. For the thread of its one connection that writes."""

    def __init__(self) -> None:
        self._buckets: dict[Place, Bucket] = {}
        self._changed: set[Place] = set()
        self._start = 0  # of the bucket that was changed last
        self._until: dict[int, int] = {}

    def forget(self) -> None:
        """Trust the file alone."""
        self._buckets.clear()
        self._changed.clear()
        self._until.clear()

    def count(self, cursor: sqlite3.Cursor, ended: Iterable[Tally]) -> None:
        """Count calls that *ended*, in the transaction at hand."""
        for tally in ended:
            for key in ("",) if tally.key is None else ("", tally.key):
                for bucket in self._changing(cursor, key, tally.finished_s, tally.upstream):
                    bucket.counts.add(tally)
        self.save(cursor)

    def add_load(self, cursor: sqlite3.Cursor, start: int, upstream: str, load: Load) -> None:
        """Add what was in flight and queued from *start* on; `save` writes it."""
        for bucket in self._changing(cursor, "", start, upstream):
            bucket.load.merge(load)

    def merge(self, cursor: sqlite3.Cursor, place: Place, bucket: Bucket) -> None:
        """Add *bucket* to the one at *place*; `save` writes it."""
        self._bucket(cursor, place).merge(bucket)

    def until(self, cursor: sqlite3.Cursor) -> dict[int, int]:
        """Level → the time before which it is complete."""
        if not self._until:
            self._until = dict(cursor.execute(UNTIL).fetchall())
        return self._until

    def set_until(self, cursor: sqlite3.Cursor, level: int, until: int) -> None:
        """*level* holds everything before *until* from now on."""
        self.until(cursor)[level] = until
        cursor.execute(SET_UNTIL, (until, level))

    def save(self, cursor: sqlite3.Cursor) -> None:
        """Write what changed."""
        rows = [(*place, *encode(self._buckets[place])) for place in self._changed]
        self._changed.clear()
        cursor.executemany(KEEP_BUCKET, rows)

    def _changing(
        self, cursor: sqlite3.Cursor, key: str, at: int, upstream: str
    ) -> Iterable[Bucket]:
        """The buckets of time *at*: the finest, and every coarser one that took it over already."""
        start = at - at % FINEST
        if start != self._start and len(self._buckets) >= KEPT_BUCKETS:
            self.save(cursor)
            self._buckets.clear()
        self._start = start
        return [
            self._bucket(cursor, (level, key, at - at % level, upstream))
            for level, until in self.until(cursor).items()
            if level == FINEST or at < until
        ]

    def _bucket(self, cursor: sqlite3.Cursor, place: Place) -> Bucket:
        self._changed.add(place)
        bucket = self._buckets.get(place)
        if bucket is None:
            row = cursor.execute(BUCKET, place).fetchone()
            bucket = self._buckets[place] = decode(row) if row else Bucket()
        return bucket
