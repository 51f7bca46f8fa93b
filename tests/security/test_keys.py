"""Keys: what is kept of them, what they may make, when they end, and what never leaves: S4-S8, S13."""

import json
import re
import sqlite3
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.web.security import auth
from tests.security.keys import REQUIRED, by, chat, make_key, token
from tests.steps import Answer, Gate, held, stall, stream

FORM = re.compile(r"gw_[a-z2-7]{16}_[a-z2-7]{40}")  # 40 characters of base 32: 200 bits


async def test_a_key_is_told_once_and_only_its_hash_is_kept(gateway, upstream, capfd):
    async with gateway(auth=REQUIRED) as gw:
        made = await make_key(gw, name="app")
        secret = made["key"]
        await chat(gw, secret)
        shown = await gw.request("GET", f"/-/keys/{made['id']}", headers=by(token(gw)))
        listed = await gw.request("GET", "/-/keys", headers=by(token(gw)))
        trail = await gw.request("GET", "/-/audit", headers=by(token(gw)))
        exported = await gw.request("GET", "/-/calls/export", headers=by(token(gw)))
        metrics = await gw.request("GET", "/-/metrics", headers=by(token(gw)))
        host = token(gw)
        files = [
            path.read_bytes()
            for path in gw.db.parent.glob("gateway.db*")
            if "lock" not in path.name
        ]
    out, err = capfd.readouterr()

    assert FORM.fullmatch(secret)
    assert {"id", "name", "scopes", "key"} <= made.keys()
    assert made["scopes"] == ["relay", "read-own", "operate-own"]
    random = secret.rpartition("_")[2]
    for place in [shown, listed, trail, exported, metrics]:
        assert place.status == 200
        assert random.encode() not in place.body
    for text in [*files, out.encode(), err.encode()]:
        assert random.encode() not in text
        assert host.encode() not in text


async def test_a_key_never_travels_and_the_upstreams_own_credential_does(gateway, upstream):
    upstreams = {"openai": {"api_key": "sk-own"}, "open": {}, "gemini": {"dialect": "gemini"}}
    async with gateway(auth=REQUIRED, upstreams=upstreams) as gw:
        key = (await make_key(gw))["key"]
        for name in ("Authorization", "x-api-key", "api-key", "x-goog-api-key", "x-gateway-key"):
            value = f"Bearer {key}" if name == "Authorization" else key
            for path in ("/openai/chat", "/open/chat"):
                answer = await gw.request("POST", path, json={}, headers=[(name, value)])
                assert answer.status == 200
        for spelled in (f"bearer\t{key}", f"BEARER \t {key}", f"Basic {key}", f'Bearer "{key}"'):
            answer = await gw.request(
                "POST", "/open/chat", json={}, headers=[("Authorization", spelled)]
            )
            assert answer.status == 200
        query = await gw.request(
            "POST", f"/gemini/models/g:generateContent?key={key}&alt=x", json={}
        )
        beside = await gw.request(
            "POST", f"/open/chat?key={key}", json={},
            headers=[
                ("x-gateway-key", key),
                ("Authorization", "Bearer sk-client"),
                ("Cookie", "a=1; gw=x; __Host-gw=y; b=2"),
            ],
        )  # fmt: skip
        call = await gw.api("GET", f"/-/calls/{beside.call_id}", headers=by(token(gw)))

    assert (query.status, beside.status) == (200, 200)
    for request in upstream.requests:
        assert key not in f"{request.target} {request.headers}"
        assert "gw_" not in f"{request.target} {request.headers}"
    assert upstream.requests[0].header("authorization") == "Bearer sk-own"
    assert upstream.requests[1].header("authorization") is None
    assert upstream.requests[-2].target.endswith("?alt=x")
    assert upstream.requests[-1].header("authorization") == "Bearer sk-client"
    assert upstream.requests[-1].header("cookie") == "a=1; b=2"
    assert call["key"] == key.split("_")[1]


