"""Credentials with a mark in them, and a search for the mark in all that leaves the gateway: S8, S30.

The upstream and the webhook's receiver see what is theirs; nobody and nothing else sees any of it.
"""

import asyncio
import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.errors import JournalUnavailable
from gateway.relay.upstream import Upstream
from gateway.web.security.access import ROUTES
from tests import certificates
from tests.scripted_upstream import ScriptedUpstream
from tests.security.keys import REQUIRED, by, make_key, token
from tests.steps import Answer, reset, stream

OWN = "CANARY-own-0123456789abcdef"
RECEIVER = base64.b64encode(b"CANARY-webhook-0123456789abcdef!").decode()
PREVIOUS = base64.b64encode(b"CANARY-previous-0123456789abcde!").decode()
HOSTS_OWN = base64.b64encode(b"CANARY-of-a-host-0123456789abcd!").decode()
CLIENTS = [
    ("Authorization", "Bearer CANARY-client-1"),
    ("x-api-key", "CANARY-client-2"),
    ("Cookie", "session=CANARY-client-3"),
    ("Proxy-Authorization", "Basic CANARY-client-4"),
]
QUERY = "key=CANARY-q1&api_key=CANARY-q2&access_token=CANARY-q3&token=CANARY-q4&sig=CANARY-q5"
MALFORMED = [
    b"GET /v1/x?%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer CANARY-c\0\r\n\r\n",
    b"GET /v1/x?%s HTTP/1.1\r\nHost: localhost\r\nx-api-key : CANARY-c\r\n\r\n",
    b"GET /v1/x?%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: CANARY-c\r\n folded CANARY\r\n\r\n",
    b"GET /v1/x?%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: CANARY-c\r\n\r\n",
    b"GET /v1/x?%s HTTP/1.1 CANARY-c\r\nHost: localhost\r\n\r\n",
    b"GET /-/calls?%s HTTP/1.1\r\nHost: localhost\r\nx-gateway-key: gw_CANARY\0\r\n\r\n",
]
BAD_CONFIGS = [
    f'[upstreams.a]\nbase_url = "http://localhost/v1"\napi_key = ["{OWN}"]\n',
    f'[upstreams.a]\nbase_url = "http://user:{OWN}@localhost/v1"\n',
    f'[upstreams.a]\nbase_url = "http://localhost/v1"\napi_key = "{OWN}\\n"\n',
    f'[upstreams.a]\nbase_url = "http://localhost/v1"\nkey = "{OWN}"\n',
    f'[webhooks]\nsecret = "whsec_{RECEIVER}!"\n[upstreams.a]\nbase_url = "mock:"\n',
    f'[webhooks.secrets]\n"A.b" = "whsec_{HOSTS_OWN}"\n[upstreams.a]\nbase_url = "mock:"\n',
    f'[webhooks]\nprevious_secret = "whsec_{PREVIOUS}"\n[upstreams.a]\nbase_url = "mock:"\n',
    f'[upstreams.a\nbase_url = "{OWN}"\n',
    f'[upstreams.a]\nbase_url = "http://localhost/v1"\napi_key = "{OWN}\n',
]
COMMANDS = [
    ("check",), ("check", "--json"), ("db", "stats"), ("db", "check"), ("keys", "list"),
    ("calls", "list", "--json"), ("calls", "export"),
]  # fmt: skip


@pytest.fixture
async def receiver():
    """Yield a server that is told."""
    async with ScriptedUpstream() as receiver:
        yield receiver


