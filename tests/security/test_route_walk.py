"""Every route and method, with no key, a wrong key, a low scope, as another client: S2, S3, S9."""

import re

import pytest

from gateway.web import events
from gateway.web.security.access import ROUTES
from tests.security.keys import REQUIRED, by, chat, make_key, token


def routes_of(gw) -> set[str]:
    """Return "METHOD /pattern" of each route that the running application has."""
    router = gw.service.app.router
    return {
        f"{route.method} {route.resource.canonical}"
        for route in router.routes()
        if route.method != "HEAD" and route.resource is not None
    }


def target(
    route: str, call_id: str = "call_01ARZ3NDEKTSV4RRFFQ69G5FAV", name: str = "openai"
) -> str:
    path = route.partition(" ")[2]
    path = path.replace("/calls/{id}", f"/calls/{call_id}").replace("{name}", name)
    return re.sub(r"\{\w+\}", "x", path)


PUBLIC = {
    "GET /-/healthy", "GET /-/ready", "GET /-/ui", "GET /-/ui/a/{build}/{file}", "GET /-/ui/login",
    "POST /-/ui/login", "POST /-/ui/logout", "POST /-/session",
}  # fmt: skip


async def test_every_route_says_what_it_needs_and_nothing_else_is_listed(gateway):
    async with gateway() as gw:
        there = routes_of(gw)

    assert there == set(ROUTES)


async def test_exactly_these_routes_are_open_without_a_key():
    assert {route for route, access in ROUTES.items() if access.public} == PUBLIC


async def test_without_a_key_every_other_route_is_401(gateway):
    async with gateway(auth=REQUIRED) as gw:
        answers = {
            route: await gw.request(route.split()[0], target(route))
            for route in sorted(routes_of(gw) - PUBLIC)
        }
        heads = [
            await gw.request("HEAD", target(route))
            for route in sorted(routes_of(gw) - PUBLIC)
            if route.startswith("GET")
        ]

    assert {route: each.status for route, each in answers.items() if each.status != 401} == {}
    assert {each.code for each in answers.values()} == {"unauthorized"}
    assert all(each.header("www-authenticate") for each in answers.values())
    assert {each.status for each in heads} <= {401, 405}


@pytest.mark.parametrize("header", ["x-gateway-key", "authorization", "x-api-key", "api-key"])
async def test_a_wrong_key_opens_no_route_and_no_upstream(gateway, upstream, header):
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw, "admin"))["key"]
        wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
        shown = [(header, f"Bearer {wrong}" if header == "authorization" else wrong)]
        own = [
            (route, await gw.request(route.split()[0], target(route), headers=shown))
            for route in sorted(routes_of(gw))
        ]
        relayed = await gw.chat(headers=shown)

    assert {route: each.status for route, each in own if each.status not in (401, 429)} == {}
    assert relayed.status in (401, 429)
    assert upstream.hits == 0


async def test_a_key_that_may_only_relay_can_do_nothing_else(gateway):
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw, "relay"))["key"]
        answers = {
            route: await gw.request(route.split()[0], target(route), headers=by(key))
            for route in sorted(routes_of(gw) - PUBLIC)
        }

    allowed = {"GET /-/session", "DELETE /-/session", "GET /-/openapi.json", "GET /-/ui/{page}"}
    open_to_it = {route for route, each in answers.items() if each.status not in (403, 404)}
    assert open_to_it == allowed
    assert all(answers[route].status == 404 for route in answers if "calls/{id}" in route)


