"""`GET /-/events` over real sockets, and the viewers' rules by themselves."""

import asyncio
import socket
import sqlite3
from contextlib import AsyncExitStack, closing
from typing import Any

from gateway.relay.watching import Watch
from gateway.web.viewers import KEPT, Event, Ring
from tests.steps import Gate, held, stream
from tests.web.sse import watch

#: A list has what was read of a call's texts after it ended; an event is told before that.
WRITTEN_BEHIND = {"preview": None}
ASK = b"GET /-/events?topics=call HTTP/1.1\r\nHost: localhost\r\n\r\n"


def same(call: dict[str, Any]) -> dict[str, Any]:
    assert "preview" in call
    return {**call, **WRITTEN_BEHIND}


async def test_hello_says_who_speaks_and_the_numbers_come_every_second(gateway):
    async with gateway() as gw, watch(gw) as viewer:
        first = await viewer.named("stats")
        second = await viewer.named("stats")

    assert viewer.exchange.header("content-type") == "text/event-stream; charset=utf-8"
    assert viewer.exchange.header("cache-control") == "no-store"
    assert viewer.exchange.header("x-accel-buffering") == "no"
    hello = viewer.told[0]
    assert (hello.name, hello.id) == ("hello", None)
    assert set(hello.data) == {"at", "version", "build"}
    assert (
        set(first.data)
        == set(second.data)
        == {
            *("at", "in_flight", "queued", "queued_detached", "open_calls", "finished_per_s"),
            *("failed_per_s", "oldest_queued_s", "loop_lag_ms", "journal_pending", "upstreams"),
        }
    )
    assert first.data["upstreams"] == [
        {
            "name": "openai",
            "in_flight": 0,
            "max_in_flight": 100,
            "queued": 0,
            "queued_detached": 0,
            "paused": False,
        }
    ]


async def test_a_call_is_told_from_its_place_in_the_queue_to_its_end(gateway, upstream):
    gate = Gate()
    upstream.script = [held(gate), 503, 200]
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw, watch(gw) as viewer:
        first = await gw.send_chat()
        await upstream.wait_hits(1)
        second = await gw.send_chat()
        queued = await viewer.call(status="queued")
        gate.open()
        await first.read()
        call_id = (await second.read()).call_id
        final = await viewer.call(id=call_id, status="succeeded")

    assert (queued["id"], queued["wait_reason"], queued["queue_position"]) == (call_id, "slot", 1)
    told = viewer.statuses(call_id)
    assert told[0] == "queued:slot"
    assert told[-1] == "succeeded"
    assert "queued:backoff" in told
    assert told.index("running") < told.index("queued:backoff")
    assert final["first_byte_at"] is not None


async def test_what_is_told_of_a_call_is_what_a_list_shows(gateway, upstream):
    """Field for field: of one that waits, one that runs and streams, and those that ended."""
    gate = Gate()
    upstream.script = [stream([b"data: 1\n\n", b"data: [DONE]\n\n"], gate), 404]
    headers = [
        ("x-gateway-tags", "team=a, run=\u00fc".encode().decode("latin-1")),
        ("Idempotency-Key", "k1"),
        ("x-gateway-fairness-key", "t1"),
        ("x-gateway-timeout-s", "60"),
        ("x-gateway-priority", "3"),
    ]
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw, watch(gw) as viewer:
        path = "/v1/chat/completions?key=secret&x=1"
        running = await gw.send_chat(stream=True, headers=headers, path=path)
        gate.release()
        await running.read_head()
        waiting = await gw.send_chat(headers=[("Prefer", "respond-async")])
        waits = await viewer.call(status="queued")
        runs = [
            each.data for each in viewer.told if each.name == "call" and each.data["first_byte_at"]
        ][-1]
        listed = {call["id"]: call for call in await gw.calls()}
        for told in (waits, runs):
            shown = listed[told["id"]]
            shown["eta_s"] = told["eta_s"] = None  # another at every look
            assert same(told) == same(shown)

        gate.open()
        await running.read()
        await waiting.read()
        for call_id, status in ((runs["id"], "succeeded"), (waits["id"], "failed")):
            told = await viewer.call(id=call_id, status=status)
            shown = next(call for call in await gw.calls() if call["id"] == call_id)
            assert same(told) == same(shown)


