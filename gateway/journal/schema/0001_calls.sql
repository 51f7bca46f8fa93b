-- Calls are narrow: a list never touches a body or a header.
-- Times are integers, milliseconds since the epoch; `seq` is the order of acceptance.
CREATE TABLE calls (
  seq             INTEGER PRIMARY KEY,
  id              TEXT    NOT NULL UNIQUE,
  -- fixed when accepted
  created_ms      INTEGER NOT NULL,
  method          TEXT    NOT NULL,
  path            TEXT    NOT NULL,
  query           TEXT    NOT NULL,          -- credentials in it redacted
  upstream        TEXT    NOT NULL,
  target          TEXT    NOT NULL,          -- path and query after base_url, redacted like query
  model           TEXT,
  stream          INTEGER NOT NULL,
  priority        INTEGER NOT NULL,
  fairness_key    TEXT,
  client          TEXT    NOT NULL,
  address         TEXT    NOT NULL,
  key_id          TEXT,
  tags            TEXT    NOT NULL,          -- JSON object
  idempotency_key TEXT,
  fingerprint     TEXT,
  retry_count     INTEGER NOT NULL,
  replay_of       TEXT,
  webhook         TEXT,
  max_attempts    INTEGER NOT NULL,
  queue_timeout_s REAL,
  deadline_ms     INTEGER,
  on_disconnect   TEXT    NOT NULL,
  needs_secret    INTEGER NOT NULL,
  request_type    TEXT,
  request_bytes   INTEGER NOT NULL,
  -- changes until final
  version         INTEGER NOT NULL,
  status          TEXT    NOT NULL
    CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
  wait_reason     TEXT,
  detached        INTEGER NOT NULL,
  client_waited   INTEGER NOT NULL,
  client_gone     INTEGER NOT NULL,
  started_ms      INTEGER,
  first_byte_ms   INTEGER,
  finished_ms     INTEGER,
  queued_ms       REAL    NOT NULL,
  duration_ms     REAL,
  open_attempt    INTEGER,                   -- number of the attempt in flight …
  open_started_ms INTEGER,                   -- … whose own row is written once, when it ends
  answer          INTEGER,                   -- number of the attempt whose answer is the call's
  http_status     INTEGER,
  response_type   TEXT,
  response_bytes  INTEGER,
  complete        INTEGER,
  error_code      TEXT,
  error_message   TEXT,
  input_tokens    INTEGER,
  output_tokens   INTEGER,
  total_tokens    INTEGER,
  -- What a call's end adds finds its place in the page instead of splitting it (measured: 10 % of
  -- the file, 15 % of the time an end takes). NULL from the first change on; means nothing.
  room            BLOB DEFAULT (zeroblob(60))
);

-- SQLite 3.40 does not use `WHERE status IN (…)` for `status = 'queued'`: one index per open state.
CREATE INDEX calls_queued  ON calls (seq) WHERE status = 'queued';
CREATE INDEX calls_running ON calls (seq) WHERE status = 'running';
CREATE INDEX calls_idempotency ON calls (client, idempotency_key, seq) WHERE idempotency_key IS NOT NULL;
CREATE INDEX calls_replay ON calls (replay_of) WHERE replay_of IS NOT NULL;

-- A final status is final, whatever the code above believes.
CREATE TRIGGER calls_final BEFORE UPDATE OF status ON calls
WHEN OLD.status IN ('succeeded', 'failed', 'cancelled', 'expired') AND NEW.status <> OLD.status
BEGIN
  SELECT RAISE(ABORT, 'a final call never changes its status');
END;

CREATE TABLE requests (
  seq     INTEGER PRIMARY KEY,
  headers TEXT NOT NULL,                     -- JSON [[name, value]…], credentials redacted
  sha256  TEXT NOT NULL
);

CREATE TABLE attempts (
  seq            INTEGER NOT NULL,
  number         INTEGER NOT NULL,
  upstream       TEXT    NOT NULL,
  started_ms     INTEGER NOT NULL,
  first_byte_ms  INTEGER,
  finished_ms    INTEGER NOT NULL,
  outcome        TEXT    NOT NULL
    CHECK (outcome IN ('answered', 'timed_out', 'unreachable', 'broken', 'cancelled', 'interrupted')),
  status         INTEGER,
  headers        TEXT    NOT NULL,           -- JSON [[name, value]…] of the answer
  error_code     TEXT,
  error_message  TEXT,
  retry_after_s  REAL,
  backoff_s      REAL,
  ambiguous      INTEGER NOT NULL,
  counts         INTEGER NOT NULL,
  body_bytes     INTEGER NOT NULL,
  sha256         TEXT,
  complete       INTEGER NOT NULL,
  PRIMARY KEY (seq, number)
) WITHOUT ROWID;

-- Bodies in pieces of at most 256 KiB; attempt 0 is the request.
CREATE TABLE parts (
  seq     INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  start   INTEGER NOT NULL,                  -- offset of the first byte
  data    BLOB    NOT NULL,
  chunks  TEXT,                              -- JSON [[ms since the attempt began, bytes]…], NULL: one piece
  UNIQUE (seq, attempt, start)
);

-- Calls whose request body has begun to arrive here and whose own row has not: a body too large for
-- one transaction. What a start finds here was never accepted, and its parts go.
CREATE TABLE incoming (
  seq INTEGER PRIMARY KEY
);

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
