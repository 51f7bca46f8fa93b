"""The dashboard's sessions: cookies, CSRF, and their end: S21, S23, S24."""

import re
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest

from gateway.web.security import auth
from gateway.web.security.sessions import IDLE_S
from tests.client import Exchange
from tests.security.keys import REQUIRED, by, chat, make_key, token
from tests.steps import Gate, stream

FORM = [("Content-Type", "application/x-www-form-urlencoded")]


async def sign_in(gw, key: str, *headers: tuple[str, str]) -> Exchange:
    body = urlencode({"key": key}).encode()
    return await gw.request("POST", "/-/ui/login", body=body, headers=[*FORM, *headers])


def cookie_of(answer: Exchange, name: str = "gw") -> tuple[str, str]:
    """Return the header that a browser sends from then on."""
    cookie = SimpleCookie(answer.header("set-cookie") or "")
    return ("Cookie", f"{name}={cookie[name].value}")


async def test_a_key_is_shown_once_and_a_strict_cookie_stands_for_it(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        made = await make_key(gw, "read-own", "relay")
        page = await gw.request("GET", "/-/ui/login")
        begun = await sign_in(gw, made["key"])
        cookie = cookie_of(begun)
        who = await gw.api("GET", "/-/session", headers=[cookie])
        calls = await gw.request("GET", "/-/calls", headers=[cookie])
        relayed = await gw.chat(headers=[cookie])

    set_cookie = begun.header("set-cookie") or ""
    assert (begun.status, begun.header("location")) == (303, "./")
    assert made["key"] not in set_cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/-/", "Max-Age=43200"} <= set(
        set_cookie.split("; ")
    )
    assert len(cookie[1]) > 40
    assert who == {
        "object": "session",
        "required": True,
        "actor": f"session:{made['id']}",
        "by_session": True,
        "key": {"id": made["id"], "name": "test"},
        "scopes": ["read-own", "relay"],
    }
    assert calls.status == 200
    assert relayed.status == 401  # a page must not spend its visitor's upstream
    assert upstream.hits == 0
    text = page.body.decode()
    assert (page.status, page.header("cache-control")) == (200, "no-store")
    assert (
        page.header("referrer-policy") == "same-origin"
    )  # else the form comes from `Origin: null`
    assert "script-src 'self'" in (page.header("content-security-policy") or "")
    assert "<script" not in text
    assert "style=" not in text
    assert re.search(r'<link rel="stylesheet" href="a/[0-9a-f]{12}/style.css">', text)


async def test_the_pages_stylesheet_is_there_without_a_key(gateway):
    async with gateway(auth=REQUIRED) as gw:
        text = (await gw.request("GET", "/-/ui/login")).body.decode()
        href = re.search(r'href="([^"]+)"', text)
        assert href is not None
        style = await gw.request("GET", f"/-/ui/{href[1]}")

    assert style.status == 200


@pytest.mark.parametrize("key", ["", "gw_a_b", "sk-something", "<script>alert(1)</script>"])
async def test_a_wrong_key_is_told_so_on_the_page(gateway, key):
    async with gateway(auth=REQUIRED) as gw:
        answer = await sign_in(gw, key)
        large = await sign_in(gw, "x" * 20_000)

    assert answer.status == 401
    assert answer.header("set-cookie") is None
    assert b'role="alert"' in answer.body
    assert b"<script" not in answer.body
    assert large.status == 413


async def test_a_browser_that_opens_a_page_unknown_is_led_to_the_form(gateway):
    html = [("Accept", "text/html,*/*;q=0.8")]
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw, "read-own"))["key"]
        led = [await gw.request("GET", f"/-/ui/{page}", headers=html) for page in ("", "calls/x")]
        fetched = await gw.request("GET", "/-/calls", headers=html)
        cookie = cookie_of(await sign_in(gw, key))
        there = await gw.request("GET", "/-/ui/", headers=[*html, cookie])
    async with gateway() as gw:
        open_to_all = await gw.request("GET", "/-/ui/", headers=html)

    assert [(each.status, each.header("location")) for each in led] == [
        (303, "login"),
        (303, "../login?next=calls%2Fx"),
    ]
    assert fetched.status == 401
    assert (there.status, open_to_all.status) == (200, 200)


