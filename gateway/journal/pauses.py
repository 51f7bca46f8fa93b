"""Which upstreams are paused: kept in the journal, so that a restart does not lift a pause."""

import sqlite3
from collections.abc import Callable

PAUSE = "INSERT OR IGNORE INTO meta (name, value) VALUES ('paused:' || ?, '1')"
LIFT = "DELETE FROM meta WHERE name = 'paused:' || ?"
PAUSED = "SELECT substr(name, 8) FROM meta WHERE name GLOB 'paused:*'"


def remember(upstream: str, *, paused: bool) -> Callable[[sqlite3.Connection], bool]:
    """The writer's step that records it; see `Journal.work`."""

    def step(connection: sqlite3.Connection) -> bool:
        connection.execute(PAUSE if paused else LIFT, (upstream,))
        return True

    return step


def select_paused(connection: sqlite3.Connection) -> frozenset[str]:
    """Names of the paused upstreams."""
    return frozenset(name for (name,) in connection.execute(PAUSED))
