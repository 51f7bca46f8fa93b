"""Credentials: the right one travels, and none is ever written down."""

import json

import pytest

from tests.client import ADDED_TO_REQUESTS
from tests.http1 import without
from tests.steps import Answer

CREDENTIALS = [
    ("Authorization", "Bearer CANARY-1"),
    ("x-api-key", "CANARY-2"),
    ("api-key", "CANARY-3"),
    ("x-goog-api-key", "CANARY-4"),
]


@pytest.mark.parametrize(
    ("auth", "field"),
    [
        ("bearer", ("authorization", "Bearer sk-own")),
        ("x-api-key", ("x-api-key", "sk-own")),
        ("api-key", ("api-key", "sk-own")),
        ("x-goog-api-key", ("x-goog-api-key", "sk-own")),
    ],
)
async def test_the_upstreams_own_credential_replaces_the_clients(gateway, upstream, auth, field):
    async with gateway(upstreams={"openai": {"api_key": "sk-own", "auth": auth}}) as gw:
        await gw.request("GET", "/v1/x?key=left", headers=CREDENTIALS)

    request = upstream.request
    fields = without(request.headers, ADDED_TO_REQUESTS)
    assert [(name.lower(), value) for name, value in fields] == [field]
    assert request.target == "/v1/x?key=left"


async def test_without_one_the_clients_credential_is_passed_through(gateway, upstream):
    async with gateway() as gw:
        await gw.request("GET", "/v1/x", headers=CREDENTIALS)

    assert without(upstream.request.headers, ADDED_TO_REQUESTS) == CREDENTIALS


@pytest.mark.parametrize(
    ("upstream_table", "target"),
    [
        ({"api_key": "own", "auth": "x-goog-api-key"}, "/v1beta/x?a=1&b=2"),
        ({}, "/v1beta/x?a=1&key=CANARY-5&b=2"),
    ],
    ids=["own", "passed"],
)
async def test_on_gemini_a_key_in_the_query_is_a_credential(
    gateway, upstream, upstream_table, target
):
    gemini = {"dialect": "gemini", "base_url": upstream.url, **upstream_table}
    async with gateway(upstreams={"gemini": gemini}) as gw:
        await gw.request("GET", "/v1beta/x?a=1&key=CANARY-5&b=2")

    assert upstream.request.target == target


async def test_no_credential_is_ever_written_down(gateway, upstream, tmp_path, capfd):
    upstream.answer = Answer(headers=[("Set-Cookie", "session=CANARY-6")])
    secrets = [*CREDENTIALS, ("Cookie", "s=CANARY-7"), ("Proxy-Authorization", "Basic CANARY-8")]
    names = ("key", "api_key", "access_token", "token", "sig", "API_KEY", "to%6ben")
    query = "&".join(f"{name}=CANARY-9" for name in names)
    async with gateway() as gw:
        answer = await gw.request("GET", f"/v1/x?{query}&a=1", headers=secrets)
        call = await gw.call(answer.call_id)
        listed = await gw.request("GET", "/-/calls?expand=all")
        given = await gw.request("GET", f"/-/calls/{answer.call_id}/response")
    written = b"".join(path.read_bytes() for path in tmp_path.glob("gateway.db*"))

    assert answer.header("set-cookie") == "session=CANARY-6"
    assert given.header("set-cookie") is None
    assert b"CANARY" not in written + listed.body + json.dumps(call).encode()
    assert "CANARY" not in "".join(capfd.readouterr())
    assert call["request"]["headers"]["Authorization"] == "[redacted]"
    assert call["request"]["headers"]["Cookie"] == "[redacted]"
    assert call["response"]["headers"]["Set-Cookie"] == "[redacted]"
    assert call["query"].endswith("&a=1")