async def test_every_header_of_the_sdks_carries_a_key_and_names_the_client(gateway, upstream):
    async with gateway() as gw:
        key, other = [(await make_key(gw))["key"] for _ in range(2)]
        same = [("Idempotency-Key", "1")]
        first = await gw.chat(headers=[("Authorization", f"bearer {key}"), *same])
        again = await gw.chat(headers=[("x-api-key", key), *same])
        another = await gw.chat(headers=[("x-api-key", other), *same])
        wrong = await gw.chat(headers=[("x-api-key", "gw_no_such")])
        credential = await gw.chat(headers=[("x-api-key", "sk-something")])
        listed = await gw.api("GET", f"/-/calls?key={key.split('_')[1]}")

    assert first.call_id == again.call_id
    assert another.call_id != first.call_id
    assert (wrong.status, wrong.code) == (401, "unauthorized")
    assert credential.status == 200
    assert [call["id"] for call in listed["data"]] == [first.call_id]


async def test_a_revoked_key_opens_nothing_from_the_next_request_on(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        made = await make_key(gw, "read-all", "relay")
        watching = await gw.send("GET", "/-/events", headers=by(made["key"]))
        await watching.read_until(b"hello")
        before = await chat(gw, made["key"])
        gone = await gw.request("DELETE", f"/-/keys/{made['id']}", headers=by(token(gw)))
        after = await chat(gw, made["key"])
        await watching.read()
        again = await gw.request("DELETE", f"/-/keys/{made['id']}", headers=by(token(gw)))
        changed = await gw.request(
            "PATCH", f"/-/keys/{made['id']}", json={"name": "x"}, headers=by(token(gw))
        )
        unknown = await gw.request("DELETE", "/-/keys/nobody", headers=by(token(gw)))
    async with gateway(auth=REQUIRED) as gw:
        restarted = await chat(gw, made["key"])

    assert (before.status, gone.status, after.status, restarted.status) == (200, 204, 401, 401)
    assert (again.status, changed.status, unknown.status) == (204, 409, 404)
    assert not watching.complete or b"bye" not in watching.body  # it was hung up on


async def test_a_key_that_has_expired_opens_nothing(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        ring = gw.service.guard.ring
        made = await make_key(gw, expires_at="2100-01-01T00:00:00Z")
        before = await chat(gw, made["key"])
        ring._now = lambda: 4_102_444_800.0  # that moment
        after = await chat(gw, made["key"])

    assert (before.status, after.status) == (200, 401)


async def test_what_a_key_has_open_ends_when_it_expires(gateway, upstream, monkeypatch):
    monkeypatch.setattr(auth, "STILL_VALID_S", 0.05)
    async with gateway(auth=REQUIRED) as gw:
        made = await make_key(gw, expires_at="2100-01-01T00:00:00Z")
        watching = await gw.send("GET", "/-/events", headers=by(made["key"]))
        await watching.read_until(b"hello")
        gw.service.guard.ring._now = lambda: 4_102_444_800.0  # that moment
        await watching.read()

    assert b"bye" not in watching.body  # it was hung up on, not told that the gateway stops


async def test_keys_outlive_a_restart(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw))["key"]
        first = await chat(gw, key, json={"model": "m"})
    async with gateway(auth=REQUIRED) as gw:
        second = await chat(gw, key, json={"model": "m"})
        shown = await gw.api("GET", f"/-/keys/{key.split('_')[1]}", headers=by(token(gw)))
        mine = await gw.api("GET", "/-/calls", headers=by(key))

    assert (first.status, second.status) == (200, 200)
    assert shown["last_used_at"] is not None
    assert len(mine["data"]) == 2


@pytest.mark.parametrize(
    "presented",
    ["", "gw_", "gw__", "gw_cli_", "gw_cli_x", "gw_' OR 1--_x", "gw_é_x", "gw_" + "a" * 8000,
     "Bearer gw_a_b"],
)  # fmt: skip
async def test_whatever_is_no_key_is_401_and_costs_nobody_else(gateway, upstream, presented):
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw))["key"]
        wrong = await gw.request(
            "GET", "/-/calls", headers=by(presented.encode().decode("latin-1"))
        )
        right = await chat(gw, key)

    assert wrong.status == 401
    assert right.status == 200


