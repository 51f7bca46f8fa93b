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
  AND (NEW.total_tokens IS NOT NULL OR NEW.input_tokens IS NOT NULL OR NEW.output_tokens IS NOT NULL)
BEGIN
  INSERT INTO key_usage (key_id, day, tokens)
  VALUES (NEW.key_id, NEW.finished_ms / 86400000,
    coalesce(NEW.total_tokens, coalesce(NEW.input_tokens, 0) + coalesce(NEW.output_tokens, 0)))
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
