"""Calls of which less is kept, by their key or their upstream: S31."""

import pytest

from gateway.errors import ConfigError, JournalUnavailable
from gateway.journal.unkept import Unkept
from tests.running_journal import committed
from tests.security.keys import by, chat, make_key, token
from tests.steps import Answer

SECRET = {"model": "m", "messages": [{"role": "user", "content": "CANARY-question"}]}


async def remove_due(gw, *, after_s: float = 61.0) -> None:
    """Let that much time have passed."""
    now = gw.service._now() + after_s
    await Unkept(gw.service.journal, lambda: now).remove_due()


def everything(gw) -> bytes:
    """Return the bytes of the journal's files."""
    return b"".join(path.read_bytes() for path in gw.db.parent.glob("gateway.db*"))


@pytest.mark.parametrize("keep", ["metadata", "none"])
async def test_a_minute_after_its_end_what_is_not_kept_is_gone(gateway, upstream, keep):
    upstream.answer = Answer(body=b"CANARY-answer", headers=[("X-Canary", "CANARY-header")])
    async with gateway() as gw:
        key = (await make_key(gw, bodies=keep))["key"]
        target = "/v1/chat/completions?canary=CANARY-query"
        answer = await chat(gw, key, path=target, json=SECRET)
        path = f"/-/calls/{answer.call_id}"
        await remove_due(gw, after_s=1)
        fetched = await gw.request("GET", f"{path}/response", headers=by(key))
        await remove_due(gw)
        gone = [
            await gw.request("GET", f"{path}/{part}", headers=by(key))
            for part in ("request", "response")
        ]
        call = await gw.api("GET", path, headers=by(key))
        whole = await chat(gw, token(gw), json={"model": "kept"})
        await remove_due(gw)
        kept = await gw.request("GET", f"/-/calls/{whole.call_id}/response")
    file = everything(gw)

    assert fetched.body == b"CANARY-answer"
    assert [each.status for each in gone] == [410, 410]
    assert (call["status"], call["key"]) == ("succeeded", key.split("_")[1])
    assert call["finished_at"] is not None
    assert call["request"]["bytes"] > 0
    assert call["request"]["headers"] == {} or keep == "metadata"
    assert call["query"] == ("" if keep == "none" else "canary=CANARY-query")
    assert kept.status == 200
    assert b"CANARY-question" not in file
    if keep == "none":
        assert b"CANARY-query" not in file


async def test_an_upstream_can_say_so_for_all_its_calls_and_the_stricter_counts(gateway, upstream):
    upstreams = {"a": {"bodies": "metadata"}, "b": {}}
    async with gateway(upstreams=upstreams) as gw:
        strict = (await make_key(gw, bodies="none"))["key"]
        await gw.chat(path="/a/x")
        await gw.chat(path="/b/x")
        await chat(gw, strict, path="/a/x")
        first = committed(gw.db, "SELECT seq, keep FROM unkept ORDER BY seq")
        gw.configure(upstreams={"a": {}, "b": {"bodies": "none"}})
        await gw.api("POST", "/-/reload")
        await gw.chat(path="/a/x")
        await gw.chat(path="/b/x")
        second = committed(gw.db, "SELECT seq, keep FROM unkept ORDER BY seq")

    assert [keep for _, keep in first] == ["metadata", "none"]
    assert [keep for _, keep in second] == ["metadata", "none", "none"]


async def test_a_detached_call_keeps_its_body_until_it_has_ended(gateway, upstream):
    async with gateway() as gw:
        key = (await make_key(gw, bodies="none"))["key"]
        await gw.api("PATCH", "/-/upstreams/openai", json={"paused": True})
        answer = await gw.chat(headers=[*by(key), ("Prefer", "respond-async")], json=SECRET)
        await remove_due(gw)
        await gw.api("PATCH", "/-/upstreams/openai", json={"paused": False})
        call = await gw.api("GET", f"/-/calls/{answer.call_id}?wait=10", headers=by(key))

    assert call["status"] == "succeeded"
    assert b"CANARY-question" in upstream.request.body


async def test_words_that_are_not_kept_are_not_searchable_meanwhile(gateway, upstream):
    async with gateway() as gw:
        key = (await make_key(gw, bodies="metadata"))["key"]
        private = {"model": "m", "messages": [{"role": "user", "content": "zebra crossing"}]}
        await chat(gw, key, json=private)
        open_to_all = await gw.chat(json=private)
        await gw.wait_calls(1, q="zebra")
        found = await gw.calls(q="zebra")

    assert [call["id"] for call in found] == [open_to_all.call_id]


async def test_a_reload_that_the_journal_cannot_note_is_refused_as_a_whole(gateway, upstream):
    async with gateway(upstreams={"a": {}}) as gw:
        gw.configure(upstreams={"a": {"bodies": "none", "max_in_flight": 7}})
        gw.service.journal.work = lambda _: _failed()
        with pytest.raises(ConfigError):
            await gw.service.reload()
        shown = await gw.api("GET", "/-/upstreams/a")

    assert shown["max_in_flight"] == 100


async def _failed() -> None:
    raise JournalUnavailable("the disk is full")
