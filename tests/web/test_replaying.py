"""A recorded call goes again: as it was, or to another upstream, with another model or body."""

import hashlib
import sqlite3
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.replaying import merge_patch
from gateway.web.request import OFF_LOOP_BYTES
from tests.steps import Answer, Gate, held

OTHERS = {"first": {"api_key": "one"}, "second": {"api_key": "two"}}


def purge(gw):
    """Remove every body, as retention does."""
    with closing(sqlite3.connect(gw.db)) as connection, connection:
        connection.execute("DELETE FROM parts")


async def test_a_replay_sends_the_same_bytes_as_a_new_call(gateway, upstream):
    body = b'{ "model":"gpt-4o-mini",\t"n": 1.0 }'
    headers = [
        ("Content-Type", "application/json"),
        ("X-Own", "caf\xc3\xa9"),
        ("Cookie", "a=b"),
        ("Idempotency-Key", "once"),
        ("x-gateway-priority", "2"),
        ("x-gateway-tags", "team=search"),
        ("x-gateway-fairness-key", "tenant"),
        ("x-gateway-timeout-s", "90"),
    ]
    async with gateway(upstreams=OTHERS) as gw:
        old = await gw.chat(
            path="/v1/chat/completions?a=%20b", json=None, body=body, headers=headers
        )
        answer = await gw.request("POST", f"/-/calls/{old.call_id}/replay")
        new = answer.json()
        done = await gw.final(new["id"])
        original = await gw.call(old.call_id)
        result = await gw.request("GET", f"/-/calls/{new['id']}/response")

    assert answer.status == 202
    assert answer.header("location") == f"/-/calls/{new['id']}"
    assert answer.header("retry-after")
    assert new["object"] == "call"
    assert done["status"] == "succeeded"
    assert (done["replay_of"], original["replays"]) == (original["id"], [done["id"]])
    for name in ("priority", "tags", "fairness_key", "model", "path", "query", "upstream"):
        assert done[name] == original[name]
    assert (original["idempotency_key"], done["idempotency_key"]) == ("once", None)
    assert done["client_waited"] is False
    assert done["deadline_at"] > original["deadline_at"]
    assert result.body == old.body

    first, again = upstream.requests
    assert again.body == first.body == body
    assert again.target == first.target
    assert again.header("x-own") == first.header("x-own") == "caf\xc3\xa9"
    assert again.header("authorization") == "Bearer one"
    assert again.header("idempotency-key") is None
    assert again.header("cookie") is None


async def test_another_model_and_a_patch_change_only_what_they_name(gateway, upstream):
    body = {"model": "gpt-4o-mini", "messages": [], "stream": True, "x": {"keep": 1, "drop": 2}}
    patch = {"stream": None, "x": {"drop": None, "new": [1]}, "temperature": 0.5}
    async with gateway() as gw:
        old = await gw.chat(json=body)
        changes = {"model": "o3", "body_patch": patch}
        new = await gw.api(
            "POST", f"/-/calls/{old.call_id}/replay", json=changes, expect=202
        )  # fmt: skip
        done = await gw.final(new["id"])

    assert upstream.requests[1].json() == {
        "model": "o3", "messages": [], "x": {"keep": 1, "new": [1]}, "temperature": 0.5,
    }  # fmt: skip
    assert list(upstream.requests[1].json()) == ["model", "messages", "x", "temperature"]
    assert (done["model"], done["stream"]) == ("o3", False)
    assert done["request"]["bytes"] == len(upstream.requests[1].body)


@pytest.mark.parametrize(
    ("path", "target"),
    [("/first/chat/completions", "/v1/chat/completions"), ("/v1/x?a=1", "/v1/x?a=1")],
)
async def test_another_upstream_gets_its_own_credential_and_target(gateway, upstream, path, target):
    async with gateway(upstreams=OTHERS) as gw:
        old = await gw.chat(path=path)
        new = await gw.api(
            "POST", f"/-/calls/{old.call_id}/replay", json={"upstream": "second"}, expect=202
        )
        done = await gw.final(new["id"])

    assert done["upstream"] == "second"
    assert [request.target for request in upstream.requests] == [target, target]
    assert upstream.requests[1].header("authorization") == "Bearer two"


async def test_a_model_in_the_path_is_replaced_there(gateway, upstream):
    async with gateway() as gw:
        old = await gw.chat(path="/v1beta/models/gemini-1:generateContent", json={"contents": []})
        changes = {"model": "tuned/2"}
        new = await gw.api("POST", f"/-/calls/{old.call_id}/replay", json=changes, expect=202)
        done = await gw.final(new["id"])

    assert upstream.requests[1].target == "/v1/v1beta/models/tuned%2F2:generateContent"
    assert upstream.requests[1].body == upstream.requests[0].body
    assert done["model"] == "tuned/2"


