"""The life of a call on a fake clock: who runs when, what a call ends as, and that nothing leaks."""

import asyncio
import collections
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call import OnDisconnect, Outcome, Status, WaitReason
from gateway.config import Retry
from gateway.relay.upstream import Upstream, open_session
from gateway.telemetry import logs
from tests.relay.relay_world import NOW, Client, Step, World, open_world
from tests.steps import stall

pytestmark = pytest.mark.looptime(start=0)


@pytest.fixture(autouse=True)
def _plain_log() -> None:
    logs.configure(pretty=False, stream=sys.stderr)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


async def ask_all(world: World, calls: list[Any]) -> list[tuple[str, float]]:
    """Ask for all *calls* at once; what each was told, and when."""
    clients = [Client() for _ in calls]
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(world.ask(call, client))
            for call, client in zip(calls, clients, strict=True)
        ]
    told = zip(asked, clients, strict=True)
    return [(task.result(), round(client.at_s or 0, 6)) for task, client in told]


# -- who runs when


async def test_two_hundred_calls_of_ten_seconds_take_four_turns_at_fifty_slots():
    async with open_world(max_in_flight=50) as world:
        told = await ask_all(world, [world.call() for _ in range(200)])

    assert collections.Counter(told) == {("200", at): 50 for at in (10, 20, 30, 40)}
    assert world.upstream.peak == 50
    world.check_at_rest()


async def test_over_real_sockets_they_take_the_same_four_turns(upstream):
    upstream.answer = stall(10)
    async with open_session() as session, open_world(max_in_flight=50) as world:
        table = world.upstream.settings
        world.relay.upstreams = {"openai": Upstream(table, upstream.url, session)}
        told = await ask_all(world, [world.call() for _ in range(200)])

    turns = collections.Counter((said, round(at, 1)) for said, at in told)
    assert turns == {("200", at): 50 for at in (10, 20, 30, 40)}
    assert (upstream.peak, upstream.hits) == (50, 200)


async def test_the_limit_of_all_upstreams_binds_too():
    async with open_world(max_in_flight=50, limits={"max_in_flight": 20}) as world:
        told = await ask_all(world, [world.call() for _ in range(100)])

    assert world.upstream.peak == 20
    assert max(at for _, at in told) == 50


async def test_nothing_is_sent_before_the_call_is_durable():
    async with open_world(commit_s=3) as world:
        ((said, at),) = await ask_all(world, [world.call()])

    assert world.upstream.began == [3]
    assert (said, at) == ("200", 16)  # and its end waits for its record too


async def test_a_slot_is_free_while_its_call_backs_off():
    """One slot: another call runs in the pause between two attempts, not after them."""
    steps = {1: Step(503, after_s=1)}
    retry = Retry(max_attempts=2, backoff_s=100, backoff_max_s=100)
    async with open_world(
        lambda number: steps.get(number, Step()), max_in_flight=1, retry=retry
    ) as world:
        first = world.call()
        async with asyncio.TaskGroup() as tasks:
            failing = tasks.create_task(world.ask(first))
            await asyncio.sleep(1.001)
            in_pause = (first.status, first.wait_reason, world.upstream.in_flight)
            other = Client()
            said = await world.ask(world.call(), other)

    assert in_pause == (Status.QUEUED, WaitReason.BACKOFF, 0)
    assert (said, round(other.at_s or 0, 2)) == ("200", 11)
    assert failing.result() == "200"
    assert (first.attempts[0].backoff_s or 0) > 12  # it was the pause that lasted
    world.check_at_rest()


async def test_a_raised_limit_lets_waiters_go_at_once_and_a_lowered_one_holds_new_ones():
    async with open_world(max_in_flight=1) as world, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(ask_all(world, [world.call() for _ in range(12)]))
        await asyncio.sleep(1)
        world.set_limit(4)
        await asyncio.sleep(1)
        world.set_limit(2)

    turns = collections.Counter(at for _, at in asked.result())
    assert turns == {10: 1, 11: 3, 21: 2, 31: 2, 41: 2, 51: 2}
    assert world.upstream.peak == 4


# -- time that runs out