async def test_a_session_ends_with_its_key_by_signing_out_and_anew_at_each_sign_in(gateway):
    async with gateway(auth=REQUIRED) as gw:
        made = await make_key(gw, "admin")
        first = cookie_of(await sign_in(gw, made["key"]))
        second = cookie_of(await sign_in(gw, made["key"], first))
        rotated = await gw.request("GET", "/-/session", headers=[first])
        third = cookie_of(await sign_in(gw, made["key"]))
        out = await gw.request("POST", "/-/ui/logout", headers=[third])
        after = await gw.request("GET", "/-/session", headers=[third])
        other = await gw.request("GET", "/-/session", headers=[second])
        scripted = await gw.request("POST", "/-/session", json={"key": made["key"]})
        fourth = cookie_of(scripted)
        left = await gw.request(
            "DELETE", "/-/session", headers=[fourth, ("x-gateway-csrf", "1")]
        )  # fmt: skip
        gone = await gw.request("GET", "/-/session", headers=[fourth])
        await gw.request("DELETE", f"/-/keys/{made['id']}", headers=by(token(gw)))
        revoked = await gw.request("GET", "/-/session", headers=[second])
        trail = (await gw.api("GET", "/-/audit", headers=by(token(gw))))["data"]

    assert first != second
    assert rotated.status == 401
    assert (out.status, after.status, other.status) == (303, 401, 200)
    assert (scripted.status, scripted.json()["scopes"][0]) == (200, "admin")
    assert (left.status, gone.status, revoked.status) == (204, 401, 401)
    actions = [each["action"] for each in trail]
    assert (actions.count("login"), actions.count("logout")) == (4, 2)
    assert {each["actor"] for each in trail if "log" in each["action"]} == {f"session:{made['id']}"}


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("calls/call_01?tab=raw&q=a%20b#x", "./calls/call_01?tab=raw&q=a%20b#x"),
        ("", "./"),
        ("//evil.example/", "./"),
        ("https://evil.example", "./"),
        ("../../v1/models", "./"),
        ("%2e%2e/%2e%2e/v1", "./"),
        ("\\\\evil.example", "./"),
        ("calls\r\nSet-Cookie: a=b", "./"),
        ('"><script>', "./"),
    ],
)
async def test_signing_in_leads_back_and_nowhere_but_to_the_dashboard(gateway, asked, led_to):
    async with gateway(auth=REQUIRED) as gw:
        body = urlencode({"key": token(gw), "next": asked}).encode()
        there = await gw.request("POST", "/-/ui/login", body=body, headers=FORM)
        form = await gw.request("GET", f"/-/ui/login?{urlencode({'next': asked})}")

    assert there.status == 303
    assert there.header("location") == led_to
    hidden = re.search(rb'name="next" value="([^"]*)"', form.body)
    assert hidden is not None
    assert hidden[1].decode().replace("&amp;", "&") == led_to.removeprefix("./")
    assert b"<script" not in form.body


@pytest.mark.parametrize(
    ("idle_s", "since_start_s", "status"), [(1700, 1700, 200), (1900, 1900, 401), (60, 43_300, 401)]
)
async def test_a_session_ends_by_itself(gateway, idle_s, since_start_s, status):
    async with gateway(auth=REQUIRED) as gw:
        cookie = cookie_of(await sign_in(gw, token(gw)))
        sessions = gw.service.guard.sessions
        (session,) = sessions._sessions.values()
        now = sessions._monotonic()
        session.began, session.seen = now - since_start_s, now - idle_s
        answer = await gw.request("GET", "/-/session", headers=[cookie])

    assert answer.status == status


