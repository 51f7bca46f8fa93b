"""Every call that ended is counted once, whatever happened meanwhile; windows read few rows."""

import random
import sqlite3
from contextlib import closing

import pytest

from gateway.call import Part, Status
from gateway.errors import GatewayError, JournalUnavailable
from gateway.journal.migrate import load_migrations, migrate
from gateway.journal.statistics.counting import Buckets
from gateway.journal.statistics.folding import Folding
from gateway.journal.statistics.rollups import DAY_S, LEVELS, Bucket, Load, Tally, encode
from gateway.journal.statistics.stats import Now, select_statistics, statistics_json
from gateway.journal.statistics.windows import read_window
from tests.counted_calls import counted, ended
from tests.running_journal import (
    NOW,
    begin_attempt,
    committed,
    end_attempt,
    end_call,
    make_call,
    open_running,
)

T = int(NOW) // DAY_S * DAY_S  # midnight


@pytest.fixture
def db(tmp_path):
    """Return where the journal is."""
    return tmp_path / "gateway.db"


@pytest.fixture
async def journal(db):
    """Yield a journal whose writer runs, and that gives up on a locked file soon."""
    async with open_running(db, busy_timeout_ms=1) as journal:
        yield journal


async def begin(journal, **changes):
    call = make_call(journal.next_seq(), **changes)
    begin_attempt(call)
    await journal.accept(call)
    return call


def finish(journal, call, status=Status.SUCCEEDED):
    attempt = end_attempt(call)
    end_call(call, status)
    call.duration_ms = 2000.0
    parts = [Part(attempt=1, start=0, data=b"answer")]
    return journal.update(call, ended=[attempt], parts=parts)


# -- once


async def test_a_calls_end_and_its_counting_are_one_commit(journal, db):
    for status in (Status.SUCCEEDED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED):
        await finish(journal, await begin(journal), status)
    await begin(journal)

    assert counted(db, now=NOW) == {"succeeded": 2, "failed": 1, "cancelled": 1} == ended(db)


async def test_a_call_that_is_over_as_it_is_accepted_is_counted(journal, db):
    call = make_call(journal.next_seq())
    end_call(call, Status.EXPIRED)
    await journal.accept(call)

    assert counted(db, now=NOW) == {"expired": 1} == ended(db)


async def test_an_end_that_comes_twice_is_counted_once(journal, db):
    call, other = await begin(journal), await begin(journal)
    await finish(journal, call)
    again, first = journal.update(call), finish(journal, other)
    await again
    await first
    await journal.update(other)

    assert counted(db, now=NOW) == {"succeeded": 2} == ended(db)


async def test_an_end_that_is_refused_is_not_counted_nor_are_its_neighbours_twice(journal, db):
    final, good = await begin(journal), await begin(journal)
    await finish(journal, final)
    final.status = Status.FAILED  # a final call never changes its status
    refused, taken = journal.update(final), finish(journal, good)
    with pytest.raises(GatewayError, match="never changes"):
        await refused
    await taken

    assert counted(db, now=NOW) == {"succeeded": 2} == ended(db)