async def test_an_error_while_a_key_is_checked_lets_nobody_in(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        made = await make_key(gw, "admin")
        gw.service.guard.ring._keys[made["id"]] = None  # whatever else may be wrong
        gw.service.guard.ring._keys = {made["id"]: object()}
        own = await gw.request("GET", "/-/calls", headers=by(made["key"]))
        relayed = await chat(gw, made["key"])

    assert (own.status, relayed.status) == (401, 401)
    assert upstream.hits == 0


async def test_too_many_wrong_keys_are_told_to_wait_and_right_ones_pass(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw))["key"]
        answers = [await gw.request("GET", "/-/calls", headers=by("gw_a_b")) for _ in range(25)]
        right = await chat(gw, key)

    assert [each.status for each in answers] == [401] * 20 + [429] * 5
    assert answers[-1].code == "auth_throttled"
    assert 1 <= int(answers[-1].header("retry-after") or 0) <= 60
    assert right.status == 200


async def test_nothing_of_a_body_is_asked_for_before_the_key_is_known(gateway, upstream):
    waits = [("Expect", "100-continue"), ("Content-Length", "5")]
    async with gateway(auth=REQUIRED) as gw:
        low = (await make_key(gw, "read-own"))["key"]
        key = (await make_key(gw))["key"]
        refused = [
            await gw.request(*asked, headers=[*waits, *shown])
            for asked, shown in [
                (("POST", "/v1/chat/completions"), []),
                (("POST", "/v1/chat/completions"), by("gw_a_b")),
                (("POST", "/v1/chat/completions"), by(low)),
                (("POST", "/-/keys"), []),
                (("POST", "/-/keys"), by(low)),
            ]
        ]
        allowed = await gw.send("POST", "/v1/chat/completions", headers=[*waits, *by(key)])
        while allowed.interim != [100]:
            await allowed.read_head() if allowed.status >= 200 else await _interim(allowed)
        await allowed.write(b"hello")
        await allowed.read()

    assert [each.status for each in refused] == [401, 401, 403, 401, 403]
    assert all(each.interim == [] for each in refused)
    assert (allowed.status, upstream.request.body) == (200, b"hello")


async def _interim(exchange) -> None:
    line = await exchange.reader.readuntil(b"\r\n\r\n")
    exchange.interim.append(int(line.split()[1]))


# -- what a key may make


WIDER = [
    {"scopes": ["admin"]},  # without the maker's bounds
    {"scopes": ["relay"], "tokens_per_day": 101, "models": ["a"], "upstreams": ["openai"]},
    {"scopes": ["relay"], "tokens_per_day": 100, "models": ["*"], "upstreams": ["openai"]},
    {"scopes": ["relay"], "tokens_per_day": 100, "models": ["a"], "upstreams": []},
    {"scopes": ["relay"], "tokens_per_day": None, "models": ["a"], "upstreams": ["openai"]},
]


async def test_a_key_makes_and_widens_none_beyond_itself(gateway):
    bounds = {"tokens_per_day": 100, "models": ["a", "gpt-*"], "upstreams": ["openai"]}
    async with gateway(auth=REQUIRED) as gw:
        maker = await make_key(gw, "admin", **bounds)
        for form in WIDER:
            answer = await gw.request(
                "POST", "/-/keys", json={"name": "x", **form}, headers=by(maker["key"])
            )
            assert (answer.status, form) == (403, form)
        narrow = {"tokens_per_day": 99, "models": ["gpt-4o"], "upstreams": ["openai"]}
        child = await make_key(gw, "relay", maker=maker["key"], **narrow)
        for each in (maker["id"], child["id"]):
            answer = await gw.request(
                "PATCH", f"/-/keys/{each}", json={"tokens_per_day": 101}, headers=by(maker["key"])
            )
            assert answer.status == 403
        narrowed = await gw.api(
            "PATCH", f"/-/keys/{child['id']}", json={"tokens_per_day": 1}, headers=by(maker["key"])
        )
        below = await gw.request("POST", "/-/keys", json={"name": "x"}, headers=by(child["key"]))

    assert (narrowed["tokens_per_day"], narrowed["models"]) == (1, ["gpt-4o"])
    assert below.status == 403


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": []},
        {"name": "x", "max_in_flight": 0},
        {"name": "x", "max_in_flight": "5"},
        {"name": "x", "max_queued": 0},
        {"name": "x", "max_body_bytes": 1.5},
        {"name": "x", "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "soon"},
        {"name": "x", "id": "mine"},
        {"name": "x", "hash": "00"},
        {"name": "x", "created_by": "cli"},
        {"name": "x", "revoked_at": None},
        [],
    ],
)
async def test_only_what_a_key_may_hold_can_be_said(gateway, form):
    async with gateway(auth=REQUIRED) as gw:
        answer = await gw.request("POST", "/-/keys", json=form, headers=by(token(gw)))
        change = await gw.request(
            "PATCH", "/-/keys/x", json={"scopes": ["admin"]}, headers=by(token(gw))
        )

    assert (answer.status, answer.code) == (400, "bad_request")
    assert change.status == 404


