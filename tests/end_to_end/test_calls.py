"""`/-/calls`: one call, many calls, and when there is nothing to see."""

import pytest

from tests.steps import Answer, Gate, held


async def test_a_reader_may_wait_for_the_end(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        early = await gw.api("GET", f"/-/calls/{call['id']}?wait=0.01")
        waiting = await gw.send("GET", f"/-/calls/{call['id']}?wait=30")
        waiting_too = await gw.send("GET", f"/-/calls/{call['id']}/response?wait=30")
        gate.open()
        final = (await waiting.read()).json()
        response = await waiting_too.read()
        await sent.read()

    assert (early["status"], final["status"]) == ("running", "succeeded")
    assert (response.status, response.body) == (200, b'{"ok":true}')


async def test_an_answer_that_is_not_there_yet_is_pending(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        pending = await gw.request("GET", f"/-/calls/{call['id']}/response")
        gate.open()
        await sent.read()

    assert (pending.status, pending.header("x-gateway-pending")) == (202, "true")
    assert int(pending.header("retry-after")) >= 1
    assert (pending.json()["id"], pending.json()["status"]) == (call["id"], "running")


async def test_a_call_that_did_not_change_is_not_sent_again(gateway):
    async with gateway() as gw:
        target = f"/-/calls/{(await gw.chat()).call_id}"
        first = await gw.request("GET", target)
        seen = [("If-None-Match", first.header("etag"))]
        again = await gw.request("GET", target, headers=seen)

    assert first.header("cache-control") == "no-store"
    assert (again.status, again.body) == (304, b"")
    assert again.header("etag") == first.header("etag")


@pytest.mark.parametrize("rest", ["", "/request", "/response", "?wait=5"])
@pytest.mark.parametrize("call_id", ["call_00000000000000000000000000", "call_1", "x%2Fy"])
async def test_an_unknown_call_is_not_found(gateway, call_id, rest):
    async with gateway() as gw:
        answer = await gw.request("GET", f"/-/calls/{call_id}{rest}")

    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_call_without_an_answer_tells_what_its_client_was_told(gateway, upstream):
    upstream.stop_listening()
    async with gateway() as gw:
        answer = await gw.chat()
        told = await gw.request("GET", f"/-/calls/{answer.call_id}/response")

    assert (told.status, told.code) == (502, "upstream_unreachable")
    assert told.header("content-type") == "application/problem+json"


async def test_cancelling_a_call_closes_its_upstream_connection(gateway, upstream):
    upstream.answer = held(Gate())
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        asked = await gw.request("POST", f"/-/calls/{call['id']}/cancel")
        await upstream.wait_closed(upstream.requests[0])
        answer = await sent.read()

    assert asked.json()["status"] == "cancelled"
    assert asked.json()["error"] == {"code": "cancelled", "message": "ended on request"}
    assert (answer.status, answer.code) == (410, "cancelled")


# -- many


async def test_a_list_has_pages_newest_first(gateway):
    async with gateway() as gw:
        ids = [(await gw.chat()).call_id for _ in range(5)]
        newest = await gw.api("GET", "/-/calls?limit=2")
        next_page = await gw.api("GET", f"/-/calls?limit=2&after={newest['last_id']}")
        back = await gw.api("GET", f"/-/calls?limit=2&before={next_page['first_id']}")
        last_page = await gw.api("GET", f"/-/calls?limit=2&after={next_page['last_id']}")
        oldest = await gw.api("GET", "/-/calls?limit=2&order=asc")
        beyond = await gw.api("GET", f"/-/calls?after={ids[0]}")

    assert newest["object"] == "list"
    assert (newest["first_id"], newest["last_id"]) == (ids[4], ids[3])
    assert [[call["id"] for call in page["data"]] for page in (newest, next_page, last_page)] == [
        [ids[4], ids[3]],
        [ids[2], ids[1]],
        [ids[0]],
    ]
    assert [page["has_more"] for page in (newest, next_page, last_page)] == [True, True, False]
    assert [call["id"] for call in back["data"]] == [call["id"] for call in newest["data"]]
    assert [call["id"] for call in oldest["data"]] == ids[:2]
    assert beyond == beyond | {"data": [], "first_id": None, "last_id": None, "has_more": False}


async def test_a_list_is_narrow_unless_asked(gateway):
    async with gateway() as gw:
        await gw.chat()
        (narrow,) = await gw.calls()
        (wide,) = await gw.calls(expand="all")

    assert "attempts" not in narrow
    assert not {"headers", "sha256"} & (narrow["request"].keys() | narrow["response"].keys())
    assert wide["request"].keys() >= {"headers", "sha256"}
    assert wide["attempts"][0]["status"] == 200


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=succeeded", "abc"),
        ("status=failed", "d"),
        ("status=failed,succeeded", "abcd"),
        ("status=queued", ""),
        ("upstream=other", "c"),
        ("upstream=o*", "abcd"),
        ("model=gpt-4*", "ab"),
        ("model=gpt-4o", "a"),
        ("tag=team:search", "ab"),
        ("tag=team:search&tag=run:2", "b"),
        ("tag=team:other", ""),
        ("idempotency_key=key-1", "a"),
        ("path=/v1/chat/*", "ab"),
        ("http_status=400", "d"),
        ("min_duration_ms=100000", ""),
        ("since=2000-01-01T00:00:00Z", "abcd"),
        ("until=2000-01-01T00:00:00Z", ""),
        ("status=succeeded&model=gpt-4o-mini", "b"),
    ],
)
async def test_a_list_can_be_filtered(gateway, upstream, query, found):
    upstream.choose = lambda request: 400 if request.target.endswith("/bad") else 200
    async with gateway(upstreams={"openai": {}, "other": {}}) as gw:
        one, two = ("x-gateway-tags", "team=search, run=1"), ("x-gateway-tags", "team=search,run=2")
        chat = "/v1/chat/completions"
        names = {
            await made(
                gw, chat, headers=[one, ("Idempotency-Key", "key-1")], json={"model": "gpt-4o"}
            ): "a",
            await made(gw, chat, headers=[two], json={"model": "gpt-4o-mini"}): "b",
            await made(gw, "/other/things", body=b"x"): "c",
            await made(gw, "/v1/bad", body=b"x"): "d",
        }
        page = await gw.api("GET", f"/-/calls?{query}")

    assert sorted(names[call["id"]] for call in page["data"]) == list(found)


