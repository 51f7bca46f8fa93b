"""What a client or an upstream writes stays data: header lines, log lines, addresses, paths: S13-S20."""

import json
import re

import pytest

from gateway.web.security.access import ROUTES
from tests.scripted_upstream import ScriptedUpstream
from tests.security.keys import REQUIRED, by, make_key
from tests.steps import Answer, raw

# -- lines of heads


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\rX-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\0\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\rX-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\nX-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\r\n X-Injected: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX\rY: a\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\x7fb\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 \x1b[2J\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_no_upstream_writes_lines_into_our_heads(gateway, upstream, head):
    upstream.answer = raw(head)
    async with gateway(upstreams={"openai": {"retry": {"max_attempts": 1}}}) as gw:
        exchange = await gw.connect()
        await exchange.write(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await exchange.reader.read()
        (call,) = await gw.calls()
        shown = await gw.request("GET", f"/-/calls/{call['id']}/response")

    for told in (answer.partition(b"\r\n\r\n")[0], str(shown.headers).encode()):
        assert b"\0" not in told
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", told)
    if b"a\nX-Injected" not in head:  # which makes it a field of the upstream's own
        assert b"\nX-Injected" not in answer
        assert answer[9:12] == (b"200" if b"\r\n X-" in head else b"502")  # a fold is unfolded


@pytest.mark.parametrize("byte", [b"\r", b"\0", b"\x7f", b"\x01", b"\x1b"])
async def test_no_client_writes_control_characters_into_an_upstreams_head(gateway, upstream, byte):
    async with gateway() as gw:
        exchange = await gw.connect()
        await exchange.write(
            b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nX-A: a%cX-Injected: 1\r\n\r\n" % byte
        )
        await exchange.read()

    assert exchange.status == 400
    assert upstream.hits == 0


# -- lines of logs


async def test_nothing_that_is_logged_forges_a_line_or_drives_a_terminal(gateway, upstream, capfd):
    hostile = '\x1b[2J\x1b]0;x\x07\n{"event":"forged"}\r\u202e\u2028'
    latin = '\x1b[2J{"event":"forged"}'
    upstream.script = [400]
    async with gateway() as gw:
        await gw.chat(json={"model": hostile, "messages": []})
        for name in (
            "x-gateway-tags",
            "x-gateway-timeout-s",
            "x-gateway-upstream",
            "x-gateway-key",
        ):
            await gw.request("GET", "/v1/x", headers=[(name, 'a\x85{"event":"forged"}')])
        await gw.request("GET", "/v1/x", headers=[("Host", 'evil{"event":"forged"}')])
        await gw.request("GET", "/v1/%0a%1b[2J")
        exchange = await gw.connect()
        await exchange.write(
            f"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nA{latin}: b\r\n\r\n".encode()
        )
        await exchange.read()
        await gw.api("POST", "/-/keys", json={"name": hostile}, expect=400)
    lines = capfd.readouterr().err.splitlines()

    assert len(lines) > 5
    for line in lines:
        assert line.isprintable()
        assert json.loads(line)["event"] != "forged"


# -- where a request goes

ADDRESSES = ("api_base", "base_url", "API_BASE", "url", "host", "endpoint", "proxy", "proxies",
             "azure_endpoint", "api_host", "user_config", "target", "callback_url")  # fmt: skip
HEADERS = ("x-forwarded-host", "x-custom-host", "x-portkey-custom-host", "x-api-base", "forwarded",
           "x-original-url", "x-rewrite-url", "x-gateway-base-url", "x-host", "via", "proxy")  # fmt: skip


async def test_nothing_in_a_request_chooses_the_upstreams_address(gateway, upstream, monkeypatch):
    async with ScriptedUpstream() as elsewhere:
        evil, authority = elsewhere.url, f"127.0.0.1:{elsewhere.port}"
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
            monkeypatch.setenv(name, evil)
        nested = {name: {"model_list": [{name: evil}], name: evil} for name in ADDRESSES}
        async with gateway() as gw:
            sent = [
                await gw.chat(json={"model": "m", **dict.fromkeys(ADDRESSES, evil)}),
                await gw.chat(json={"model": "m", "extra": nested, "litellm_params": nested}),
                await gw.chat(json={"model": evil}),
                await gw.chat(path="/v1/x?" + "&".join(f"{name}={evil}" for name in ADDRESSES)),
                *[await gw.chat(headers=[(name, evil)]) for name in HEADERS],
                await gw.chat(headers=[("x-gateway-upstream", evil)]),
                await gw.chat(headers=[("Host", authority)]),
            ]
            targets = [
                f"{evil}/v1/x", f"//{authority}/v1/x", f"/{evil}/v1/x", f"/@{authority}/x",
                f"/v1@{authority}/x", f"/v1:80@{authority}/", f"/openai//{authority}/x",
                f"/v1/x#@{authority}/",
            ]  # fmt: skip
            sent += [await gw.request("GET", target) for target in targets]

        assert elsewhere.connections == []
    assert {each.status for each in sent} <= {200, 400, 404}
    assert sum(each.status == 200 for each in sent) == upstream.hits
    for request in upstream.requests:
        assert request.header("host") == f"127.0.0.1:{upstream.port}"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_no_method_has_the_upstream_show_its_credential_or_open_a_tunnel(
    gateway, upstream, method
):
    async with gateway(upstreams={"test": {"api_key": "CANARY"}}) as gw:
        answer = await gw.request(method, "/v1/x")

    assert (answer.status, answer.code) == (400, "bad_request")
    assert upstream.hits == 0


async def test_whom_a_forwarding_header_names_is_believed_of_nobody(gateway, upstream):
    async with gateway(auth=REQUIRED) as gw:
        key = (await make_key(gw))["key"]
        guesses = [
            await gw.request(
                "GET", "/-/calls", headers=[*by("gw_a_b"), ("X-Forwarded-For", f"10.0.0.{n}")]
            )
            for n in range(22)
        ]
        claimed = [("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-Proto", "https")]
        answer = await gw.request("GET", "/v1/x", headers=[*by(key), *claimed])
        page = await gw.request("POST", "/-/session", json={"key": key}, headers=claimed)

    assert [each.status for each in guesses[-2:]] == [429, 429]
    assert answer.status == 200
    assert upstream.request.header("x-forwarded-for") == "10.0.0.1"  # it travels as it was sent
    assert "__Host-gw" not in (page.header("set-cookie") or "")


# -- whose name a request asks for


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
async def test_a_name_that_is_not_ours_reaches_no_route_at_all(gateway, upstream, host):
    """A page whose name was made to point here (DNS rebinding) reads and changes nothing."""
    paths = [route.split() for route in sorted(ROUTES)]
    paths += [["GET", "/"], ["POST", "/v1/chat/completions"], ["GET", "/openai/x"]]
    async with gateway() as gw:
        answers = {
            f"{method} {path}": (await gw.request(method, path, headers=[("Host", host)])).status
            for method, path in paths
        }

    assert {path: status for path, status in answers.items() if status != 421} == {}
    assert upstream.hits == 0


# -- files

CLIMBING = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "....//", "..;/"]


@pytest.mark.parametrize("up", CLIMBING)
async def test_no_path_leads_to_a_file_that_is_not_the_dashboards(gateway, tmp_path, up):
    (tmp_path / "marked.txt").write_text("MARK")
    async with gateway() as gw:
        build = gw.service.events._build
        here = str(tmp_path).lstrip("/")
        answers = [
            await gw.request("GET", prefix + name)
            for prefix in (f"/-/ui/a/{build}/" + up * 12, "/-/ui/" + up * 12, f"/-/ui/a/{up}")
            for name in ("etc/passwd", f"{here}/marked.txt", f"{here}/gateway.db", "manifest.json")
        ]
        answers.append(await gw.request("GET", f"/-/ui/a/{build}//etc/passwd"))
        answers.append(await gw.request("GET", f"/-/ui/a/{build}/manifest.json"))
        index = (await gw.request("GET", "/-/ui/")).body

    for each in answers:
        assert b"root:" not in each.body
        assert b"MARK" not in each.body
        assert b"SQLite" not in each.body
        if each.status == 200:  # any other path is a page, and that is always the same one
            assert re.sub(rb'base href="[^"]*"', b"", each.body) == re.sub(
                rb'base href="[^"]*"', b"", index
            )


# -- what is downloaded


async def test_recorded_bytes_are_never_a_page_of_ours(gateway, upstream):
    """They are not rendered on the dashboard's origin, whatever type the upstream gave them."""
    page = b"<script>alert(1)</script>"
    upstream.answer = Answer(headers=[("Content-Type", "text/html")], body=page)
    async with gateway() as gw:
        call_id = (await gw.request("POST", "/v1/x", body=page)).call_id
        given = [
            await gw.request("GET", f"/-/calls/{call_id}/{part}")
            for part in ("request", "response", "body?part=response")
        ]
        export = await gw.request("GET", "/-/calls/export")

    for each in given[:2]:
        assert each.body == page
        assert "sandbox" in (each.header("content-security-policy") or "")
        assert each.header("x-content-type-options") == "nosniff"
    assert "text/html" not in (given[2].header("content-type") or "")
    assert (
        export.header("content-type") == "application/x-ndjson"
    )  # there is no export for spreadsheets
