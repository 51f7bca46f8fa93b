"""What waits keeps its place: thousands of queued calls go on in their order after a crash."""

import asyncio

import pytest

from tests.steps import Gate, held

DETACHED = [("Prefer", "respond-async")]
AT_ONCE = 50  # requests of the client


async def submit(gw, count):
    """Send *count* detached calls, each numbered in the order of its place in the queue."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(n):
        async with places:
            answer = await gw.chat(json={"n": n}, headers=DETACHED)
            assert answer.status == 202

    async with asyncio.TaskGroup() as tasks:
        for n in range(count):
            tasks.create_task(one(n))


async def queued(gw):
    """Return the ids of all queued calls, in the order of acceptance."""
    ids, after = [], {}
    while True:
        query = "&".join(f"{name}={value}" for name, value in after.items())
        page = await gw.api("GET", f"/-/calls?status=queued&order=asc&limit=1000&{query}")
        ids += [call["id"] for call in page["data"]]
        if not page["has_more"]:
            return ids
        after = {"after": page["last_id"]}


@pytest.mark.parametrize(
    "count",
    [100, pytest.param(5_000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])],
)
async def test_queued_calls_survive_a_crash_and_finish_in_order(gateway_process, upstream, count):
    one_slot = {"openai": {"max_in_flight": 1}}
    upstream.answer = held(Gate())
    async with gateway_process(upstreams=one_slot) as gw:
        await submit(gw, 1)
        await upstream.wait_hits(1)  # its call holds the only slot
        await submit(gw, count)
        waiting = await queued(gw)
        gw.kill()
    upstream.answer = 200
    async with gateway_process(upstreams=one_slot) as gw:
        await upstream.wait_hits(count + 2)
        last = await gw.final(waiting[-1])
        finished = await gw.calls(status="succeeded", order="asc", limit=1000)
        recovered = (await gw.api("GET", "/-/stats?window=5m")).get("recovered")
        sent = [await gw.request("GET", f"/-/calls/{call_id}/request") for call_id in waiting[:500]]

    assert len(waiting) == count
    assert last["status"] == "succeeded"
    assert recovered in (None, {"queued": count, "retried": 1, "failed": 0})
    arrived = [request.body for request in upstream.requests[2:]]
    assert [answer.body for answer in sent] == arrived[:500]
    starts = [call["started_at"] for call in finished]
    assert starts == sorted(starts)
