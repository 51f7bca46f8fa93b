"""`/-/config` and `/-/journal`: what the gateway runs with, and how its journal is."""

import json

from gateway.config import config_keys, load


async def values(gw):
    told = await gw.api("GET", "/-/config")
    assert told["path"] == str(gw.config)
    return {each.pop("key"): each for each in told["values"]}


async def test_every_value_in_force_is_listed_with_where_it_came_from(gateway, monkeypatch):
    async with gateway(limits={"max_queued": 77}) as gw:
        known = await values(gw)
        await gw.api("PATCH", "/-/upstreams/openai", json={"max_in_flight": 7})
        tuned = await values(gw)

    named = {key.replace("openai", "NAME") for key in known}
    assert named == set(config_keys()) - {"webhooks.secrets.HOST"}  # there is none
    assert known["limits.max_queued"] == {"value": 77, "default": 10_000, "source": "file"}
    assert known["limits.queue_timeout_s"] == {"value": 300, "default": 300, "source": "default"}
    assert known["upstreams.openai.max_in_flight"]["source"] == "default"
    assert known["upstreams.openai.base_url"]["default"] is None
    assert tuned["upstreams.openai.max_in_flight"] == {
        "value": 7,
        "default": 100,
        "source": "live",
    }


def test_references_and_the_command_line_are_environment(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[server]\nmax_body_bytes = "${MOST}"\nallowed_hosts = ["a.example", "${HOST}"]\n'
        '[upstreams.a]\nbase_url = "http://127.0.0.1:9/$${x}"\napi_key = "${KEY}"\n'
    )
    environ = {"MOST": "4096", "HOST": "b.example", "KEY": "sk-0123456789abcdef"}
    config = load(path, environ, port=9999)

    assert config.sources == {
        "server.max_body_bytes": "environment",
        "server.allowed_hosts": "environment",
        "server.port": "environment",
        "upstreams.a.base_url": "file",
        "upstreams.a.api_key": "environment",
    }


async def test_no_secret_is_shown(gateway):
    key, secret = "sk-0123456789abcdef", "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
    async with gateway(
        upstreams={"openai": {"api_key": key}, "b": {}},
        webhooks={"secret": secret, "previous_secret": secret, "secrets": {"a.example": secret}},
    ) as gw:
        known = await values(gw)

    assert known["upstreams.openai.api_key"]["value"] == "[set]"
    for name in ("secret", "previous_secret", "secrets.a.example"):
        assert known[f"webhooks.{name}"] == {"value": "[set]", "default": None, "source": "file"}
    assert known["upstreams.b.api_key"]["value"] is None
    assert key[-4:] not in json.dumps(known)


async def test_the_journal_tells_how_it_is(gateway):
    async with gateway() as gw:
        empty = await gw.api("GET", "/-/journal")
        await gw.chat()
        told = await gw.api("GET", "/-/journal")

    assert (empty["calls"], empty["oldest_at"], empty["newest_at"]) == (0, None, None)
    assert set(told) == {
        *("object", "path", "file_bytes", "wal_bytes", "free_bytes", "calls", "oldest_at"),
        *("newest_at", "open_calls", "keep_bodies_days", "keep_calls_days", "durability"),
        *("pending_posts", "pending_bytes", "last_commit_ms", "unsearched", "integrity"),
        "problem",
    }
    assert told["path"] == str(gw.db)
    assert (told["calls"], told["open_calls"], told["durability"]) == (1, 0, "process")
    assert told["oldest_at"] == told["newest_at"] is not None
    assert told["integrity"] in ("ok", "checking")
    assert told["problem"] is None
    assert told["wal_bytes"] > 0 < told["free_bytes"]
