"""What is to be found of recorded calls, read from the journal. Runs in a reader's thread."""

import sqlite3
import time
from collections.abc import Sequence

from gateway.journal.records import header_fields
from gateway.journal.search.text import READ_BYTES, Text, read_answer, read_request
from gateway.journal.search.volumes import Entry
from gateway.journal.search.words import spaced

# Headers are looked at only for a content coding, which hardly any call has.
CALL = """
SELECT calls.status NOT IN ('queued', 'running'), request_type, response_type, calls.answer,
    calls.error_code, calls.error_message, texts.volume, texts.final,
    CASE WHEN requests.headers LIKE '%"content-encoding"%' THEN requests.headers END,
    CASE WHEN attempts.headers LIKE '%"content-encoding"%' THEN attempts.headers END
FROM calls LEFT JOIN requests USING (seq) LEFT JOIN texts USING (seq)
    LEFT JOIN attempts ON attempts.seq = calls.seq AND attempts.number = calls.answer
WHERE calls.seq = ?
"""
PARTS = """
SELECT data FROM parts WHERE seq = ? AND attempt = ?
    AND NOT EXISTS (SELECT 1 FROM unkept WHERE unkept.seq = parts.seq) ORDER BY start
"""

#: A start looks again at so many calls before the last one noted: some were being accepted then.
MARGIN = 10_000
UNSEEN = """
SELECT seq FROM calls WHERE seq > :after AND NOT EXISTS (
    SELECT 1 FROM texts WHERE texts.seq = calls.seq) ORDER BY seq LIMIT :most
"""
ENDED_MEANWHILE = """
SELECT seq FROM texts JOIN calls USING (seq)
WHERE final = 0 AND status NOT IN ('queued', 'running') AND seq > :after ORDER BY seq LIMIT :most
"""
NEWEST_SEQ = "SELECT coalesce(max(seq), 0) FROM calls"
SEARCHED_SEQ = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'searched_seq'"
UNSEARCHED = """
SELECT (SELECT coalesce(max(seq), 0) FROM calls)
    - (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'searched_seq')
"""
LIVING = "SELECT seq FROM texts WHERE seq > ? AND seq <= ? AND volume = ? ORDER BY seq LIMIT ?"


def read_entries(
    connection: sqlite3.Connection,
    seqs: Sequence[int],
    *,
    within_s: float,
    within_chars: int,
    anew: bool = False,
) -> tuple[list[Entry], int]:
    """Entries of the first of *seqs*, and how many were looked at: at least one, then while both last.

    Left out are calls that are not here. *anew*: of those too that are searchable.
    """
    deadline = time.monotonic() + within_s
    entries: list[Entry] = []
    looked_at = 0
    for seq in seqs:
        looked_at += 1
        if entry := read_entry(connection, seq, anew=anew):
            entries.append(entry)
            within_chars -= entry.chars
        if within_chars <= 0 or time.monotonic() > deadline:
            break
    return entries, looked_at


def read_entry(connection: sqlite3.Connection, seq: int, *, anew: bool = False) -> Entry | None:
    """What is to be found of a call as it stands; None: there is no such call."""
    row = connection.execute(CALL, (seq,)).fetchone()
    if row is None:
        return None
    final, request_type, answer_type, answer, code, message, volume, searched, *headers = row
    if volume is not None and (searched or not final) and not anew:
        return Entry(seq=seq, final=bool(final))  # nothing is new: it will not be written
    request = read_request(request_type, _coding(headers[0]), _body(connection, seq, 0))
    said = Text()
    if final and answer is not None:
        body = _body(connection, seq, answer)
        said = read_answer(answer_type, _coding(headers[1]), body)
    return Entry(
        seq=seq,
        final=bool(final),
        request=spaced(request.words),
        answer=spaced(said.words),
        error=f"{code} {message}" if code else "",
        request_preview=request.preview,
        answer_preview=said.preview,
    )


def select_unseen(connection: sqlite3.Connection, after: int, most: int) -> list[int]:
    """Calls above *after* that nobody looked at yet, oldest first."""
    found = connection.execute(UNSEEN, {"after": after, "most": most})
    return [seq for (seq,) in found]


def select_ended(connection: sqlite3.Connection, after: int, most: int) -> list[int]:
    """Calls above *after* that ended after somebody had looked at them, or lost their bodies."""
    found = connection.execute(ENDED_MEANWHILE, {"after": after, "most": most})
    return [seq for (seq,) in found]


def select_unsearched(connection: sqlite3.Connection) -> int:
    """About how many calls are not searchable yet; cheap at any size."""
    (count,) = connection.execute(UNSEARCHED).fetchone()
    return max(0, int(count))


def _body(connection: sqlite3.Connection, seq: int, attempt: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for (data,) in connection.execute(PARTS, (seq, attempt)):
        pieces.append(data)
        size += len(data)
        if size >= READ_BYTES:
            break
    return b"".join(pieces)


def _coding(headers: str | None) -> str | None:
    if headers is None:
        return None
    codings = (
        value for name, value in header_fields(headers) if name.lower() == "content-encoding"
    )
    return next(codings, None)