async def test_an_end_is_not_told_before_it_is_durable(gateway, upstream):
    """Somebody else holds the file: the answer goes out at last without its record, nothing is told."""
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw, watch(gw) as viewer:
        sent = await gw.send_chat()
        await viewer.call(status="running")
        with closing(sqlite3.connect(gw.db, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            gate.open()
            answer = await sent.read()
            await viewer.named("stats")
            await viewer.named("stats")
            while_held = viewer.statuses(answer.call_id)
            holder.execute("ROLLBACK")
        final = await viewer.call(status="succeeded")
        recorded = await gw.call(answer.call_id)

    assert answer.status == 200
    assert set(while_held) == {"running"}
    assert final["id"] == answer.call_id
    assert recorded["status"] == "succeeded"


async def test_a_viewer_that_comes_back_misses_nothing(gateway):
    """Also the only one: changes are noted for a while after the last has left."""
    async with gateway() as gw:
        async with watch(gw) as viewer:
            first = await gw.chat()
            await viewer.call(id=first.call_id, status="succeeded")
            last_id = viewer.last_id
        second = await gw.chat()
        headers = [("Last-Event-ID", str(last_id))]
        async with watch(gw, headers=headers) as viewer:
            await viewer.call(id=second.call_id, status="succeeded")
            again = viewer.told
        async with watch(gw, last_event_id=last_id, topics="call") as viewer:
            await viewer.call(id=second.call_id, status="succeeded")

    assert "resync" not in [event.name for event in again]
    assert {event.data["id"] for event in again if event.name == "call"} == {second.call_id}
    ids = [event.id for event in again if event.id is not None]
    assert ids == sorted(set(ids))
    assert ids[0] > last_id


async def test_an_unknown_last_event_is_answered_with_resync(gateway):
    async with gateway() as gw:
        for last_id in ("1", "nonsense", "99999999999999999"):
            async with watch(gw, headers=[("Last-Event-ID", last_id)]) as viewer:
                resync = await viewer.named("resync")
            assert resync.data == {}
            assert resync.id is not None


async def test_an_upstream_is_told_when_it_is_tuned(gateway):
    async with gateway() as gw, watch(gw, topics="upstream") as viewer:
        await gw.api("PATCH", "/-/upstreams/openai", json={"max_in_flight": 7})
        tuned = (await viewer.named("upstream")).data
        shown = await gw.api("GET", "/-/upstreams/openai")
        await gw.api("PATCH", "/-/upstreams/openai", json={"paused": True})
        paused = (await viewer.named("upstream")).data

    assert tuned == shown
    assert (tuned["max_in_flight"], paused["paused"]) == (7, True)
    assert {event.name for event in viewer.told} == {"hello", "upstream"}


async def test_a_cancelled_and_a_deleted_call_are_told(gateway, upstream):
    upstream.answer = held(Gate())
    async with gateway() as gw, watch(gw, topics="call") as viewer:
        sent = await gw.send_chat()
        call_id = (await viewer.call(status="running"))["id"]
        await gw.api("POST", f"/-/calls/{call_id}/cancel")
        await viewer.call(id=call_id, status="cancelled")
        await gw.request("DELETE", f"/-/calls/{call_id}")
        gone = await viewer.call(deleted=True)
        await sent.read()

    assert gone == {"object": "call", "id": call_id, "deleted": True}


async def test_a_client_that_leaves_and_one_that_joins_are_told(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    headers = [("Idempotency-Key", "k1")]
    async with gateway() as gw, watch(gw, topics="call") as viewer:
        sent = await gw.send_chat(headers=headers)
        await viewer.call(status="running")
        sent.hang_up()
        left = await viewer.call(client_gone=True)
        joined = await gw.send_chat(headers=headers)
        await viewer.call(id=left["id"], client_gone=False)
        gate.open()
        await joined.read()


async def test_what_is_asked_for_wrongly_is_refused(gateway):
    async with gateway() as gw:
        wrong = await gw.request("GET", "/-/events?topics=calls")
        unknown = await gw.request("GET", "/-/events?filter=x")

    assert (wrong.status, unknown.status) == (400, 400)
    assert "known: call, stats, upstream" in wrong.json()["detail"]


async def test_without_viewers_nothing_is_made(gateway):
    """The one look at `active` is all: what would be noted is never asked for."""
    async with gateway() as gw:
        watching: Watch = gw.service.watch
        made = []
        shown = watching._shown
        watching._shown = lambda live: made.append(live) or shown(live)
        before = await gw.chat()
        nothing = list(made)
        async with watch(gw, topics="call") as viewer:
            during = await gw.chat()
            await viewer.call(id=during.call_id, status="succeeded")
        something = len(made)

    assert before.status == 200
    assert nothing == []
    assert something > 0


async def test_the_51st_viewer_is_told_to_come_back_later(gateway):
    async with gateway() as gw, AsyncExitStack() as stack:
        for _ in range(50):
            viewer = await stack.enter_async_context(watch(gw, topics="call"))
        refused = await gw.request("GET", "/-/events")
        viewer.exchange.hang_up()
        async with asyncio.timeout(10):
            while (again := await gw.send("GET", "/-/events")) and (await again.read_head()):
                if again.status == 200:
                    break

    assert (refused.status, refused.code) == (503, "too_many_viewers")
    assert int(refused.header("retry-after")) >= 1


async def test_a_viewer_that_does_not_read_is_told_so_and_holds_up_nobody(gateway):
    """Its socket takes little; what does not fit is dropped, and a healthy one beside it sees all."""
    async with gateway() as gw, watch(gw, topics="call") as healthy:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(reader, ("127.0.0.1", gw.port))
        await loop.sock_sendall(reader, ASK)
        tags = ", ".join(f"t{n}={'x' * 200}" for n in range(8))
        calls, seen = 0, b""
        stalled = None
        async with asyncio.timeout(20):
            while stalled is None or not stalled._lost:
                answers = await asyncio.gather(
                    *(gw.chat(headers=[("x-gateway-tags", tags)]) for _ in range(20))
                )
                calls += len(answers)
                await healthy.call(id=answers[-1].call_id, status="succeeded")
                stalled = next(
                    (each for each in gw.service.events._viewers if each.writing), stalled
                )
        told = [event for event in healthy.told if event.name == "call"]
        async with asyncio.timeout(20):
            while b"event: resync" not in seen:
                seen += await loop.sock_recv(reader, 65_536)
        after = await gw.chat()
        async with asyncio.timeout(20):
            while after.call_id.encode() not in seen:
                seen += await loop.sock_recv(reader, 65_536)
        reader.close()

    assert {event.name for event in healthy.told} == {"hello", "call"}
    assert len({event.data["id"] for event in told}) == calls
    assert seen.count(b"event: call") < len(told)


async def test_one_clients_viewer_sees_its_own_calls_alone(gateway):
    tables = {"auth": {"required": True}, "upstreams": {"openai": {"api_key": "sk-upstream-1"}}}
    async with gateway(**tables) as gw:
        admin = [("x-gateway-key", gw.service.token)]
        keys = [
            (await gw.api("POST", "/-/keys", expect=201, json={"name": name}, headers=admin))["key"]
            for name in ("one", "two")
        ]
        mine, other = ([("x-gateway-key", key)] for key in keys)
        async with watch(gw, headers=mine) as viewer, watch(gw, headers=admin) as all_seeing:
            foreign = await gw.chat(headers=other)
            own = await gw.chat(headers=mine)
            await viewer.call(id=own.call_id, status="succeeded")
            await all_seeing.call(id=foreign.call_id, status="succeeded")
            await gw.api("PATCH", "/-/upstreams/openai", json={"max_in_flight": 9}, headers=admin)
            await all_seeing.named("upstream")
            last = await gw.chat(headers=mine)
            await viewer.call(id=last.call_id, status="succeeded")

    assert {event.name for event in viewer.told} == {"hello", "call"}
    assert {e.data["id"] for e in viewer.told if e.name == "call"} == {own.call_id, last.call_id}


async def test_a_stop_says_bye_after_the_last_change_and_is_not_delayed(gateway_process, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway_process() as gw, watch(gw) as viewer:
        sent = await gw.send_chat()
        call_id = (await viewer.call(status="running"))["id"]
        stalled = socket.create_connection(("127.0.0.1", gw.port))
        stalled.sendall(ASK)
        gw.terminate()
        gate.open()
        await sent.read()
        await viewer.end()
        async with asyncio.timeout(5):
            code = await gw.wait()
        stalled.close()

    assert code == 0
    assert viewer.told[-1].name == "bye"
    assert viewer.statuses(call_id)[-1] == "succeeded"


def test_a_ring_resumes_from_what_it_still_has():
    ring = Ring(100)
    events = [Event(ring.next_id(), "call", None, b"") for _ in range(KEPT + 10)]
    ring.extend(events)

    assert [event.id for event in ring.after(str(events[-3].id))] == [e.id for e in events[-2:]]
    assert len(list(ring.after(str(events[9].id)))) == KEPT
    assert ring.after(str(events[8].id)) is None
    assert list(ring.after(str(ring.last_id))) == []
    ring.interrupt()
    assert ring.after(str(events[-1].id)) is None
    assert list(ring.after(str(ring.last_id))) == []
