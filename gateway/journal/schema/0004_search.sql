-- What can be searched for, written behind: a call ends without waiting for it.
-- The index is in volumes, each a full-text table `search_<number>` without a copy of the texts, so
-- that no word and no prefix costs more than a volume's worth at a time, and so that old texts go
-- with their volume. A row of a volume counts only while `texts` says that its call is in that volume.
CREATE TABLE volumes (
  number    INTEGER PRIMARY KEY,
  first_seq INTEGER NOT NULL,
  last_seq  INTEGER NOT NULL,
  calls     INTEGER NOT NULL,
  chars     INTEGER NOT NULL,
  removed   INTEGER NOT NULL DEFAULT 0,      -- calls in it whose text was to go since it was written
  state     TEXT    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'full', 'dropped'))
);

-- A call that was looked at. Previews are a list's; the words themselves are in the volume.
CREATE TABLE texts (
  seq     INTEGER PRIMARY KEY,
  volume  INTEGER,                           -- NULL: its bodies are gone
  final   INTEGER NOT NULL,                  -- 0: to be looked at again, once it has ended
  request TEXT,
  answer  TEXT
);

CREATE INDEX texts_again ON texts (seq) WHERE final = 0;

CREATE TRIGGER texts_moved AFTER UPDATE OF volume ON texts
WHEN OLD.volume IS NOT NULL AND NEW.volume IS NOT OLD.volume
BEGIN
  UPDATE volumes SET removed = removed + 1 WHERE number = OLD.volume;
END;

CREATE TRIGGER texts_removed AFTER DELETE ON texts WHEN OLD.volume IS NOT NULL
BEGIN
  UPDATE volumes SET removed = removed + 1 WHERE number = OLD.volume;
END;

CREATE TRIGGER calls_removed AFTER DELETE ON calls
BEGIN
  DELETE FROM texts WHERE seq = OLD.seq;
END;

-- All calls up to this one were looked at, give or take the few that were being accepted then.
INSERT INTO meta (name, value) VALUES ('searched_seq', '0');

-- Lists by what is rare. Those with a WHERE cost a call only where it applies; each of the others
-- costs the writer some 3 µs a call (of 50), outside the interpreter's lock. A key's calls are found
-- by `client`, which names it.
CREATE INDEX calls_failed    ON calls (seq) WHERE status = 'failed';
CREATE INDEX calls_cancelled ON calls (seq) WHERE status = 'cancelled';
CREATE INDEX calls_expired   ON calls (seq) WHERE status = 'expired';
CREATE INDEX calls_refused   ON calls (seq, http_status) WHERE http_status >= 400;
CREATE INDEX calls_error     ON calls (error_code) WHERE error_code IS NOT NULL;
CREATE INDEX calls_model     ON calls (model);
CREATE INDEX calls_upstream  ON calls (upstream);
CREATE INDEX calls_client    ON calls (client) WHERE client <> '';
CREATE INDEX calls_keyed     ON calls (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX calls_fairness  ON calls (fairness_key) WHERE fairness_key IS NOT NULL;
CREATE INDEX attempts_second ON attempts (seq) WHERE number = 2;

CREATE TABLE tags (
  name  TEXT    NOT NULL,
  value TEXT    NOT NULL,
  seq   INTEGER NOT NULL,
  PRIMARY KEY (name, value, seq)
) WITHOUT ROWID;

CREATE TRIGGER calls_tag AFTER INSERT ON calls WHEN NEW.tags <> '{}'
BEGIN
  INSERT OR IGNORE INTO tags SELECT key, value, NEW.seq FROM json_each(NEW.tags);
END;

CREATE TRIGGER calls_untag AFTER DELETE ON calls WHEN OLD.tags <> '{}'
BEGIN
  DELETE FROM tags WHERE (name, value, seq) IN (
    SELECT key, value, OLD.seq FROM json_each(OLD.tags));
END;

INSERT OR IGNORE INTO tags
SELECT key, value, seq FROM calls, json_each(calls.tags) WHERE tags <> '{}';