async def test_a_call_that_gets_no_slot_in_time_expires_unsent():
    async with open_world(max_in_flight=1, limits={"queue_timeout_s": 4}) as world:
        calls = [world.call(), world.call(), world.call(queue_timeout_s=7)]
        told = await ask_all(world, calls)

    assert told == [("200", 10), ("queue_timeout", 4), ("queue_timeout", 7)]
    assert [world.status(call) for call in calls[1:]] == [Status.EXPIRED] * 2
    assert len(world.upstream.began) == 1
    world.check_at_rest()


async def test_a_call_whose_body_cannot_be_read_back_ends_and_says_so():
    """Dropped silently, it would have stood there as running until the next start."""
    async with open_world(max_in_flight=1) as world:
        parked = world.call(detached=True)
        world.journal.is_unreadable = True
        told = await ask_all(world, [world.call(), parked])

    assert told == [("200", 10), ("journal_unavailable", 10)]
    assert world.status(parked) is Status.FAILED
    assert len(world.upstream.began) == 1
    world.check_at_rest()


async def test_who_polls_for_long_leaves_nothing_behind():
    async with open_world() as world:
        live = world.relay.accept(world.call(), Client())
        for _ in range(50):
            await world.relay.standing.wait_final(live.call.id, 0.1)

        assert live._waiting == []


async def test_a_detached_call_waits_as_long_as_it_takes():
    async with open_world(max_in_flight=1, limits={"queue_timeout_s": 4}) as world:
        told = await ask_all(world, [world.call(), world.call(detached=True)])

    assert told == [("200", 10), ("200", 20)]


@pytest.mark.parametrize(
    ("calls_before", "steps", "timeout_s", "expected"),
    [
        (1, [], 5, ("deadline_exceeded", 5)),  # in the queue
        (0, [], 5, ("deadline_exceeded", 5)),  # in flight
        (0, [Step(503, after_s=4)], 5, ("503", 4)),  # a pause would pass it: the answer at hand
        (0, [Step(503, after_s=1)], 200, ("200", None)),
    ],
    ids=["queued", "in flight", "before a pause", "far away"],
)
async def test_a_deadline_counts_everything(calls_before, steps, timeout_s, expected):
    retry = Retry(backoff_s=100, backoff_max_s=100)
    async with open_world(
        lambda number: steps[number - 1] if number <= len(steps) else Step(),
        max_in_flight=1,
        retry=retry,
        seed=4,
    ) as world:
        call = world.call(timeout_s=timeout_s)
        told = await ask_all(world, [*(world.call() for _ in range(calls_before)), call])

    said, at = told[-1]
    assert (said, at if expected[1] else None) == expected
    world.check_at_rest()


@pytest.mark.parametrize(
    ("jump_s", "timeout_s", "expected"), [(-3600.0, 5, "503"), (3600.0, 200, "200")]
)
async def test_a_wall_clock_that_jumps_lets_a_pause_neither_pass_nor_miss_a_deadline(
    jump_s, timeout_s, expected
):
    jumped = {"s": 0.0}

    def choose(number: int) -> Step:
        jumped["s"] = jump_s
        return Step(503 if number == 1 else 200, after_s=1)

    async with open_world(
        choose,
        now=lambda: NOW + now() + jumped["s"],
        retry=Retry(backoff_s=100, backoff_max_s=100),
        seed=4,
    ) as world:
        ((said, _),) = await ask_all(world, [world.call(timeout_s=timeout_s)])

    assert said == expected


def one_slot() -> AbstractAsyncContextManager[World]:
    return open_world(lambda _: Step(after_s=100), max_in_flight=1)


async def test_a_call_whose_client_left_keeps_its_place_for_a_minute():
    async with one_slot() as world, asyncio.TaskGroup() as tasks:
        tasks.create_task(world.ask(world.call()))
        await asyncio.sleep(0)
        call = world.call()
        left = tasks.create_task(world.ask(call))
        await asyncio.sleep(5)
        left.cancel()
        await asyncio.sleep(59.9)
        assert call.status is Status.QUEUED
        assert call.client_gone
        await asyncio.sleep(0.2)
        assert world.status(call) is Status.CANCELLED

    assert len(world.upstream.began) == 1
    world.check_at_rest()


