"""What was in flight and queued is told to the journal once, and nothing of idle times."""

import asyncio

import pytest

from gateway.errors import JournalUnavailable
from gateway.journal.statistics.rollups import Load
from gateway.relay.admission import AdmissionStatistics
from gateway.relay.sampling import Sampling
from gateway.relay.slots import SlotsStatistics

T = 1_800_000_000


class Kept:
    """A journal that keeps what it is told, or says that it cannot."""

    def __init__(self):
        self.uncounted = 0
        self.calls = 0
        self.loads = {}
        self.outage = False

    def keep_statistics(self, loads, *, sampled_until):
        self.calls += 1
        self.uncounted = 0
        future = asyncio.get_running_loop().create_future()
        if self.outage:
            future.set_exception(JournalUnavailable("no"))
        else:
            assert all(start < sampled_until for start, _ in loads)
            assert not loads.keys() & self.loads.keys()
            self.loads |= loads
            future.set_result(None)
        return future


class World:
    """A gateway of one upstream with 20 slots, 50 over all that no one else can use, and a clock."""

    def __init__(self):
        self.at = float(T)
        self.in_flight = self.queued = 0
        self.journal = Kept()
        self.sampling = Sampling(self.journal, self.statistics, lambda: self.at)

    def statistics(self):
        upstream = SlotsStatistics(
            in_flight=self.in_flight, retries_in_flight=0, max_in_flight=20, queued=self.queued,
            queued_detached=0, open_calls=0, paused=False, limit=20, breaker=None,
            recent_attempts=0, recent_failed=0,
        )  # fmt: skip
        return AdmissionStatistics(
            upstreams={"openai": upstream}, in_flight=self.in_flight, max_in_flight=50,
            queued=self.queued, queued_detached=0, queued_bytes=0, open_calls=0,
        )  # fmt: skip

    async def live(self, seconds, **load):
        """Let it go on for so many *seconds*, each with this load."""
        self.in_flight, self.queued = load.get("in_flight", 0), load.get("queued", 0)
        for _ in range(seconds):
            self.at += 1
            self.sampling.tick()
            await asyncio.sleep(0)


@pytest.fixture
async def world():
    """Yield it at the beginning of ten seconds."""
    return World()


async def test_a_load_is_an_integral_over_each_ten_seconds(world):
    await world.live(5, in_flight=4)
    await world.live(7, in_flight=2, queued=3)
    await world.live(10)

    assert world.journal.loads == {
        (T, ""): Load(30_000, 4, 15_000, 3, 20),
        (T, "openai"): Load(30_000, 4, 15_000, 3, 20),
        (T + 10, ""): Load(4_000, 2, 6_000, 3, 20),
        (T + 10, "openai"): Load(4_000, 2, 6_000, 3, 20),
    }
    assert world.sampling.unsaved() == {}


async def test_a_second_that_lies_in_two_buckets_is_shared_out(world):
    world.at += 9.4
    world.sampling.tick()
    await world.live(1, in_flight=1)

    known = world.journal.loads | world.sampling.unsaved()
    assert known[T, "openai"].in_flight_ms == 600
    assert known[T + 10, "openai"].in_flight_ms == 400


async def test_what_is_not_saved_yet_can_be_read(world):
    await world.live(3, in_flight=2)
    world.at += 0.5

    assert world.sampling.unsaved()[T, ""] == Load(7_000, 2, 0, 0, 20)


async def test_an_idle_gateway_has_nothing_to_tell(world):
    await world.live(100)

    assert world.journal.loads == {}
    assert world.journal.calls == 11  # it looks after older statistics all the same


async def test_an_outage_loses_no_load(world):
    world.journal.outage = True
    await world.live(25, in_flight=1)
    world.journal.outage = False
    await world.live(10)

    assert [load.in_flight_ms for (_, name), load in world.journal.loads.items() if name] == [
        10_000, 10_000, 5_000,
    ]  # fmt: skip


async def test_many_calls_that_end_are_counted_soon(world):
    await world.live(12)
    before = world.journal.calls
    world.journal.uncounted = 1_000
    await world.live(1)

    assert world.journal.calls == before + 1


async def test_a_machine_that_slept_had_nothing_in_flight(world):
    world.in_flight = 5
    world.at += 3600
    world.sampling.tick()
    assert world.sampling.unsaved() == {}

    world.at -= 7200  # and a clock that was set back begins anew
    world.sampling.tick()
    await world.live(1, in_flight=5)
    assert [load.in_flight_ms for load in world.sampling.unsaved().values()] == [5_000, 5_000]
