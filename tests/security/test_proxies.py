"""Behind a proxy that is trusted: whose address counts, and which cookie stands for a session: S41."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from tests import http1
from tests.client import PATIENCE_S
from tests.security.keys import REQUIRED, by, make_key, token
from tests.security.test_sessions import cookie_of, sign_in

TRUSTING = {"trusted_proxies": ["127.0.0.1"], "allowed_hosts": ["ai.example"]}
BY_TLS = ("X-Forwarded-Proto", "https")
PUBLIC = ("Host", "ai.example")


def sent_for(address: str) -> tuple[str, str]:
    """Return the field that a proxy adds for a client at *address*."""
    return ("X-Forwarded-For", address)


async def test_wrong_keys_are_counted_by_the_client_that_a_trusted_proxy_names(gateway, capfd):
    async with gateway(auth=REQUIRED, server=TRUSTING) as gw:
        wrong = by("gw_a_b")
        one = [
            await gw.request("GET", "/-/calls", headers=[*wrong, sent_for(f"9.9.9.{n}, 192.0.2.1")])
            for n in range(22)
        ]
        other = await gw.request("GET", "/-/calls", headers=[*wrong, sent_for("192.0.2.2")])
    logged = capfd.readouterr().err

    assert [each.status for each in one[:20]] == [401] * 20
    assert [each.status for each in one[20:]] == [429, 429]  # what it forged does not count
    assert other.status == 401
    assert '"address":"192.0.2.1"' in logged
    assert "9.9.9." not in logged


async def test_a_call_is_its_clients_and_the_field_travels_on(gateway, upstream):
    sent = sent_for("1.1.1.1, 198.51.100.4")
    async with gateway(server=TRUSTING) as gw:
        await gw.chat(headers=[sent])
        await gw.chat()
        gw.configure(server={"trusted_proxies": []})
        await gw.service.reload()
        await gw.chat(headers=[sent])
        with closing(sqlite3.connect(gw.db)) as journal:
            kept = journal.execute("SELECT address FROM calls ORDER BY seq").fetchall()

    assert kept == [("198.51.100.4",), ("127.0.0.1",), ("127.0.0.1",)]
    assert [each.header("x-forwarded-for") for each in upstream.requests] == [
        sent[1],
        None,
        sent[1],
    ]


async def test_with_tls_at_the_proxy_the_cookie_is_the_hosts_alone(gateway):
    via = [PUBLIC, BY_TLS, ("Origin", "https://ai.example")]
    async with gateway(auth=REQUIRED, server=TRUSTING) as gw:
        made = await make_key(gw, "admin")
        begun = await sign_in(gw, made["key"], *via, sent_for("192.0.2.1"))
        cookie = cookie_of(begun, "__Host-gw")
        planted = ("Cookie", cookie[1].removeprefix("__Host-"))
        statuses = {
            "by TLS": await gw.request("GET", "/-/session", headers=[cookie, PUBLIC, BY_TLS]),
            "planted": await gw.request("GET", "/-/session", headers=[planted, PUBLIC, BY_TLS]),
            "without": await gw.request("GET", "/-/session", headers=[cookie, PUBLIC]),
            "changes": await gw.request("POST", "/-/reload", headers=[cookie, *via]),
            "from http": await gw.request(
                "POST",
                "/-/reload",
                headers=[cookie, PUBLIC, BY_TLS, ("Origin", "http://ai.example")],
            ),
        }
        out = await gw.request("POST", "/-/ui/logout", headers=[cookie, *via])
        after = await gw.request("GET", "/-/session", headers=[cookie, PUBLIC, BY_TLS])
        trail = await gw.api("GET", "/-/audit?limit=1000", headers=by(token(gw)))

    says = set((begun.header("set-cookie") or "").split("; "))
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= says
    assert {what: answer.status for what, answer in statuses.items()} == {
        "by TLS": 200, "planted": 401, "without": 401, "changes": 200, "from http": 403,
    }  # fmt: skip
    removed = set((out.header("set-cookie") or "").split("; "))
    assert {'__Host-gw=""', "Max-Age=0", "Secure", "Path=/"} <= removed
    assert after.status == 401
    logins = [each["detail"] for each in trail["data"] if each["action"] == "login"]
    assert logins == [{"address": "192.0.2.1"}]


async def test_who_comes_past_the_proxy_signs_in_and_out_without_tls(gateway):
    async with gateway(auth=REQUIRED, server=TRUSTING) as gw:
        begun = await sign_in(gw, token(gw))
        cookie = cookie_of(begun)
        shown = await gw.request("GET", "/-/session", headers=[cookie])
        by_tls = await gw.request("GET", "/-/session", headers=[cookie, BY_TLS])
        await gw.request("POST", "/-/ui/logout", headers=[cookie, ("Origin", gw.url)])
        after = await gw.request("GET", "/-/session", headers=[cookie])

    says = (begun.header("set-cookie") or "").split("; ")
    assert "Path=/-/" in says
    assert "Secure" not in says
    assert [shown.status, by_tls.status, after.status] == [200, 401, 401]


@asynccontextmanager
async def from_elsewhere(port: int, count: int) -> AsyncIterator[list[bool]]:
    """Open that many connections from 127.0.0.2, one after the other; yield which are served."""
    peers, served = [], []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=("127.0.0.2", 0)
            )
            peers.append(writer)
            writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                served.append((await http1.read_head(reader))[0] == "HTTP/1.1 200 OK")
            except http1.BROKEN:
                served.append(False)
        yield served
    finally:
        for writer in peers:
            writer.close()


async def test_a_trusted_proxy_may_have_more_than_half_of_the_connections(gateway, monkeypatch):
    monkeypatch.setattr("gateway.web.app.max_connections", lambda in_flight: 5)
    async with gateway(server={"trusted_proxies": ["127.0.0.2"]}) as gw:
        async with from_elsewhere(gw.port, 3) as as_proxy:
            gw.configure(server={"trusted_proxies": []})
            await gw.service.reload()  # those that are open now are let go as they were counted
        async with asyncio.timeout(PATIENCE_S):
            while (await gw.metrics())["gateway_client_connections"] > 1:
                pass
        async with from_elsewhere(gw.port, 3) as as_client:
            pass

    assert as_proxy == [True, True, True]
    assert as_client == [True, True, False]
