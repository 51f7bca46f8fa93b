-- Keys that this gateway gives its clients. Of a key only its hash is here.
-- Times are integers, milliseconds since the epoch.
CREATE TABLE keys (
  id                  TEXT PRIMARY KEY,
  name                TEXT    NOT NULL,
  hash                BLOB    NOT NULL CHECK (length(hash) = 32),  -- sha256 of the whole key
  scopes              TEXT    NOT NULL,      -- JSON list
  upstreams           TEXT    NOT NULL,      -- JSON list of globs; []: all
  models              TEXT    NOT NULL,      -- JSON list of globs; []: all
  max_in_flight       INTEGER,               -- this and the next three: NULL is without bound
  requests_per_minute INTEGER,
  tokens_per_minute   INTEGER,
  tokens_per_day      INTEGER,
  bodies              TEXT    NOT NULL CHECK (bodies IN ('full', 'metadata', 'none')),
  created_ms          INTEGER NOT NULL,
  created_by          TEXT    NOT NULL,
  expires_ms          INTEGER,
  last_used_ms        INTEGER,               -- written behind
  revoked_ms          INTEGER
) WITHOUT ROWID;

CREATE TRIGGER keys_revoked BEFORE UPDATE ON keys
WHEN OLD.revoked_ms IS NOT NULL AND NEW.revoked_ms IS NOT OLD.revoked_ms
BEGIN
  SELECT RAISE(ABORT, 'a revoked key stays revoked');
END;

-- What the calls of a key used, by the UTC day (days since the epoch) on which they ended. Counted
-- in the commit that ends the call, so neither a crash nor a deletion of calls gives budget back.
CREATE TABLE key_usage (
  key_id TEXT    NOT NULL,
  day    INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  PRIMARY KEY (key_id, day)
) WITHOUT ROWID;

CREATE TRIGGER calls_use_tokens AFTER UPDATE OF status ON calls
WHEN NEW.key_id IS NOT NULL
  AND OLD.status IN ('queued', 'running')
  AND NEW.status IN ('succeeded', 'failed', 'cancelled', 'expired')
  AND NEW.method = 'POST'                    -- asking again for a result used nothing
  AND (NEW.total_tokens IS NOT NULL OR NEW.input_tokens IS NOT NULL OR NEW.output_tokens IS NOT NULL
    OR (NEW.stream AND NEW.answer IS NOT NULL AND NEW.http_status < 400))
BEGIN
  -- A stream may tell no usage, or be left before it does: then its size has to do.
  INSERT INTO key_usage (key_id, day, tokens)
  VALUES (NEW.key_id, NEW.finished_ms / 86400000,
    CASE
      WHEN NEW.total_tokens IS NOT NULL THEN NEW.total_tokens
      WHEN NEW.input_tokens IS NOT NULL OR NEW.output_tokens IS NOT NULL
        THEN coalesce(NEW.input_tokens, 0) + coalesce(NEW.output_tokens, 0)
      ELSE NEW.request_bytes / 4 + coalesce(NEW.response_bytes, 0) / 200
    END)
  ON CONFLICT (key_id, day) DO UPDATE SET tokens = tokens + excluded.tokens;
END;

-- Who changed what. Only ever added to.
CREATE TABLE audit (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms  INTEGER NOT NULL,
  actor  TEXT    NOT NULL,                   -- id of a key, session:<id of a key>, cli, anonymous
  action TEXT    NOT NULL,
  target TEXT,
  detail TEXT    NOT NULL                    -- JSON object
);

CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit trail is only added to');
END;

CREATE TRIGGER audit_kept BEFORE DELETE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit trail is only added to');
END;

-- Calls of which less is to be kept than everything, because their key or upstream says so: from
-- their acceptance until it is gone. `keep` is 'metadata' (all but bodies) or 'none' (no header
-- fields and no query either). What upstreams say stands in meta, `bodies:<name>`.
CREATE TABLE unkept (
  seq    INTEGER PRIMARY KEY,
  keep   TEXT NOT NULL,
  due_ms INTEGER                             -- NULL: not final yet
);

CREATE INDEX unkept_due ON unkept (due_ms) WHERE due_ms IS NOT NULL;

CREATE TRIGGER calls_unkept AFTER INSERT ON calls
WHEN EXISTS (SELECT 1 FROM keys WHERE id = NEW.key_id AND bodies <> 'full')
  OR EXISTS (SELECT 1 FROM meta WHERE name = 'bodies:' || NEW.upstream)
BEGIN
  INSERT OR REPLACE INTO unkept (seq, keep)
  SELECT NEW.seq, max(policy) FROM (          -- 'none' comes after 'metadata'
    SELECT bodies AS policy FROM keys WHERE id = NEW.key_id AND bodies <> 'full'
    UNION ALL SELECT value FROM meta WHERE name = 'bodies:' || NEW.upstream);
END;

-- A minute is left to come back for the answer, to join the call, or to replay it.
CREATE TRIGGER calls_unkept_due AFTER UPDATE OF status ON calls
WHEN NEW.status IN ('succeeded', 'failed', 'cancelled', 'expired')
BEGIN
  UPDATE unkept SET due_ms = NEW.finished_ms + 60000 WHERE seq = NEW.seq AND due_ms IS NULL;
END;
