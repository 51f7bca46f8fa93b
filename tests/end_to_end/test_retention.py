"""Retention from the outside: bodies go, the call stays and says so; then it goes too."""

import sqlite3
from contextlib import closing

DAY_MS = 86_400_000


def age(gw, call_id, days):
    """Have the call ended so much earlier."""
    with closing(sqlite3.connect(gw.db)) as connection, connection:
        connection.execute(
            "UPDATE calls SET created_ms = created_ms - :ms, finished_ms = finished_ms - :ms"
            " WHERE id = :id",
            {"ms": days * DAY_MS, "id": call_id},
        )


async def test_a_purged_body_is_gone_and_its_call_stays(gateway, upstream):
    key = [("Idempotency-Key", "once")]
    async with gateway() as gw:
        old, young = await gw.chat(headers=key), await gw.chat()
        age(gw, old.call_id, 31)
        pruned = await gw.api("POST", "/-/prune")
        call = await gw.call(old.call_id)
        paths = [("GET", "request"), ("GET", "response"), ("POST", "replay")]
        gone = [await gw.request(m, f"/-/calls/{old.call_id}/{p}") for m, p in paths]
        followed = await gw.request("GET", f"/-/calls/{old.call_id}/response?follow=true")
        again = await gw.chat(headers=key)
        kept = await gw.request("GET", f"/-/calls/{young.call_id}/response")

    assert pruned == {"object": "prune", "bodies": 1, "calls": 0}
    assert (call["status"], call["response"]["status"]) == ("succeeded", 200)
    assert [(each.status, each.code) for each in [*gone, followed]] == [(410, "gone")] * 4
    assert (again.status, again.code) == (410, "gone")
    assert kept.body == young.body
    assert upstream.hits == 2


async def test_an_old_call_is_gone_and_its_key_free(gateway, upstream):
    key = [("Idempotency-Key", "once")]
    async with gateway() as gw:
        old = await gw.chat(headers=key)
        age(gw, old.call_id, 366)
        pruned = await gw.api("POST", "/-/prune")
        gone = await gw.request("GET", f"/-/calls/{old.call_id}")
        again = await gw.chat(headers=key)

    assert pruned == {"object": "prune", "bodies": 1, "calls": 1}
    assert gone.status == 404
    assert again.status == 200
    assert upstream.hits == 2


async def test_days_come_from_the_config_in_force(gateway, upstream):
    async with gateway(journal={"keep_bodies_days": 0, "keep_calls_days": 0}) as gw:
        old = await gw.chat()
        age(gw, old.call_id, 10_000)
        kept = await gw.api("POST", "/-/prune")
        gw.configure(journal={"keep_bodies_days": 1, "keep_calls_days": 0})
        await gw.api("POST", "/-/reload")
        pruned = await gw.api("POST", "/-/prune")

    assert (kept["bodies"], pruned["bodies"]) == (0, 1)
