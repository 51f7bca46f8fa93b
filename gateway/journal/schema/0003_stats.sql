-- Figures of the calls that ended, and of what was in flight and queued, in buckets of time. They
-- outlive the calls: deleting one changes nothing here. What a row holds: `rollups.py`.
CREATE TABLE rollups (
  level      INTEGER NOT NULL,               -- seconds that a bucket lasts
  key        TEXT    NOT NULL,               -- of the calls made with it; '': of all calls
  start      INTEGER NOT NULL,               -- seconds since the epoch, a multiple of `level`
  upstream   TEXT    NOT NULL,               -- '': of the whole gateway, which has no calls of its own
  sums       TEXT    NOT NULL,               -- JSON
  duration   BLOB    NOT NULL,               -- histograms
  queued     BLOB    NOT NULL,
  first_byte BLOB    NOT NULL,
  PRIMARY KEY (level, key, start, upstream)
) WITHOUT ROWID;

-- What ended of late, as a round of the writer found it: JSON [tally…]. Counted in `rollups` and
-- removed in one commit, soon after.
CREATE TABLE uncounted (
  id      INTEGER PRIMARY KEY,
  tallies TEXT NOT NULL
);

CREATE INDEX rollups_start ON rollups (level, start);  -- for what becomes coarser, or goes

-- Each level holds what ended before `until`, which is never later than that of the next finer one; the
-- rest is still in there. The finest holds all calls, and in flight and queued up to `until`.
CREATE TABLE rollup_levels (
  level INTEGER PRIMARY KEY,
  until INTEGER NOT NULL                     -- seconds since the epoch
);

INSERT INTO rollup_levels (level, until) VALUES
  (10, 0), (60, 0), (300, 0), (900, 0), (3600, 0), (21600, 0);