async def test_scopes_cannot_be_changed(gateway):
    async with gateway(auth=REQUIRED) as gw:
        made = await make_key(gw)
        answer = await gw.request(
            "PATCH", f"/-/keys/{made['id']}", json={"scopes": ["admin"]}, headers=by(token(gw))
        )

    assert answer.status == 400


# -- upstreams and models


async def test_a_key_reaches_only_its_upstreams_and_models(gateway, upstream):
    upstreams = {"a": {}, "b": {}, "g": {"dialect": "gemini"}}
    async with gateway(auth=REQUIRED, upstreams=upstreams) as gw:
        key = (await make_key(gw, upstreams=["a", "g"], models=["gpt-4o*", "flash"]))["key"]

        async def status(path: str, body: bytes, *headers: tuple[str, str]) -> int:
            answer = await gw.request("POST", path, body=body, headers=[*by(key), *headers])
            return answer.status

        allowed = [
            await status("/a/chat", b'{"model":"gpt-4o-mini"}'),
            await status("/v1beta/models/flash:generateContent", b"{}"),
            await status("/a/chat", b'{"model":"gpt-4o","models":["flash", "gpt-4o-mini"]}'),
            await status("/a/chat", b'{"models":["flash"]}'),
            await status("/a/chat", b'{"model":"flash","x":{"models":["o3"]},"models":[]}'),
        ]
        hits = upstream.hits
        refused = [
            await status("/b/chat", b'{"model":"gpt-4o"}'),
            await status("/a/chat", b'{"model":"gpt-4o"}', ("x-gateway-upstream", "b")),
            await status("/a/chat", b'{"model":"o3"}'),
            await status("/a/chat", b"{}"),
            await status("/a/chat", b"model=gpt-4o"),
            await status("/a/chat", b'{"model":["gpt-4o"]}'),
            await status("/v1beta/models/pro:generateContent", b'{"model":"flash"}'),
            await status("/v1beta/models/pr%6f:generateContent", b'{"model":"flash"}'),
            await status("/a/chat", b'{"model":"gpt-4o"}', ("Content-Encoding", "br")),
            await status("/a/chat", b'{"model":"gpt-4o","MODEL":"o3"}'),  # the same to Go
            await status("/a/chat", b'{"model":"gpt-4o","models":["gpt-4o-mini","o3"]}'),
            await status("/a/chat", b'{"models":["o3"],"model":"gpt-4o"}'),
            await status(
                "/a/chat", b'{"model":"gpt-4o","x":[1,{"y":[]}],"Mod\\u0065LS" : [ "o3" ] }'
            ),
            await status("/a/chat", b'{"model":"gpt-4o","models":["flash"],"models":["\\u006f3"]}'),
            await status("/a/chat", '{"model":"gpt-4o","MODEL\u017f":["o3"]}'.encode()),
            await status("/a/chat", b'{"model":"gpt-4o","models":"o3"}'),
            await status("/a/chat", b'{"model":"gpt-4o","models":{"0":"o3"}}'),
            await status("/a/chat", b'{"model":"gpt-4o","models":null}'),
            await status("/a/chat", b'{"model":"gpt-4o","models":["flash",["o3"]]}'),
            await status(
                "/a/chat", b'{"model":"gpt-4o","models":' + b"[" * 9000 + b"]" * 9000 + b"}"
            ),
            await status(
                "/a/chat", b'{"model":"gpt-4o","models":[' + b'"flash",' * 9000 + b'"o3"]}'
            ),
            await status("/a/openai/deployments/o3/chat", b'{"model":"gpt-4o"}'),
            await status("/g/v1beta/%6dodels/pro:generateContent", b'{"model":"flash"}'),
            await status("/g/v1beta/models/pro:generateContent/", b'{"model":"flash"}'),
            await status("/g/v1beta/tunedModels/pro:generateContent", b'{"model":"flash"}'),
        ]
        twice = await status("/a/chat", b'{"model":"o3","model":"gpt-4o"}')

    assert allowed == [200] * 5
    assert refused == [403] * len(refused)
    assert twice in (400, 403)
    assert upstream.hits == hits


