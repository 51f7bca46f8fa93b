"""Statistics in the file: its buckets, changed in the transaction at hand."""

import sqlite3
from collections.abc import Iterator
from typing import TypeAlias

from gateway.journal.statistics.rollups import FINEST, Bucket, Load, Tally, decode, encode

#: A row of `rollups`: (level, key, start, upstream).
Place: TypeAlias = tuple[int, str, int, str]

STORED = "sums, duration, queued, first_byte"  #: columns of a row, as `rollups.Stored`
BUCKET = f"""
SELECT {STORED} FROM rollups WHERE level = ? AND key = ? AND start = ? AND upstream = ?
"""  # noqa: S608 - names of columns
# Not REPLACE: that would take the row out of its index and put it back.
KEEP_BUCKET = f"""
INSERT INTO rollups (level, key, start, upstream, {STORED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (level, key, start, upstream) DO UPDATE SET sums = excluded.sums,
  duration = excluded.duration, queued = excluded.queued, first_byte = excluded.first_byte
"""  # noqa: S608 - names of columns
UNTIL = "SELECT level, until FROM rollup_levels"
SET_UNTIL = "UPDATE rollup_levels SET until = ? WHERE level = ?"


class Buckets:
    """The buckets of one transaction: read where they are wanted, written by `save`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[Place, Bucket] = {}
        #: level → the time before which it is complete
        self.until: dict[int, int] = dict(connection.execute(UNTIL).fetchall())

    def count(self, ended: Tally) -> None:
        """Add one call that *ended*: to all calls, and to those of its key."""
        for key in ("",) if ended.key is None else ("", ended.key):
            for bucket in self._of(key, ended.finished_s, ended.upstream):
                bucket.counts.add(ended)

    def add_load(self, start: int, upstream: str, load: Load) -> None:
        """Add what was in flight and queued from *start* on."""
        for bucket in self._of("", start, upstream):
            bucket.load.merge(load)

    def merge(self, place: Place, bucket: Bucket) -> None:
        """Add *bucket* to the one at *place*."""
        self._at(place).merge(bucket)

    def set_until(self, level: int, until: int) -> None:
        """*level* holds everything before *until* from now on; it never takes that back."""
        if until > self.until[level]:
            self.until[level] = until
            self._connection.execute(SET_UNTIL, (until, level))

    def save(self) -> None:
        """Write what changed."""
        rows = [(*place, *encode(bucket)) for place, bucket in self._known.items()]
        self._connection.executemany(KEEP_BUCKET, rows)
        self._known.clear()

    def _of(self, key: str, at: int, upstream: str) -> Iterator[Bucket]:
        """The buckets of the time *at*: the finest, and all that took that time over already."""
        for level, until in self.until.items():
            if level == FINEST or at < until:
                yield self._at((level, key, at - at % level, upstream))

    def _at(self, place: Place) -> Bucket:
        bucket = self._known.get(place)
        if bucket is None:
            row = self._connection.execute(BUCKET, place).fetchone()
            bucket = self._known[place] = decode(row) if row else Bucket()
        return bucket
