"""A key's `max_in_flight`, over all upstreams: never passed, never wasted, nobody else's turn lost.

And its `max_queued`: what waits, whoever waits for it.
"""

import random

import pytest

from gateway.config import Limits, Upstream
from gateway.errors import KeyLimit
from gateway.relay.admission import Admission, Place


def make_admission(**slots: int) -> Admission:
    admission = Admission(now=lambda: 0.0)
    upstreams = {
        name: Upstream(name=name, base_url="http://127.0.0.1:9/v1", max_in_flight=n)
        for name, n in slots.items()
    }
    admission.configure(Limits(), upstreams)
    return admission


def enter(admission: Admission, upstream: str = "a", key: str | None = "k", **said) -> Place:
    options = {"priority": 5, "since": 0.0, "detached": True, **said}
    return admission.enter(upstream, flow=(key or "", ""), key_id=key, **options)


def granted(places: list[Place]) -> int:
    return sum(place.granted for place in places)


async def test_detached_calls_beyond_the_limit_wait_and_follow_one_by_one():
    admission = make_admission(a=10)
    admission.limit_key("k", 2)

    places = [enter(admission) for _ in range(5)]

    assert [place.granted for place in places] == [True, True, False, False, False]
    assert [admission.position(place) for place in places[2:]] == [1, 2, 3]
    assert admission.statistics().queued_detached == 3
    assert admission.statistics().upstreams["a"].queued == 3
    places[0].release()
    assert [place.granted for place in places[2:]] == [True, False, False]


async def test_clients_beyond_the_limit_are_turned_away():
    admission = make_admission(a=10)
    admission.limit_key("k", 2)
    held = [enter(admission, detached=False) for _ in range(2)]

    with pytest.raises(KeyLimit) as refusal:
        enter(admission, detached=False)
    enter(admission, key="other", detached=False)
    held[0].detach()
    enter(admission, detached=False)

    assert 1 <= refusal.value.retry_after_s <= 60


async def test_the_limit_counts_all_upstreams_together():
    admission = make_admission(a=10, b=10)
    admission.limit_key("k", 2)

    places = [enter(admission, upstream) for upstream in "abab"]

    assert [place.granted for place in places] == [True, True, False, False]
    places[1].release()
    assert granted(places) == 2


async def test_one_that_waits_at_a_paused_upstream_keeps_no_slot_from_another():
    admission = make_admission(a=10, b=10)
    admission.limit_key("k", 1)
    admission.pause("a", True)

    waiting = [enter(admission, "a") for _ in range(3)]
    going = enter(admission, "b")

    assert (granted(waiting), going.granted) == (0, True)
    admission.pause("a", False)
    assert granted(waiting) == 0
    going.release()
    assert granted(waiting) == 1


async def test_a_key_at_its_limit_costs_others_no_turn():
    admission = make_admission(a=3)
    admission.limit_key("k", 1)
    flood = [enter(admission) for _ in range(50)]

    others = [enter(admission, key="other") for _ in range(2)]

    assert granted(flood) == 1
    assert granted(others) == 2


async def test_a_raised_limit_takes_effect_at_once_and_a_lowered_one_for_what_follows():
    admission = make_admission(a=10)
    admission.limit_key("k", 1)
    places = [enter(admission) for _ in range(6)]

    admission.limit_key("k", 4)
    assert granted(places) == 4
    admission.limit_key("k", 2)
    places[0].release()
    places[1].release()
    assert granted(places[2:]) == 2
    places[2].release()
    assert granted(places[3:]) == 2
    admission.limit_key("k", None)
    assert granted(places[3:]) == 3


async def test_no_more_of_a_keys_calls_wait_than_may_whoever_waits_for_them():
    admission = make_admission(a=1, b=1)
    admission.limit_key("k", None, 2)
    running = enter(admission)

    waiting = [enter(admission, detached=False), enter(admission)]
    with pytest.raises(KeyLimit) as of_a_client:
        enter(admission, detached=False)
    with pytest.raises(KeyLimit) as detached:
        enter(admission)
    elsewhere = enter(admission, "b")
    others = [enter(admission, key="other") for _ in range(5)]

    for refusal in (of_a_client, detached):
        assert 1 <= refusal.value.retry_after_s <= 60
    assert elsewhere.granted  # it has no need to wait
    assert all(place.waits for place in others)
    waiting[0].detach()  # it waits on
    with pytest.raises(KeyLimit):
        enter(admission)
    waiting[1].release()
    assert enter(admission).waits
    running.release()
    assert waiting[0].granted
    assert enter(admission).waits


async def test_retries_and_what_a_restart_takes_up_wait_beyond_it():
    admission = make_admission(a=1)
    admission.limit_key("k", None, 1)
    enter(admission)

    taken_up = [enter(admission, recovered=True) for _ in range(3)]
    assert enter(admission).waits  # those do not count
    assert enter(admission, retry=True).waits
    assert all(place.waits for place in taken_up)
    with pytest.raises(KeyLimit):
        enter(admission)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_and_goes_the_limit_holds_and_no_slot_stays_free(seed):
    rng = random.Random(seed)
    admission = make_admission(a=3, b=2)
    limits = {"k": 2, "l": 1, None: 99}
    for key in ("k", "l"):
        admission.limit_key(key, limits[key])
    places: list[tuple[str | None, str, Place]] = []

    def held(key: str | None, upstream: str | None = None) -> int:
        return sum(place.granted for k, up, place in places if k == key and upstream in (None, up))

    for _ in range(400):
        key, upstream = rng.choice([*limits]), rng.choice("ab")
        match rng.randrange(5):
            case 0 | 1:
                retry = rng.random() < 0.2
                places.append((key, upstream, enter(admission, upstream, key, retry=retry)))
            case 2 | 3 if places:
                places.pop(rng.randrange(len(places)))[2].release()
            case 4 if key is not None:
                limits[key] = rng.randint(1, 4)
                admission.limit_key(key, limits[key], 10_000)
        for _, name, place in places:
            who = next(k for k, _, p in places if p is place)
            if place.waits and not place.retry:
                full = sum(held(k, name) for k in limits) >= {"a": 3, "b": 2}[name]
                assert full or held(who) >= limits[who]
    for _, _, place in places:
        place.release()

    now = admission.statistics()
    assert (now.in_flight, now.queued, now.queued_detached, now.queued_bytes) == (0, 0, 0, 0)
    assert all(slots.queued == 0 for slots in now.upstreams.values())
    admission.pause("a", True)
    admission.limit_key("k", None, 1)
    assert enter(admission).waits  # nothing is left in the count of what waits


async def test_the_limit_is_never_passed():
    rng = random.Random(1)
    admission = make_admission(a=5, b=5)
    admission.limit_key("k", 3)
    places: list[Place] = []
    for _ in range(500):
        if rng.random() < 0.6 or not places:
            places.append(enter(admission, rng.choice("ab")))
        else:
            places.pop(rng.randrange(len(places))).release()

        assert granted(places) <= 3