async def test_a_replay_goes_nowhere_its_key_may_not(gateway, upstream):
    async with gateway(auth=REQUIRED, upstreams={"a": {}, "b": {}}) as gw:
        key = (await make_key(gw, upstreams=["a"], models=["m"]))["key"]
        call_id = (await chat(gw, key, path="/a/chat", json={"model": "m"})).call_id
        path = f"/-/calls/{call_id}/replay"
        changed = [
            (await gw.request("POST", path, json=changes, headers=by(who))).status
            for changes in ({"upstream": "b"}, {"model": "x"}, {"body_patch": {"model": None}})
            for who in (key, token(gw))
        ]
        bulk = await gw.api("POST", "/-/calls/replay", json={"upstream": "b"}, headers=by(key))
        same = await gw.request("POST", path, json={}, headers=by(key))

    assert changed == [403] * 6
    assert bulk["refused"] == [{"id": call_id, "code": "forbidden"}]
    assert (same.status, same.json()["key"]) == (202, key.split("_")[1])


# -- limits


async def test_a_stream_that_tells_no_usage_passes_no_budget(gateway, upstream):
    upstream.answer = stream([b"data: " + b"x" * 194 + b"\n\n"] * 20)
    body = {"model": "m", "stream": True, "messages": []}
    async with gateway(auth=REQUIRED) as gw:
        day = await make_key(gw, tokens_per_day=15)
        told = [
            await gw.request("POST", "/v1/x", json=body, headers=by(day["key"])) for _ in range(2)
        ]
        used = await gw.api("GET", f"/-/keys/{day['id']}", headers=by(token(gw)))
    async with gateway(auth=REQUIRED) as gw:
        restarted = await gw.request("POST", "/v1/x", json=body, headers=by(day["key"]))

    assert [each.status for each in told] == [200, 429]
    assert 20 <= used["usage"]["tokens_today"] <= 40
    assert restarted.code == "key_limit"


async def test_requests_tokens_and_the_day_are_bounded(gateway, upstream):
    usage = {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}
    upstream.answer = Answer(
        body=json.dumps({"usage": usage}).encode(), headers=[("Content-Type", "application/json")]
    )
    async with gateway(auth=REQUIRED) as gw:
        minute = (await make_key(gw, requests_per_minute=2))["key"]
        tokens = (await make_key(gw, tokens_per_minute=15))["key"]
        day = await make_key(gw, tokens_per_day=15)
        of_requests = [await chat(gw, minute) for _ in range(3)]
        of_tokens = [await chat(gw, tokens) for _ in range(3)]
        of_day = [await chat(gw, day["key"]) for _ in range(3)]
        detached = await chat(gw, minute)
        used = await gw.api("GET", f"/-/keys/{day['id']}", headers=by(token(gw)))
        await gw.request("DELETE", f"/-/calls/{of_day[0].call_id}", headers=by(day["key"]))
    async with gateway(auth=REQUIRED) as gw:
        restarted = await chat(gw, day["key"])
        raised = await gw.api(
            "PATCH", f"/-/keys/{day['id']}", json={"tokens_per_day": None}, headers=by(token(gw))
        )
        lifted = await chat(gw, day["key"])

    for answers in (of_requests, of_tokens, of_day):
        assert [each.status for each in answers] == [200, 200, 429]
        refused = answers[-1]
        assert refused.code == "key_limit"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(refused.header("retry-after") or 0) <= 60
        assert refused.header("x-gateway-call-id") is None
    assert detached.status == 429
    assert used["usage"] == {
        "requests_last_minute": 2,
        "tokens_last_minute": 20,
        "tokens_today": 20,
    }
    assert restarted.status == 429
    assert (raised["tokens_per_day"], lifted.status) == (None, 200)


async def test_in_flight_is_bounded_clients_are_turned_away_and_detached_calls_wait(
    gateway, upstream
):
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw, max_in_flight=1))["key"]
        upstream.script = [stall(0.1), 200, 200]
        first = await gw.send_chat(headers=by(key))
        await upstream.wait_hits(1)
        second = await gw.chat(headers=by(key))
        later = [
            await gw.chat(headers=[*by(key), ("Prefer", "respond-async")], json={"n": n})
            for n in range(2)
        ]
        await first.read()
        done = [
            await gw.api("GET", f"/-/calls/{each.call_id}?wait=10", headers=by(key))
            for each in later
        ]

    assert (first.status, second.status, second.code) == (200, 429, "key_limit")
    assert [each.status for each in later] == [202, 202]
    assert [call["status"] for call in done] == ["succeeded", "succeeded"]
    assert upstream.peak == 1