@pytest.mark.parametrize("end", ["signing out", "idle", "signing in again"])
@pytest.mark.parametrize("whose", ["key", "host"])
async def test_what_a_session_has_open_ends_with_it(gateway, upstream, monkeypatch, whose, end):
    """Its event streams and followed answers; those of another session of the same key go on."""
    monkeypatch.setattr(auth, "STILL_VALID_S", 0.02)
    gate = Gate()
    upstream.answer = stream([b"one", b"two"], gate=gate)
    async with gateway(auth=REQUIRED) as gw:
        key = token(gw) if whose == "host" else (await make_key(gw, "admin"))["key"]
        cookie = cookie_of(await sign_in(gw, key))
        sessions = gw.service.guard.sessions
        (session,) = sessions._sessions.values()
        other = cookie_of(await sign_in(gw, key))
        call = await gw.send_chat(stream=True, headers=by(token(gw)))
        gate.release()
        await call.read_until(b"one")
        watched = []
        for each in (cookie, other):
            for target in ("events", f"calls/{call.call_id}/response?follow=true"):
                watched.append(await gw.send("GET", f"/-/{target}", headers=[each]))
                await watched[-1].read_until(b"hello" if target == "events" else b"one")
        if end == "signing out":
            await gw.request("POST", "/-/ui/logout", headers=[cookie])
        elif end == "idle":
            session.seen -= IDLE_S
        else:
            await sign_in(gw, key, cookie)
        for each in watched[:2]:
            await each.read()
        gate.open()
        await watched[3].read()
        await call.read()
        await watched[2].read_until(b'"status":"succeeded"')

    assert [each.complete for each in (watched[1], watched[3], call)] == [False, True, True]
    assert b"bye" not in watched[0].body


OURS = "http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 403),
        ([("x-gateway-csrf", "1")], 200),
        ([("Origin", OURS)], 200),
        ([("Sec-Fetch-Site", "same-origin")], 200),
        ([("Origin", OURS), ("Sec-Fetch-Site", "same-origin")], 200),
        ([("Origin", "https://evil.example")], 403),
        ([("Origin", "http://127.0.0.1:1")], 403),
        ([("Origin", "null")], 403),
        ([("Sec-Fetch-Site", "same-site")], 403),
        ([("Sec-Fetch-Site", "cross-site")], 403),
        ([("Origin", "https://evil.example"), ("x-gateway-csrf", "1")], 403),
        ([("Origin", "https://app.example")], 403),  # allowed to call, not to use our session
    ],
)
async def test_only_our_own_page_changes_something_by_a_session(gateway, headers, status):
    server = {"allowed_origins": ["https://app.example"]}
    async with gateway(auth=REQUIRED, server=server) as gw:
        cookie = cookie_of(await sign_in(gw, token(gw)))
        shown = [(name, value.format(port=gw.port)) for name, value in headers]
        answer = await gw.request("POST", "/-/reload", headers=[cookie, *shown])
        by_key = await gw.request("POST", "/-/reload", headers=[*by(token(gw)), *shown])
        form = await sign_in(gw, token(gw), *shown)

    assert answer.status == status
    assert by_key.status == 200  # no page of another origin knows a key
    assert form.status in (303, 403)


async def test_a_session_may_do_what_its_key_may(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        low = (await make_key(gw))["key"]
        call_id = (await chat(gw, token(gw))).call_id
        cookie = cookie_of(await sign_in(gw, low))
        statuses = [
            (await gw.request("GET", path, headers=[cookie])).status
            for path in ("/-/calls", f"/-/calls/{call_id}", "/-/stats", "/-/keys")
        ]

    assert statuses == [200, 404, 403, 403]


async def test_no_preflight_is_ever_allowed(gateway):
    asked = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")]
    async with gateway(auth=REQUIRED) as gw:
        answers = [
            await gw.request("OPTIONS", path, headers=asked)
            for path in ("/-/keys", "/-/session", "/-/ui/login", "/v1/chat/completions")
        ]

    for answer in answers:
        assert answer.status in (401, 403, 405)
        assert answer.header("access-control-allow-origin") is None