def tables(no_trust: str) -> dict[str, Any]:
    """Return upstreams of which some answer, some are not there, and one nobody vouches for."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    return {
        "good": {"api_key": OWN},
        "gone": {"api_key": OWN, "base_url": nobody},
        "no-trust": {"api_key": OWN, "base_url": no_trust, "auth": "x-api-key"},
        "passes": {},
        "passes-gone": {"base_url": nobody},
        "gemini": {"dialect": "gemini"},
    }


async def command(config: Path, *arguments: str) -> Result:
    """Return what the command `gateway` says."""
    invoke = CliRunner().invoke
    return await asyncio.to_thread(invoke, main, [*arguments, "--config", str(config)])


async def call_in_every_way(gw: Any, upstream: ScriptedUpstream, key: str, hook: str) -> None:
    """Succeed, fail, be tried again, reach nobody, meet a bug, be refused."""
    sent = [*by(key), *CLIENTS]
    upstream.script = [200, 400, 503, reset(), stream([b"data: {}\n\n"]), 200]
    for path in ("good/a", "good/fails", "good/again", "good/stream"):
        asked = [*sent, ("x-gateway-webhook", hook)]
        await gw.request("POST", f"/{path}?{QUERY}", json={"n": path}, headers=asked)
    upstream.answer = Answer(headers=[("Set-Cookie", "CANARY-set"), ("x-request-id", "1")])
    for path in (
        "gone/x",
        "no-trust/x",
        "passes/x",
        "passes-gone/x",
        "gemini/v1beta/x",
        "good/bug",
    ):
        await gw.request("GET", f"/{path}?{QUERY}", headers=sent)
    for bad in ("x-gateway-tags", "x-gateway-timeout-s", "x-gateway-upstream", "Prefer"):
        await gw.request("GET", "/v1/x", headers=[*sent, (bad, "respond-async, wait=no")])
    await gw.request("GET", f"/v1/../x?{QUERY}", headers=sent)
    await gw.request("GET", f"/v1/x?{QUERY}", headers=[("Host", "evil"), *CLIENTS])
    await gw.request("GET", f"/v1/x?{QUERY}", headers=by(key[:-4] + "nope"))
    await gw.request("POST", "/-/ui/login", body=b"key=gw_CANARY_x")
    await gw.request("POST", "/-/session", json={"key": "gw_CANARY_x"})
    await gw.request("POST", "/-/session", json={"key": ["CANARY"]})
    for head in MALFORMED:
        exchange = await gw.connect()
        await exchange.write(head % QUERY.encode())
        await exchange.read()


async def read_everything(gw: Any, key: str) -> None:
    """Ask for all that there is to read, and have calls made again."""
    own = by(key)
    calls = await gw.api("GET", "/-/calls?expand=all&limit=100", headers=own)
    for call in calls["data"]:
        for part in ("", "/request", "/response", "/chunks", "/body", "/webhook"):
            await gw.request("GET", f"/-/calls/{call['id']}{part}", headers=own)
    await gw.request("POST", f"/-/calls/{calls['data'][0]['id']}/replay", headers=own)
    await gw.request("POST", "/-/calls/replay?status=failed", json={}, headers=own)
    for route in sorted(ROUTES):
        if route.startswith("GET") and "{" not in route and "events" not in route:
            await gw.request("GET", route.split()[1], headers=own)
    for path in ("upstreams/good", "keys/" + key.split("_")[1]):
        await gw.request("GET", f"/-/{path}", headers=own)
    events = await gw.send("GET", "/-/events?last_event_id=1", headers=own)
    await events.read_until(b"event: stats")


async def test_no_credential_leaves_by_any_way(
    gateway, upstream, receiver, tmp_path, capfd, monkeypatch
):
    url = Upstream._url

    def broken(self: Upstream, target: str):
        if "bug" in target:
            raise ZeroDivisionError(target)
        return url(self, target)

    monkeypatch.setattr(Upstream, "_url", broken)
    webhooks = {
        "secret": f"whsec_{RECEIVER}",
        "previous_secret": f"whsec_{PREVIOUS}",
        "secrets": {"127.0.0.1": f"whsec_{HOSTS_OWN}"},
        "allowed_hosts": ["127.0.0.1"],
    }
    async with ScriptedUpstream(tls=certificates.serving(trustme.CA(), "127.0.0.1")) as no_trust:
        upstreams = tables(f"{no_trust.url}/v1")
        async with gateway(auth=REQUIRED, upstreams=upstreams, webhooks=webhooks) as gw:
            key, host = (await make_key(gw, "admin"))["key"], token(gw)
            gw.exchanges.clear()  # the one answer that tells the key
            await call_in_every_way(gw, upstream, key, f"{receiver.url}/hook?token=MARK-hook")
            await receiver.wait_hits(4)
            await read_everything(gw, key)
            good = gw.config.read_text()
            for text in BAD_CONFIGS:
                gw.config.write_text(text)
                assert (await gw.request("POST", "/-/reload", headers=by(key))).status == 400
            gw.config.write_text(good)
            files = {path.name: path.read_bytes() for path in tmp_path.glob("gateway.db*")}
    printed = [await command(gw.config, *each) for each in COMMANDS]
    for text in BAD_CONFIGS:
        gw.config.write_text(text)
        printed.append(await command(gw.config, "check"))
    logged = "".join(capfd.readouterr())

    assert [each.exit_code for each in printed] == [0] * len(COMMANDS) + [2] * len(BAD_CONFIGS)
    assert "ZeroDivisionError" in logged  # a traceback is among what is searched
    assert f"Bearer {OWN}" in {request.header("authorization") for request in upstream.requests}
    files |= {f"{path.name} at rest": path.read_bytes() for path in tmp_path.glob("gateway.db*")}
    places = {name: text for name, text in files.items() if "lock" not in name}  # it holds a token
    places |= {"log": logged.encode(), "printed": "".join(e.output for e in printed).encode()}
    for number, exchange in enumerate(gw.exchanges):
        head = [] if ("Set-Cookie", "CANARY-set") in exchange.headers else [exchange.headers]
        places[f"answer {number}"] = json.dumps(head).encode() + exchange.body
    shown = {name: text for name, text in places.items() if "gateway.db" not in name}
    assert [name for name, text in shown.items() if around(text, "MARK-hook")] == []
    hooks = (RECEIVER, PREVIOUS, HOSTS_OWN)
    for secret in ("CANARY", *hooks, key.rpartition("_")[2], host.removeprefix("gw_cli_")):
        found = {name: around(text, secret) for name, text in places.items()}
        assert {name: text for name, text in found.items() if text} == {}, secret


def around(text: bytes, secret: str) -> bytes:
    """What stands around *secret* in *text*; b"" where it does not hold it."""
    at = text.find(secret.encode())
    return b"" if at < 0 else text[max(0, at - 200) : at + 80]


@pytest.mark.parametrize(("mode", "times"), [(0o700, 0), (0o770, 1)])
async def test_a_start_tells_once_that_others_may_write_beside_the_journal(
    gateway, tmp_path, capfd, mode, times
):
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    async with gateway(journal={"path": "data/calls.db"}) as gw:
        await gw.service.reload()
    logged = capfd.readouterr().err

    assert logged.count("journal_directory_found_shared") == times


async def test_no_directory_is_made_for_a_journal(gateway, tmp_path):
    """Its mode, and where it is, are for whoever runs the gateway to say."""
    with pytest.raises(JournalUnavailable, match="No such file or directory"):
        async with gateway(journal={"path": "data/calls.db"}):
            pass

    assert not (tmp_path / "data").exists()


async def test_files_are_their_owners_alone(gateway_process, upstream, tmp_path):
    async with gateway_process() as gw:
        await gw.chat()
        backup: Path = tmp_path / "copy.db"
        done = await asyncio.to_thread(
            CliRunner().invoke,
            main,
            ["db", "backup", str(backup), "--config", str(tmp_path / "config.toml")],
        )
        assert done.exit_code == 0
        modes = {
            path.name: path.stat().st_mode & 0o777
            for path in tmp_path.glob("*")
            if path.suffix != ".toml"
        }

    assert {"gateway.db", "gateway.db-wal", "gateway.db.lock", "copy.db"} <= modes.keys()
    assert modes == dict.fromkeys(modes, 0o600)
