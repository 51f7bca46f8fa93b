"""What is noted between two looks, and what is not."""

import asyncio
from typing import Any

import pytest

from gateway.call import Status
from gateway.relay import watching
from gateway.relay.admission import Admission
from gateway.relay.live_call import LiveCall
from gateway.relay.watching import EACH, MOST, CallDeleted, UpstreamChanged, Watch
from tests.running_journal import NOW, begin_attempt, end_attempt, end_call, make_call


class Nowhere:
    """A place that neither waits nor holds a slot."""

    waits = False


@pytest.fixture
async def watch() -> Watch:
    watch = Watch(Admission(now=asyncio.get_running_loop().time))
    watch.begin()
    return watch


def running(seq: int, **changes: Any) -> LiveCall:
    call = make_call(seq, **changes)
    begin_attempt(call)
    return LiveCall(call, place=Nowhere(), now=NOW)  # type: ignore[arg-type]


def end(live: LiveCall, status: Status = Status.SUCCEEDED) -> None:
    end_attempt(live.call)
    end_call(live.call, status)


def told(watch: Watch) -> list[tuple[str, str]]:
    changes = watch.take()
    assert changes is not None
    return [(change.call["id"], change.call["status"]) for change in changes]


async def test_a_change_is_told_as_it_was_when_it_happened(watch):
    live = running(1)
    watch.call(live)
    end(live)
    watch.call(live, recorded=True)

    assert told(watch) == [(live.call.id, "running"), (live.call.id, "succeeded")]
    assert told(watch) == []


async def test_an_end_that_is_not_durable_is_nothing(watch):
    live = running(1)
    end(live)
    watch.call(live)

    assert told(watch) == []


async def test_of_many_changes_only_the_last_of_each_call_is_told(watch):
    calls = [running(seq) for seq in range(1, 61)]
    for live in calls:
        watch.call(live)
    for live in calls:
        live.call.first_byte_at = NOW
        watch.call(live)
    end(calls[0])
    watch.call(calls[0], recorded=True)
    end(calls[1])  # and that is not durable yet: it will be told, and not as running

    seen = told(watch)
    assert 2 * len(calls) > EACH
    assert sorted(seen) == sorted(
        [(calls[0].call.id, "succeeded"), *((live.call.id, "running") for live in calls[2:])]
    )


async def test_exactly_a_hundred_changes_are_told_one_by_one(watch):
    live = running(1)
    for _ in range(EACH):
        watch.call(live)

    assert len(told(watch)) == EACH


async def test_more_calls_than_anybody_reads_are_lost_and_that_is_said(watch):
    for seq in range(1, MOST + 2):
        watch.call(running(seq))

    assert watch.take() is None
    assert told(watch) == []


async def test_deletions_and_upstreams_come_in_their_order(watch):
    live = running(1)
    watch.call(live)
    watch.deleted("call_2", "key:a")
    watch.upstream("openai")
    changes = watch.take()

    assert changes[1:] == [CallDeleted("call_2", "key:a"), UpstreamChanged("openai")]


async def test_what_ended_is_counted_until_somebody_asks(watch):
    for seq, status in enumerate(
        (Status.SUCCEEDED, Status.FAILED, Status.EXPIRED, Status.CANCELLED), 1
    ):
        live = running(seq)
        end(live, status)
        watch.call(live, recorded=True)

    assert (watch.finished, watch.failed) == (4, 2)


async def test_noting_goes_on_for_a_while_after_the_last_viewer(watch, monkeypatch):
    live = running(1)
    watch.linger()
    watch.call(live)

    assert watch.begin()
    assert told(watch) == [(live.call.id, "running")]

    monkeypatch.setattr(watching, "LINGER_S", -1.0)
    watch.linger()
    watch.call(live)

    assert not watch.active
    assert not watch.begin()
    assert told(watch) == []
