"""Real exchanges with real AI APIs are found by what was asked and by what was answered."""

import gzip
from pathlib import Path

import pytest

from gateway.journal.filters import read_filters
from gateway.journal.search.indexing import read_entry
from gateway.journal.search.scan import Wanted, scan
from gateway.journal.search.volumes import write_entries
from gateway.journal.search.words import has_words
from tests.recorded_calls import RecordedCalls, answered
from tests.test_recorded import RECORDED, read_exchange

pytestmark = pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not here")


def test_every_dialect_is_found_by_its_previews(tmp_path: Path) -> None:
    with RecordedCalls(tmp_path / "gateway.db") as recorded:
        recorded.connection.execute("PRAGMA synchronous = OFF")
        with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
            exchanges = [read_exchange(line) for line in lines]
        for exchange in exchanges:
            headers = tuple((n.encode(), v.encode()) for n, v in exchange.answer.headers)
            recorded.add(
                request=exchange.request_body,
                request_headers=tuple(
                    (n.encode(), v.encode()) for n, v in exchange.request_headers
                ),
                attempts=[answered(body=exchange.answer.body, headers=headers)],
                answer=1,
            )
        entries = [read_entry(recorded.connection, seq) for seq in range(1, len(exchanges) + 1)]
        entries = [entry for entry in entries if entry is not None]
        write_entries(recorded.connection, entries, searched_seq=0)

        missed = []
        sides = 0
        for entry in entries:
            for preview in (entry.request_preview, entry.answer_preview):
                words = (preview or "").replace('"', " ").split()
                phrase = " ".join([word for word in words if not word.endswith("…")][:4])
                if not has_words(phrase):
                    continue
                sides += 1
                filters = read_filters([("q", f'"{phrase}"')])
                wanted = Wanted(
                    conditions=filters.conditions,
                    values=dict(filters.values),
                    expressions=filters.expressions,
                    globs=filters.globs,
                )
                done = scan(recorded.connection, wanted, "seq", most=1000, deadline=0)
                if (entry.seq,) not in done.rows:
                    missed.append((exchanges[entry.seq - 1].id, phrase))

    assert missed == []
    assert sides > 1.5 * len(entries)