async def test_what_ends_during_an_outage_is_counted_when_it_is_written(journal, db):
    calls = [await begin(journal) for _ in range(5)]
    with closing(sqlite3.connect(db, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable):
            await journal.accept(make_call(journal.next_seq()))
        for call in calls:
            assert await finish(journal, call) is False
        foreign.execute("ROLLBACK")
    await journal.wait_available()
    for call in calls:
        assert await journal.update(call)  # as relay does for a call that nobody waits for

    assert counted(db, now=NOW) == {"succeeded": 5} == ended(db)


class FailingOnce:
    """A file whose next commit is made and reported as failed."""

    def __init__(self, file):
        self._file = file
        self._fails = True

    def __getattr__(self, name):
        return getattr(self._file, name)

    async def write(self, posts, **options):
        await self._file.write(posts, **options)
        if posts and self._fails:
            self._fails = False
            raise sqlite3.OperationalError("disk I/O error")


async def test_a_commit_that_seemed_to_fail_is_not_counted_again(journal, db):
    """The disk reported an error, and yet all of it was there: the posts come a second time."""
    call = await begin(journal)
    journal._committer._file = FailingOnce(journal._file)
    assert await finish(journal, call) is False
    await journal.wait_available()

    assert counted(db, now=NOW) == {"succeeded": 1} == ended(db)


async def test_what_was_counted_stays_counted_when_calls_go(journal, db):
    call = await begin(journal)
    await finish(journal, call)
    await journal.delete(call.seq)

    assert ended(db) == {}
    assert counted(db, now=NOW) == {"succeeded": 1}


async def test_calls_that_a_start_ends_are_counted(db):
    async with open_running(db) as journal:
        await begin(journal)
    async with open_running(db) as journal:
        (call,) = await journal.open_calls()
        await finish(journal, call, Status.FAILED)

    assert counted(db, now=NOW) == {"failed": 1} == ended(db)


async def test_only_calls_with_a_key_count_for_it(journal, db):
    for key in (None, "key_1", "key_1", "key_2"):
        await finish(journal, await begin(journal, key_id=key))
    before = [counted(db, now=NOW, **only) for only in ({}, {"key": "key_1"}, {"key": "key_3"})]
    await journal.keep_statistics({}, sampled_until=0)
    after = [counted(db, now=NOW, **only) for only in ({}, {"key": "key_1"}, {"key": "key_3"})]

    assert before == after == [{"succeeded": 4}, {"succeeded": 2}, {}]
    assert committed(db, "SELECT count(*) FROM uncounted") == [(0,)]


# -- coarser with age


@pytest.fixture
def connection():
    """Yield a connection to a journal that nobody else has open."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, load_migrations())
        yield connection


def one(at, *, upstream="openai", key=None, ms=100):
    return Tally(at, upstream, key, "succeeded", None, 1, 0, ms * 1000, 0, None, 1, 2, 3)


def count(connection, *tallies):
    buckets = Buckets(connection)
    for each in tallies:
        buckets.count(each)
    buckets.save()


def fold(connection, now, loads=None, sampled_until=0):
    step = Folding(loads or {}, sampled_until=sampled_until, now_s=now)
    while not step(connection):
        pass


def calls(connection, now, **parameters):
    window = read_window(parameters.items(), now=now)
    return sum(
        sum(bucket.counts.outcomes.values())
        for bucket in select_statistics(connection, window, {}).steps.values()
    )


@pytest.mark.parametrize("seed", range(3))
def test_every_window_counts_each_call_once_however_far_folding_has_come(connection, seed):
    """Random ends, late ones among them, and folding at random moments, against a plain list."""
    rng = random.Random(seed)
    made, now = [], T
    for _ in range(60):
        now += rng.choice([1, 7, 30, 400, 4000])
        late = rng.choice([0, 0, 0, 15, 700, 8000])
        tallies = [
            one(now - late, key=rng.choice([None, "key_1"])) for _ in range(rng.randint(0, 3))
        ]
        count(connection, *tallies)
        made += tallies
        if rng.random() < 0.5:
            fold(connection, now)
        for parameters in (
            {"window": "2h"},
            {"window": "12h"},
            {"window": "2d"},
            {"window": "30d"},
        ):
            window = read_window(parameters.items(), now=now)
            within = [each for each in made if window.since <= each.finished_s < window.until]
            assert calls(connection, now, **parameters) == len(within)
            keyed = sum(each.key is not None for each in within)
            assert calls(connection, now, **parameters, key="key_1") == keyed


def test_the_window_before_is_counted_the_same_from_longer_buckets(connection):
    rng = random.Random(1)
    made = [one(T + rng.randrange(2 * DAY_S)) for _ in range(300)]
    count(connection, *made)
    fold(connection, T + 2 * DAY_S)
    window = read_window([("window", "20h")], now=T + 2 * DAY_S - 1000)
    found = select_statistics(connection, window, {})

    before = [each for each in made if window.before <= each.finished_s < window.since]
    assert found.previous.outcomes["succeeded"] == len(before)
    assert found.previous.duration.calls == len(before)


def test_buckets_go_when_they_are_too_old_for_their_level_and_not_before_they_were_folded(
    connection,
):
    count(connection, one(T), one(T + 20))
    fold(connection, T + 29)
    kept = [level for (level,) in connection.execute("SELECT DISTINCT level FROM rollups")]
    assert kept == [10, 60]  # the second ten seconds are not over for long enough

    count(connection, one(T + 100 * DAY_S))
    fold(connection, T + 100 * DAY_S + 60)
    rows = connection.execute("SELECT level, count(*) FROM rollups GROUP BY level").fetchall()

    assert rows == [(10, 1), (60, 1), (3600, 1), (21_600, 1)]
    assert calls(connection, T + DAY_S, window="30d") == 2
    assert calls(connection, T + 100 * DAY_S, window="30d") == 1


def test_many_old_buckets_go_in_small_steps(connection):
    count(connection, *(one(T + 10 * at) for at in range(1200)))
    step = Folding({}, sampled_until=0, now_s=T + 30 * DAY_S)
    most = 0
    left = connection.execute("SELECT count(*) FROM rollups").fetchone()[0]
    while not step(connection):
        (now_left,) = connection.execute("SELECT count(*) FROM rollups").fetchone()
        most, left = max(most, left - now_left), now_left

    assert most == 500
    assert connection.execute("SELECT count(*) FROM rollups WHERE level < 3600").fetchone() == (0,)


# -- in flight and queued


def test_loads_are_added_once_however_often_they_come(connection):
    loads = {(T, ""): Load(5_000, 2, 0, 0, 50), (T, "openai"): Load(5_000, 2, 0, 0, 20)}
    for _ in range(2):
        fold(connection, T + 10, loads, sampled_until=T + 10)
    fold(connection, T + 3600)
    window = read_window([("window", "1h")], now=T + 3599)
    found = select_statistics(connection, window, loads)

    (bucket,) = found.steps.values()
    assert bucket.load == Load(5_000, 2, 0, 0, 50)


# -- reading


def test_a_series_covers_its_window_with_zeros(connection):
    count(connection, one(T + 100), one(T + 100), one(T + 290, ms=300))
    window = read_window([("window", "5m"), ("step", "60")], now=T + 299)
    loads = {(T + 60, ""): Load(30_000, 3, 6_000, 1, 20)}
    now = Now(at=T + 299, limit=50, upstreams=("openai", "other"), unsaved=loads)
    told = statistics_json(select_statistics(connection, window, loads), window, now)
    series = told["series"]

    assert [step["calls"] for step in series] == [0, 2, 0, 0, 1]
    assert series[0]["duration_ms"] == {
        "count": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None,
    }  # fmt: skip
    assert [step["in_flight"] for step in series] == [0, 0.5, 0, 0, 0]
    assert [step["in_flight_max"] for step in series] == [0, 3, 0, 0, 0]
    assert [step["queued"] for step in series] == [0, 0.1, 0, 0, 0]
    assert [step["limit"] for step in series] == [20] * 5
    assert series[0]["at"] == told["since"]
    assert told["totals"]["calls"] == told["upstreams"]["openai"]["calls"] == 3
    assert told["upstreams"]["other"]["calls"] == 0
    assert told["totals"]["duration_ms"]["max"] == 300
    assert told["totals"]["duration_ms"]["mean"] == pytest.approx(500 / 3, abs=0.001)


def test_the_step_that_goes_on_divides_by_the_time_it_has_lasted(connection):
    window = read_window([("window", "5m"), ("step", "60")], now=T + 250)
    loads = {(T + 240, ""): Load(40_000, 4, 0, 0, 50)}
    now = Now(at=T + 250, limit=50, upstreams=(), unsaved=loads)
    told = statistics_json(select_statistics(connection, window, loads), window, now)

    assert told["series"][-1]["in_flight"] == 4


def test_one_upstream_has_its_own_figures(connection):
    count(connection, one(T, upstream="a"), one(T, upstream="b"), one(T, upstream="b"))
    loads = {(T, "a"): Load(1, 1, 0, 0, 5), (T, "b"): Load(2, 2, 0, 0, 6), (T, ""): Load(3, 3)}
    window = read_window([("upstream", "b")], now=T)
    now = Now(at=T, limit=None, upstreams=("a", "b"), unsaved=loads)
    told = statistics_json(select_statistics(connection, window, loads), window, now)

    assert told["totals"]["calls"] == told["series"][-1]["calls"] == 2
    assert list(told["upstreams"]) == ["b"]
    assert (told["series"][-1]["in_flight_max"], told["series"][-1]["limit"]) == (2, 6)


def test_nobody_knows_what_of_one_key_was_in_flight(connection):
    count(connection, one(T, key="key_1"))
    window = read_window([("key", "key_1")], now=T)
    now = Now(at=T, limit=50, upstreams=(), unsaved={(T, ""): Load(1, 1, 1, 1, 1)})
    step = statistics_json(select_statistics(connection, window, now.unsaved), window, now)[
        "series"
    ][-1]

    assert (step["calls"], step["in_flight"], step["queued_max"], step["limit"]) == (
        1,
        None,
        None,
        50,
    )


YEAR = "INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
YEAR_ENDS = T + 5 * 3600 + 1234


@pytest.fixture(scope="module")
def year():
    """Yield a journal with every bucket that a busy year leaves of one upstream and of a key."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, load_migrations())
        bucket = encode(Bucket())
        connection.execute("BEGIN")
        for level, keep_s in LEVELS.items():
            first = (YEAR_ENDS - (keep_s or 365 * DAY_S)) // level * level
            rows = [
                (level, key, start, "openai", *bucket)
                for start in range(first, YEAR_ENDS, level)
                for key in ("", "key_1")
            ]
            connection.executemany(YEAR, rows)
            connection.execute(
                "UPDATE rollup_levels SET until = ? WHERE level = ?", (YEAR_ENDS, level)
            )
        connection.execute("COMMIT")
        yield connection


@pytest.mark.parametrize(
    ("window", "most"),
    [("5m", 63), ("1h", 123), ("6h", 150), ("24h", 200), ("7d", 370), ("30d", 250)],
)
def test_a_window_over_a_busy_year_reads_some_hundred_rows(year, window, most):
    for only in ([], [("key", "key_1")]):
        asked = read_window([("window", window), *only], now=YEAR_ENDS)
        found = select_statistics(year, asked, {})
        assert asked.steps <= found.rows <= most
