-- What a final call tells its webhook: one message a call, however often it is sent. The URL is the
-- call's, and the message's id is made of the call's id.
CREATE TABLE deliveries (
  seq         INTEGER PRIMARY KEY REFERENCES calls (seq) ON DELETE CASCADE,
  status      TEXT    NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
  attempts    INTEGER NOT NULL,          -- tries so far
  step        INTEGER NOT NULL,          -- of them, those of the schedule as it runs now
  next_ms     INTEGER,                   -- when the next try is due
  last_status INTEGER                    -- HTTP, of the last try; NULL: no answer
);

CREATE INDEX deliveries_pending ON deliveries (next_ms) WHERE status = 'pending';

CREATE TABLE delivery_tries (
  seq    INTEGER NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE,
  number INTEGER NOT NULL,               -- from 1
  at_ms  INTEGER NOT NULL,
  status INTEGER,                        -- HTTP; NULL: no answer
  error  TEXT,                           -- why it does not count as told
  PRIMARY KEY (seq, number)
) WITHOUT ROWID;

-- Whatever ends a call makes its delivery pending, in the same commit.
CREATE TRIGGER calls_tell AFTER UPDATE OF status ON calls
WHEN NEW.webhook IS NOT NULL
  AND NEW.status IN ('succeeded', 'failed', 'cancelled', 'expired')
BEGIN
  INSERT OR IGNORE INTO deliveries (seq, status, attempts, step, next_ms)
  VALUES (NEW.seq, 'pending', 0, 0, NEW.finished_ms);
END;

-- Calls that ended before there were deliveries told nobody, and do so only when asked to.
INSERT INTO deliveries (seq, status, attempts, step)
SELECT seq, 'failed', 0, 0 FROM calls
WHERE webhook IS NOT NULL AND status IN ('succeeded', 'failed', 'cancelled', 'expired');
