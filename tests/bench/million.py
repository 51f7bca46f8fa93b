"""Writes a journal of many calls as some busy weeks leave it, straight into the file.

    python -m tests.bench.million PATH [--calls 1000000]

Several models, upstreams, tags, failures, retries; small bodies; searchable texts with their previews.
Statistics are left out. A million take about 1.6 GB and some minutes. Calls end with
the present hour; for the rest the same number of calls gives the same file.
"""

import argparse
import itertools
import json
import random
import sqlite3
import sys
import time
from pathlib import Path

from gateway.journal.migrate import load_migrations, migrate
from gateway.journal.rows import CALL, STATE
from gateway.journal.search.volumes import VOLUME_CALLS, merge, new_volume

SPAN_MS = 25 * 86_400_000  # from the oldest call to the newest: retention keeps all of it for now
BATCH = 20_000
HEADERS = '[["Content-Type","application/json"],["User-Agent","openai-python/2.8"]]'
MODELS = (
    "gpt-4o-mini",
    "gpt-4o",
    "claude-sonnet-4-5",
    "o3",
    "gemini-2.5-flash",
    "gpt-5",
    "mistral-l",
)
UPSTREAMS = {"gpt": "openai", "o3": "openai", "claude": "anthropic", "gemini": "gemini"}
RARE_EVERY = 25_000  # calls between two of the rare model, upstream, tag and word
COLUMNS = tuple(dict.fromkeys(CALL.names + STATE.names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--calls", type=int, default=1_000_000)
    options = parser.parse_args()
    generate(options.path, options.calls, random.Random(1))


def generate(path: Path, calls: int, rng: random.Random) -> None:
    """Write *calls* calls to the new file at *path*."""
    began = time.monotonic()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    migrate(connection, load_migrations())
    words = _Words(rng)
    volume = 0
    for first in range(1, calls + 1, BATCH):
        batch = [
            _Call(seq, calls, rng, words) for seq in range(first, min(first + BATCH, calls + 1))
        ]
        connection.execute("BEGIN")
        _write(connection, batch)
        for part in itertools.groupby(batch, lambda call: (call.seq - 1) // VOLUME_CALLS):
            number, members = part[0] + 1, list(part[1])
            if number != volume:
                volume = new_volume(connection, members[0].seq, state="open")
            _index(connection, volume, members)
        connection.execute("COMMIT")
        print(f"{batch[-1].seq:,} calls, {time.monotonic() - began:.0f} s", file=sys.stderr)
    connection.execute("UPDATE volumes SET state = 'full' WHERE number < ?", (volume,))
    connection.execute("UPDATE meta SET value = ? WHERE name = 'searched_seq'", (str(calls),))
    for number in range(1, volume + 1):
        while not merge(connection, number, whole=True):
            pass
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


class _Words:
    """A vocabulary with the usual few common and many rare words."""

    def __init__(self, rng: random.Random) -> None:
        syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "er", "an")]
        words = ["".join(rng.choices(syllables, k=1 + n % 4)) for n in range(30_000)]
        weights = list(itertools.accumulate(1 / (n + 2) for n in range(len(words))))
        self._texts = [
            " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(6, 24)))
            for _ in range(20_000)
        ]
        self._rng = rng
        self.now_ms = int(time.time() * 1000)

    def text(self) -> str:
        return self._rng.choice(self._texts)


class _Call:
    """One call with all that the file holds of it."""

    def __init__(self, seq: int, calls: int, rng: random.Random, words: _Words) -> None:
        self.seq = seq
        rare = seq % RARE_EVERY == 0
        model = "rare-model" if rare else rng.choices(MODELS, (40, 20, 15, 10, 8, 5, 2))[0]
        upstream = "backup" if rare else UPSTREAMS.get(model.partition("-")[0], "openai")
        self.asked = words.text() + (" zanzibarium" if rare else "")
        self.said = words.text()
        status = rng.choices(("succeeded", "failed", "cancelled", "expired"), (960, 32, 5, 3))[0]
        self.retried = rng.random() < 0.04
        http = 200 if status == "succeeded" else rng.choice((429, 500, 503, 400))
        answered = status in ("succeeded", "failed")
        self.answer = (2 if self.retried else 1) if answered else None
        created = words.now_ms - (calls - seq) * SPAN_MS // calls
        duration = rng.lognormvariate(2.0, 0.8) * 1000
        queued = rng.expovariate(1 / 40)
        self.request = json.dumps(
            {"model": model, "messages": [{"role": "user", "content": self.asked}]}
        ).encode()
        choice = {"index": 0, "message": {"role": "assistant", "content": self.said}}
        usage = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}
        self.response = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.times = (created + int(queued), created + int(duration * 0.8), created + int(duration))
        tags = {"team": rng.choice(("search", "ads", "ops"))} if rng.random() < 0.3 else {}
        if rare:
            tags["run"] = str(seq // RARE_EVERY)
        self.error = "upstream_error" if status == "failed" else None
        self.http = http
        self.upstream = upstream
        self.tags = tags
        values = {
            "seq": seq, "id": f"call_{created:016X}{seq:010}", "created_ms": created,
            "method": "POST", "path": "/v1/chat/completions", "query": "", "upstream": upstream,
            "target": "/chat/completions", "model": model, "stream": int(rng.random() < 0.4),
            "priority": 5, "client": f"key:k{seq % 7}", "address": "127.0.0.1",
            "key_id": f"k{seq % 7}", "tags": json.dumps(tags), "fingerprint": None,
            "retry_count": 0, "max_attempts": 4, "on_disconnect": "finish", "needs_secret": 0,
            "request_type": "application/json", "request_bytes": len(self.request),
            "version": 2, "status": status, "detached": 0, "client_waited": 1, "client_gone": 0,
            "started_ms": self.times[0], "queued_ms": queued, "first_byte_ms": self.times[1],
            "finished_ms": self.times[2], "duration_ms": duration, "answer": self.answer,
            "http_status": http if answered else None, "response_type": "application/json",
            "response_bytes": len(self.response), "complete": 1, "input_tokens": 20,
            "output_tokens": 60, "total_tokens": rng.randint(40, 4000), "error_code": self.error,
            "error_message": "the upstream answered 503" if self.error else None,
            "idempotency_key": f"job-{seq}" if seq % 50 == 0 else None,
        }  # fmt: skip
        self.row = tuple(values.get(name) for name in COLUMNS)


def _write(connection: sqlite3.Connection, batch: list[_Call]) -> None:
    marks = ", ".join("?" * len(COLUMNS))
    connection.executemany(
        f"INSERT INTO calls ({', '.join(COLUMNS)}, room) VALUES ({marks}, NULL)",
        [call.row for call in batch],
    )
    connection.executemany(
        "INSERT INTO requests VALUES (?, ?, ?)",
        [(call.seq, HEADERS, "0" * 64) for call in batch],
    )
    attempts, parts = [], []
    for call in batch:
        parts.append((call.seq, 0, 0, call.request, None))
        if call.answer is None:
            continue
        parts.append((call.seq, call.answer, 0, call.response, None))
        for number in range(1, call.answer + 1):
            last = number == call.answer
            attempts.append((
                call.seq, number, call.upstream, call.times[0], call.times[1], call.times[2],
                "answered", call.http if last else 503, HEADERS, None, None, None, None, 0, 1,
                len(call.response) if last else 0, None, 1,
            ))  # fmt: skip
    connection.executemany(f"INSERT INTO attempts VALUES ({', '.join('?' * 18)})", attempts)
    connection.executemany("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", parts)


def _index(connection: sqlite3.Connection, volume: int, calls: list[_Call]) -> None:
    said = [call.said if call.answer else "" for call in calls]
    errors = [f"{call.error} the upstream answered 503" if call.error else "" for call in calls]
    connection.executemany(
        f"INSERT INTO search_{volume} (rowid, request, answer, error) VALUES (?, ?, ?, ?)",
        [(call.seq, call.asked, *rest) for call, *rest in zip(calls, said, errors, strict=True)],
    )
    connection.executemany(
        "INSERT INTO texts VALUES (?, ?, 1, ?, ?)",
        [
            (call.seq, volume, call.asked[:200], answer[:200] or None)
            for call, answer in zip(calls, said, strict=True)
        ],
    )
    chars = sum(len(call.asked) + len(call.said) for call in calls)
    connection.execute(
        "UPDATE volumes SET last_seq = ?, calls = calls + ?, chars = chars + ? WHERE number = ?",
        (calls[-1].seq, len(calls), chars, volume),
    )


if __name__ == "__main__":
    main()