async def test_a_retry_that_joins_within_the_minute_takes_the_place_over():
    async with one_slot() as world, asyncio.TaskGroup() as tasks:
        tasks.create_task(world.ask(world.call(fingerprint="other")))
        await asyncio.sleep(0)
        call = world.call()
        left = tasks.create_task(world.ask(call))
        await asyncio.sleep(5)
        left.cancel()
        await asyncio.sleep(30)
        joined = tasks.create_task(world.ask(world.call(retry_count=1)))

    assert (joined.result(), now()) == ("200", 200)
    assert len(world.upstream.began) == 2
    assert not call.client_gone
    world.check_at_rest()


@pytest.mark.parametrize(
    ("policy", "status"),
    [(OnDisconnect.FINISH, Status.SUCCEEDED), (OnDisconnect.CANCEL, Status.CANCELLED)],
)
async def test_what_a_leaving_client_does_is_policy(policy, status):
    async with open_world() as world, asyncio.TaskGroup() as tasks:
        call = world.call(on_disconnect=policy)
        asked = tasks.create_task(world.ask(call))
        await asyncio.sleep(5)
        asked.cancel()

    assert world.status(call) is status
    assert call.client_gone
    assert now() == (10 if policy is OnDisconnect.FINISH else 5)
    world.check_at_rest()


async def test_a_client_that_leaves_while_the_end_is_written_changes_nothing():
    """The upstream's end was read; a final call is final, and a retry still finds the answer."""
    async with open_world(commit_s=3) as world, asyncio.TaskGroup() as tasks:
        call = world.call(on_disconnect=OnDisconnect.CANCEL)
        asked = tasks.create_task(world.ask(call))
        await asyncio.sleep(14)
        asked.cancel()
        await asyncio.sleep(0.1)
        joined = tasks.create_task(world.ask(world.call(retry_count=1)))

    assert (joined.result(), now()) == ("200", 16)
    assert world.status(call) is Status.SUCCEEDED
    assert not call.client_gone
    world.check_at_rest()


async def test_a_stream_that_somebody_reads_is_not_tried_again():
    steps = {1: Step(chunks=3, cut=True)}
    async with open_world(lambda number: steps.get(number, Step())) as world:
        ((said, at),) = await ask_all(world, [world.call(stream=True)])

    assert (said, at) == ("cut", 13)
    world.check_at_rest()


async def test_a_broken_connection_is_tried_again_up_to_the_number_of_attempts():
    async with open_world(
        lambda _: Step(None, after_s=1), retry=Retry(max_attempts=3, backoff_s=0)
    ) as world:
        call = world.call()
        ((said, at),) = await ask_all(world, [call])

    assert (said, at) == ("upstream_broken", 3)
    assert [attempt.outcome for attempt in call.attempts] == [Outcome.BROKEN] * 3
    world.check_at_rest()


async def test_a_bug_in_one_call_ends_that_call_alone():
    def choose(number: int) -> Step:
        if number == 1:
            raise ZeroDivisionError
        return Step()

    async with open_world(choose, max_in_flight=1) as world:
        told = await ask_all(world, [world.call(), world.call()])

    assert told == [("internal", 0), ("200", 10)]
    world.check_at_rest()


# -- cancels


def steps_of_a_life(number: int) -> Step:
    """Two failures with a pause after each, then a stream of two chunks."""
    return {1: Step(503, after_s=1), 2: Step(None, after_s=1)}.get(
        number, Step(chunks=2, after_s=1)
    )


async def live_and_cancel(after: int | float, *, how: str, queued: bool) -> bool:
    """Cancel a call at one moment of its life; whether it was still open then.

    *after* is a number of turns of the event loop, or, a float, seconds.
    """
    retry = Retry(backoff_s=2, backoff_max_s=2)
    async with open_world(
        lambda number: steps_of_a_life(number - queued), max_in_flight=1, commit_s=0.25, retry=retry
    ) as world, asyncio.TaskGroup() as tasks:  # fmt: skip
        if queued:
            tasks.create_task(world.ask(world.call(fingerprint="other")))
            await asyncio.sleep(0)
        call = world.call(on_disconnect=OnDisconnect.CANCEL)
        asked = tasks.create_task(world.ask(call))
        if isinstance(after, float):
            await asyncio.sleep(after)
        else:
            for _ in range(after):
                await asyncio.sleep(0)
        live = world.relay.calls.get(call.id)
        was_open = live is not None and not live.finishing
        if how == "leave":
            asked.cancel()
        elif live is not None:
            if how == "cancel":
                world.relay.cancel(live)
            else:
                world.relay.give_back(live)
        await asyncio.wait([asked])
    if call.seq in world.journal.records and was_open and how == "cancel":
        assert world.status(call) is Status.CANCELLED
        assert asked.result() in {"cancelled", "200", "cut"}
    world.check_at_rest()
    return was_open