async def test_a_default_key_reads_and_operates_its_own_calls_and_nobody_elses(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        ours, theirs = [(await make_key(gw))["key"] for _ in range(2)]
        call_id = (await chat(gw, theirs)).call_id
        mine = (await chat(gw, ours)).call_id
        of_calls = sorted(route for route in routes_of(gw) if "calls/{id}" in route)
        foreign = {}
        absent = {}
        for route in of_calls:
            method = route.split()[0]
            said = {"headers": by(ours), **({"json": {}} if route.endswith("replay") else {})}
            foreign[route] = await gw.request(method, target(route, call_id), **said)
            absent[route] = await gw.request(method, target(route), **said)
        listed = await gw.api("GET", "/-/calls", headers=by(ours))
        export = await gw.request("GET", "/-/calls/export", headers=by(ours))
        cancelled = await gw.api("POST", "/-/calls/cancel", headers=by(ours))
        replayed = await gw.api("POST", "/-/calls/replay?dry_run=true", headers=by(ours), json={})
        cursor = await gw.request("GET", f"/-/calls?after={call_id}", headers=by(ours))
        counted = await gw.request("GET", "/-/calls?cursor=d1", headers=by(ours))
        still = await gw.api("GET", f"/-/calls/{call_id}", headers=by(theirs))
        body = await gw.request("GET", f"/-/calls/{mine}/response", headers=by(ours))

    assert {each.status for each in foreign.values()} == {404}
    for route in of_calls:  # a foreign id answers like an absent one
        same = foreign[route].body.replace(call_id.encode(), b"ID")
        assert same == absent[route].body.replace(b"call_01ARZ3NDEKTSV4RRFFQ69G5FAV", b"ID")
    assert [call["id"] for call in listed["data"]] == [mine]
    assert call_id.encode() not in export.body
    assert mine.encode() in export.body
    assert (cancelled["matched"], replayed["matched"]) == (0, 1)
    assert (cursor.status, counted.status) == (400, 400)
    assert still["status"] == "succeeded"
    assert still["replays"] == []
    assert body.status == 200


async def test_whoever_sees_all_calls_without_operating_them_is_told_403(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        reader = (await make_key(gw, "read-all", "operate-own", "relay"))["key"]
        call_id = (await chat(gw, (await make_key(gw))["key"])).call_id
        own = (await chat(gw, reader)).call_id
        shown = await gw.api("GET", f"/-/calls/{call_id}", headers=by(reader))
        refused = await gw.request("DELETE", f"/-/calls/{call_id}", headers=by(reader))
        absent = await gw.request("DELETE", "/-/calls/call_x", headers=by(reader))
        bulk = await gw.api("POST", "/-/calls/replay?dry_run=true", headers=by(reader), json={})
        deleted = await gw.request("DELETE", f"/-/calls/{own}", headers=by(reader))

    assert shown["id"] == call_id
    assert (refused.status, refused.code) == (403, "forbidden")
    assert absent.status == 404
    assert bulk["matched"] == 1
    assert deleted.status == 204


async def test_a_call_of_ones_own_that_one_may_not_read_is_403_and_others_404(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        relays = (await make_key(gw, "relay"))["key"]
        own = (await chat(gw, relays)).call_id
        other = (await chat(gw, token(gw))).call_id
        statuses = [
            (await gw.request("GET", f"/-/calls/{each}", headers=by(relays))).status
            for each in (own, other)
        ]

    assert statuses == [403, 404]


@pytest.mark.parametrize(
    "spelled",
    ["/-/calls/../keys", "/-/%6beys", "/-/keys?x=/-/healthy", "/-/healthy/../keys",
     "/-/healthy/%2e%2e/keys", "/-//keys", "/-/keys/", "/-/ui/../keys", "/-/ui/login/../../keys"],
)  # fmt: skip
async def test_no_spelling_of_a_path_opens_what_its_handler_guards(gateway, spelled):
    async with gateway(auth=REQUIRED) as gw:
        low = (await make_key(gw, "read-all"))["key"]
        without = await gw.request("GET", spelled)
        with_low = await gw.request("GET", spelled, headers=by(low))

    assert without.status == 401
    assert with_low.status in (403, 404) or "text/html" in (with_low.header("content-type") or "")


@pytest.mark.parametrize("host", ["127.0.0.1/-/healthy?x=", "a/?x=", "localhost/-/ui/login"])
async def test_no_host_changes_what_a_path_needs(gateway, host):
    async with gateway(auth=REQUIRED) as gw:
        answer = await gw.request("GET", "/-/keys", headers=[("Host", host)])

    assert answer.status in (400, 401, 421)


async def test_events_tell_a_key_of_its_own_calls_alone(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        ours, theirs = [(await make_key(gw))["key"] for _ in range(2)]
        watching = await gw.send("GET", "/-/events", headers=by(ours))
        await watching.read_until(b"hello")
        foreign = (await chat(gw, theirs)).call_id
        own = (await chat(gw, ours)).call_id
        await watching.read_until(own.encode())
        seen = watching.body

    assert foreign.encode() not in seen
    assert b"event: stats" not in seen
    assert b"event: upstream" not in seen


async def test_a_key_of_low_scope_takes_the_dashboards_place_from_nobody(gateway, monkeypatch):
    monkeypatch.setattr(events, "MAX_OF_ONE_CLIENT", 1)
    async with gateway(auth=REQUIRED) as gw:
        low = (await make_key(gw))["key"]
        watching = await gw.send("GET", "/-/events", headers=by(low))
        await watching.read_until(b"hello")
        second = await gw.request("GET", "/-/events", headers=by(low))
        other = await gw.send("GET", "/-/events", headers=by(token(gw)))
        await other.read_until(b"hello")

    assert second.status == 503