async def test_one_key_cannot_fill_the_places_that_wait(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    asks = [("Prefer", "respond-async")]
    async with gateway(auth=REQUIRED, upstreams={"openai": {"max_in_flight": 1}}) as gw:
        made = await make_key(gw, max_queued=2)
        mine, other = by(made["key"]), by((await make_key(gw))["key"])
        running = await gw.chat(headers=[*mine, *asks])
        await upstream.wait_hits(1)
        waiting = [await gw.chat(headers=[*mine, *asks]) for _ in range(2)]
        refused = [await gw.chat(headers=[*mine, *asks]), await gw.chat(headers=mine)]
        of_another = await gw.chat(headers=[*other, *asks])
        await gw.api(
            "PATCH", f"/-/keys/{made['id']}", json={"max_queued": 3}, headers=by(token(gw))
        )
        raised = await gw.chat(headers=[*mine, *asks])
        gate.open()
        done = [
            await gw.api("GET", f"/-/calls/{each.call_id}?wait=10", headers=mine)
            for each in [running, *waiting, raised]
        ]

    assert [each.status for each in [*waiting, of_another, raised]] == [202] * 4
    for each in refused:
        assert (each.status, each.code) == (429, "key_limit")
        assert 1 <= int(each.header("retry-after") or 0) <= 60
    assert [call["status"] for call in done] == ["succeeded"] * 4


async def test_a_body_beyond_the_keys_own_bound_is_refused_unread(gateway, upstream):
    async with gateway(auth=REQUIRED, server={"max_body_bytes": 1000}) as gw:
        made = await make_key(gw, max_body_bytes=100)
        small, wide = by(made["key"]), by((await make_key(gw, max_body_bytes=5000))["key"])
        fits = await gw.request("POST", "/v1/x", body=b"x" * 100, headers=small)
        unread = await gw.send(
            "POST", "/v1/x", headers=[*small, ("Content-Length", "101"), ("Expect", "100-continue")]
        )
        await unread.read()
        chunked = await gw.request(
            "POST", "/v1/x", body=b"65\r\n" + b"x" * 0x65 + b"\r\n0\r\n\r\n",
            headers=[*small, ("Transfer-Encoding", "chunked")],
        )  # fmt: skip
        of_the_server = await gw.request("POST", "/v1/x", body=b"x" * 1001, headers=wide)
        hits = upstream.hits
        await gw.api(
            "PATCH", f"/-/keys/{made['id']}", json={"max_body_bytes": 99}, headers=by(token(gw))
        )
        replayed = await gw.request("POST", f"/-/calls/{fits.call_id}/replay", headers=small)

    assert (fits.status, hits) == (200, 1)
    for each in (unread, chunked):
        assert (each.status, each.code) == (413, "body_too_large")
        assert "this key's max_body_bytes" in each.json()["error"]["message"]
    assert unread.interim == []  # it was not asked for
    assert "[server] max_body_bytes" in of_the_server.json()["error"]["message"]
    assert (replayed.status, replayed.code) == (413, "body_too_large")


# -- the trail


async def test_whatever_changes_something_is_in_the_trail_and_stays_there(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        admin = await make_key(gw, "admin")
        shown = by(admin["key"])
        call_id = (await chat(gw, admin["key"])).call_id
        await gw.api("PATCH", "/-/upstreams/openai", json={"max_in_flight": 7}, headers=shown)
        await gw.api("POST", "/-/reload", headers=shown)
        await gw.request("POST", f"/-/calls/{call_id}/replay", json={}, headers=shown)
        await gw.request("GET", "/-/calls/export?status=failed", headers=shown)
        await gw.request("DELETE", f"/-/calls/{call_id}", headers=shown)
        await gw.request("DELETE", f"/-/calls/{call_id}", headers=shown)
        trail = (await gw.api("GET", "/-/audit", headers=shown))["data"]
        page = await gw.api("GET", "/-/audit?limit=2", headers=shown)
        rest = await gw.api("GET", f"/-/audit?after={page['last_id']}", headers=shown)
        low = await gw.request(
            "GET", "/-/audit", headers=by((await make_key(gw, "read-all"))["key"])
        )
        db: Path = gw.db
    connection = sqlite3.connect(db)
    try:
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("DELETE FROM audit")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("UPDATE audit SET actor = 'nobody'")
    finally:
        connection.close()

    assert [(each["actor"], each["action"]) for each in reversed(trail)] == [
        ("cli", "key.created"),
        (admin["id"], "upstream.changed"),
        (admin["id"], "config.reloaded"),
        (admin["id"], "call.replayed"),
        (admin["id"], "calls.exported"),
        (admin["id"], "call.deleted"),
    ]
    assert [each["target"] for each in trail[:3]] == [call_id, None, call_id]
    assert trail[1]["detail"] == {"query": "status=failed"}
    assert trail[4]["detail"] == {"body": {"max_in_flight": 7}}
    assert page["has_more"]
    assert page["data"] + rest["data"] == trail
    assert low.status == 403


async def test_exporting_in_a_loop_leaves_a_few_entries_and_every_change_its_own(
    gateway, upstream, capfd
):
    async with gateway() as gw:
        trail, real = gw.service.guard.audit, gw.service.guard.audit._now
        for number in range(20):
            await gw.request("GET", f"/-/calls/export?limit={1 + number // 2}")
        for _ in range(3):
            await gw.request("GET", "/-/calls/export?nothing=of-that-name")
        for number in range(3):
            await gw.api("PATCH", "/-/upstreams/openai", json={"max_in_flight": 7 + number})
        trail._now = lambda: real() + 60.0
        await gw.request("GET", "/-/calls/export?limit=1")
        entries = (await gw.api("GET", "/-/audit"))["data"]

    exports = [each["detail"] for each in entries if each["action"] == "calls.exported"]
    assert exports == [
        {"query": "limit=1", "more": 4},
        {"query": "limit=10", "more": 1},
        *({"query": f"limit={limit}", "more": 1} for limit in range(9, 1, -1)),
        {"query": "limit=1"},
    ]
    assert [each["action"] for each in entries].count("upstream.changed") == 3
    assert capfd.readouterr().err.count('"action":"calls.exported"') == 24


# -- where it listens


async def test_beyond_loopback_it_listens_once_keys_are_required(gateway, upstream):
    server = {"host": "0.0.0.0", "allowed_hosts": ["*"]}
    async with gateway(server=server, auth=REQUIRED) as gw:
        key = (await make_key(gw))["key"]
        named = [("Host", "anything.example"), *by(key)]
        with_key = await gw.chat(headers=named)
        without = await gw.chat(headers=named[:1])
        open_to_all = [await gw.request("GET", path) for path in ("/-/healthy", "/-/ready")]
    with pytest.raises(ConfigError, match="auth"):
        async with gateway(server=server):
            pass

    assert (with_key.status, without.status) == (200, 401)
    assert [each.json() for each in open_to_all] == [{"ok": True}] * 2


async def test_a_page_of_another_origin_needs_a_key_where_keys_are_required(gateway, upstream):
    page = ("Origin", "https://app.example")
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw))["key"]
        with_key = await chat(gw, key)
        from_page = await gw.chat(headers=[*by(key), page])
        without = await gw.chat(headers=[page])
    async with gateway() as gw:
        not_required = await gw.chat(headers=[page])

    assert (with_key.status, from_page.status, without.status) == (200, 200, 401)
    assert not_required.status == 403


@pytest.mark.parametrize(
    ("path", "upstreams", "told"),
    [
        ("/v1/messages", {"a": {}}, {"type": "error"}),
        ("/a/x", {"a": {"dialect": "anthropic"}}, {"type": "error"}),
        ("/a/x", {"a": {}}, {}),
    ],
)
async def test_who_is_not_known_is_told_in_the_dialect_of_the_path(gateway, path, upstreams, told):
    async with gateway(auth=REQUIRED, upstreams=upstreams) as gw:
        answer = await gw.request("POST", path, json={})

    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.json()["error"]["type"] == "authentication_error"
    assert told.items() <= answer.json().items()
    assert answer.header("x-gateway-call-id") is None