@pytest.mark.parametrize("queued", [False, True], ids=["slot free", "queued"])
@pytest.mark.parametrize("how", ["cancel", "leave", "give back"])
async def test_a_cancel_at_any_turn_of_the_loop_leaves_nothing_behind(how, queued):
    """Every await of acceptance, one after the other."""
    for turns in range(12):
        await live_and_cancel(turns, how=how, queued=queued)


@pytest.mark.parametrize("queued", [False, True], ids=["slot free", "queued"])
@pytest.mark.parametrize("how", ["cancel", "leave", "give back"])
async def test_a_cancel_at_any_moment_leaves_nothing_behind(how, queued):
    """Every wait of a life with two failed attempts: commits, queue, attempts, pauses, stream, end."""
    at_s = 0.0
    while await live_and_cancel(at_s, how=how, queued=queued):
        at_s += 0.125

    assert at_s > 4  # the whole life was covered


async def test_a_stop_before_the_first_step_of_a_call_is_no_leak():
    """Its task has not run at all yet: the slot it was given at acceptance comes back."""
    async with open_world(max_in_flight=1) as world:
        client = Client()
        live = world.relay.accept(world.call(), client)
        world.relay.cancel(live)
        await live.wait_over()

    assert world.status(live.call) is Status.CANCELLED
    assert world.upstream.began == []
    world.check_at_rest()


# -- all of it at once

ASKED: dict[str, dict[str, Any]] = {
    "finish": {"on_disconnect": OnDisconnect.FINISH},
    "cancel": {"on_disconnect": OnDisconnect.CANCEL, "timeout_s": 100},
    "detached": {"detached": True},
    "keyed": {"idempotency_key": "k"},
    "retry": {"retry_count": 1},
}
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.5, 3, 20]),
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from(sorted(ASKED))),
            st.tuples(st.just("leave"), st.integers(0, 30)),
            st.tuples(st.just("cancel"), st.integers(0, 30)),
            st.tuples(st.just("limit"), st.integers(0, 4)),
            st.tuples(st.just("pause"), st.booleans()),
        ),
    ),
    max_size=30,
)
STEPS = st.sampled_from(
    [Step(), Step(after_s=0), Step(chunks=3), Step(chunks=3, cut=True), Step(503, after_s=1),
     Step(None, after_s=2), Step(400), Step(after_s=500)]
)  # fmt: skip


async def play(world: World, events: Any, tasks: asyncio.TaskGroup) -> None:
    """Let everything in *events* happen, one after the other."""
    asked: list[asyncio.Task[str]] = []
    for pause_s, (what, detail) in events:
        await asyncio.sleep(pause_s)
        open_calls = list(world.relay.calls.values())
        if what == "ask":
            asked.append(tasks.create_task(world.ask(world.call(**ASKED[detail]))))
        elif what == "leave" and asked:
            asked[detail % len(asked)].cancel()
        elif what == "cancel" and open_calls:
            world.relay.cancel(open_calls[detail % len(open_calls)])
        elif what == "limit":
            world.set_limit(detail)
        elif what == "pause":
            world.admission.pause("openai", detail)
    await asyncio.sleep(30)
    world.admission.pause("openai", False)
    world.set_limit(4)


@settings(max_examples=100, deadline=None)
@given(
    events=EVENTS, steps=st.lists(STEPS, min_size=1, max_size=6), commit_s=st.sampled_from([0, 1])
)
async def test_whatever_happens_the_limit_holds_and_every_call_ends_once(events, steps, commit_s):
    """Random arrivals, leaving clients, joins, cancels, limits and pauses; then all comes to rest."""
    async with open_world(
        lambda number: steps[number % len(steps)],
        max_in_flight=2,
        limits={"max_queued": 8, "queue_timeout_s": 60},
        commit_s=commit_s,
    ) as world, asyncio.TaskGroup() as tasks:  # fmt: skip
        await play(world, events, tasks)

    world.check_at_rest()