async def test_a_call_that_is_not_final_is_not_replayed(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        await gw.send_chat()
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        refused = await gw.request("POST", f"/-/calls/{call['id']}/replay")
        gate.open()

    assert (refused.status, refused.code) == (409, "conflict")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/x", [("Authorization", "Bearer own")]), ("/v1/x?sig=secret", [])],
)
async def test_a_call_that_needs_its_clients_credential_is_not_replayed(
    gateway, upstream, path, headers
):
    async with gateway() as gw:
        old = await gw.chat(path=path, headers=headers)
        refused = await gw.request("POST", f"/-/calls/{old.call_id}/replay")

    assert (refused.status, refused.code) == (409, "conflict")
    assert upstream.hits == 1


async def test_an_upstream_with_its_own_credential_takes_what_another_passed_through(
    gateway, upstream
):
    async with gateway(upstreams={"open": {}, "own": {"api_key": "two"}}) as gw:
        old = await gw.chat(headers=[("Authorization", "Bearer client")])
        new = await gw.api(
            "POST", f"/-/calls/{old.call_id}/replay", json={"upstream": "own"}, expect=202
        )
        await gw.final(new["id"])
        back = await gw.request(
            "POST", f"/-/calls/{new['id']}/replay", json={"upstream": "open"}
        )  # fmt: skip

    assert upstream.requests[1].header("authorization") == "Bearer two"
    assert back.status == 202  # the recorded replay was sent without a credential of the client


async def test_a_purged_body_is_gone(gateway, upstream):
    async with gateway() as gw:
        old = await gw.chat()
        purge(gw)
        refused = await gw.request("POST", f"/-/calls/{old.call_id}/replay")

    assert (refused.status, refused.code) == (410, "gone")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        (b"{", 400),
        (b'{"other": 1}', 400),
        (b'{"model": 1}', 400),
        (b'{"upstream": "nowhere"}', 404),
        (b'{"model": "m"}', 400),
    ],
)
async def test_what_cannot_be_changed_is_refused(gateway, upstream, changes, status):
    async with gateway() as gw:
        old = await gw.chat(json=None, body=b"not JSON")
        refused = await gw.request("POST", f"/-/calls/{old.call_id}/replay", body=changes)
        calls = await gw.calls()

    assert refused.status == status
    assert len(calls) == 1


async def test_a_body_of_very_many_values_is_replayed_but_not_changed(gateway, upstream):
    """A parser would hold up everything else while it builds them."""
    body = b'{"model":"m","x":[' + b"[]," * 200_000 + b"0]}"
    async with gateway() as gw:
        old = await gw.request("POST", "/v1/x", body=body)
        refused = await gw.request(
            "POST", f"/-/calls/{old.call_id}/replay", json={"body_patch": {"a": 1}}
        )
        new = await gw.api("POST", f"/-/calls/{old.call_id}/replay", expect=202)
        await gw.final(new["id"])

    assert (refused.status, refused.code) == (400, "bad_request")
    assert [each.body for each in upstream.requests] == [body, body]


async def test_large_bodies_are_hashed_and_changed_in_another_thread(
    gateway, upstream, monkeypatch
):
    hashed, sha256 = [], hashlib.sha256

    def watched(data=b"", **said):
        if len(data) > OFF_LOOP_BYTES:
            hashed.append(threading.current_thread() is threading.main_thread())
        return sha256(data, **said)

    body = b'{"model":"m","x":"' + b"y" * OFF_LOOP_BYTES + b'"}'
    async with gateway() as gw:
        monkeypatch.setattr(hashlib, "sha256", watched)
        old = await gw.request("POST", "/v1/x", body=body)
        for changes in ({}, {"model": "n"}, {"body_patch": {"z": 1}}):
            path = f"/-/calls/{old.call_id}/replay"
            new = await gw.api("POST", path, json=changes, expect=202)
            call = await gw.final(new["id"])
            assert call["request"]["sha256"] == sha256(upstream.requests[-1].body).hexdigest()

    assert hashed == [False] * 4


async def test_an_unknown_call_is_404(gateway, upstream):
    async with gateway() as gw:
        refused = await gw.request("POST", "/-/calls/call_nowhere/replay")

    assert (refused.status, refused.code) == (404, "not_found")


async def test_a_failed_call_can_be_replayed(gateway, upstream):
    upstream.script = [Answer(400, body=b"no")]
    async with gateway() as gw:
        old = await gw.chat()
        new = await gw.api("POST", f"/-/calls/{old.call_id}/replay", expect=202)
        done = await gw.final(new["id"])

    assert done["status"] == "succeeded"


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_rfc_says(target, patch, result):
    assert merge_patch(target, patch) == result


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_merge_patch_applied_twice_changes_nothing_more(target, patch):
    once = merge_patch(target, patch)

    assert merge_patch(once, patch) == once
