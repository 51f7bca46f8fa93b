"""What statistics say of a journal's calls, read from its file like the gateway reads it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.journal.statistics.stats import Statistics, select_statistics
from gateway.journal.statistics.windows import Window, read_window
from tests.running_journal import committed

FINAL = """
SELECT status, count(*) FROM calls
WHERE status IN ('succeeded', 'failed', 'cancelled', 'expired') GROUP BY status
"""


def statistics(path: Path, *, now: float, **parameters: str) -> tuple[Window, Statistics]:
    """Read the window of *parameters*, without what only a running gateway knows."""
    window = read_window(parameters.items(), now=now)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return window, select_statistics(connection, window, {})


def counted(path: Path, *, now: float, **parameters: str) -> dict[str, int]:
    """Final status → how many calls of the last 30 days statistics know."""
    _, found = statistics(path, now=now, window="30d", **parameters)
    outcomes: dict[str, int] = {}
    for bucket in found.steps.values():
        for status, calls in bucket.counts.outcomes.items():
            outcomes[status] = outcomes.get(status, 0) + calls
    return outcomes


def ended(path: Path) -> dict[str, int]:
    """Final status → how many calls the journal has."""
    return dict(committed(path, FINAL))