async def made(gw, target, **said):
    return (await gw.request("POST", target, **said)).call_id


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "status=done",
        "after=nothing",
        "since=yesterday",
        "nope=1",
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(gateway, query):
    async with gateway() as gw:
        answer = await gw.request("GET", f"/-/calls?{query}")

    assert (answer.status, answer.code) == (400, "bad_request")
    assert query.partition("=")[0] in answer.json()["detail"]


async def test_every_answer_under_the_gateways_own_path_is_safe_to_show(gateway):
    async with gateway() as gw:
        targets = ("/-/calls", "/-/calls/x", "/-/metrics", "/-/healthy", "/-/nothing")
        answers = [await gw.request("GET", target) for target in targets]

    for answer in answers:
        assert answer.header("cache-control") == "no-store"
        assert answer.header("x-content-type-options") == "nosniff"
        assert "default-src 'none'" in answer.header("content-security-policy")


async def test_who_follows_an_attempt_learns_at_once_that_it_is_not_the_answer(gateway, upstream):
    upstream.script = [Answer(503, headers=(("Retry-After", "60"),))]
    async with gateway() as gw:
        sent = await gw.send_chat(headers=[("Prefer", "respond-async")])
        call = (await sent.read()).json()
        await upstream.wait_hits(1)
        path = f"/-/calls/{call['id']}/response?follow=true&attempt="
        while_it_pauses = await gw.request("GET", f"{path}1")
        waiting = await gw.send("GET", f"{path}2")
        await gw.api("POST", f"/-/calls/{call['id']}/cancel")
        cancelled = await waiting.read()

    assert call["client_waited"] is False
    assert (while_it_pauses.status, while_it_pauses.code) == (409, "conflict")
    assert cancelled.status in (404, 410)


async def test_an_attempt_that_was_not_the_answer_is_not_followed_afterwards(gateway, upstream):
    upstream.script = [Answer(503, body=b"first"), Answer(200, body=b"second")]
    async with gateway() as gw:
        answer = await gw.chat()
        path = f"/-/calls/{answer.call_id}/response?follow=true&attempt="
        first, second = [await gw.request("GET", f"{path}{number}") for number in (1, 2)]

    assert (first.status, first.code) == (409, "conflict")
    assert (second.status, second.body) == (200, b"second")
