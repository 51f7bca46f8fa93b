"""TLS to upstreams and webhook receivers: whom the process trusts is said by SSL_CERT_FILE."""

import asyncio
import base64

import pytest
import trustme

from tests import certificates
from tests.scripted_upstream import ScriptedUpstream

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
WEBHOOKS = {"secret": SECRET, "allowed_hosts": ["127.0.0.1"]}


@pytest.fixture
def authority():
    """Return a CA that no system knows."""
    return trustme.CA()


@pytest.fixture
async def server(authority):
    """Yield a server whose certificate that CA made: the upstream and the receiver in one."""
    tls = certificates.serving(authority, "127.0.0.1")
    async with ScriptedUpstream(tls=tls) as server:
        yield server


def asking(server):
    return [("x-gateway-webhook", f"{server.url}/hook")]


async def test_a_private_ca_is_trusted_by_the_environment(
    gateway_process, authority, server, tmp_path, monkeypatch
):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    upstreams = {"openai": {"base_url": f"{server.url}/v1"}}
    async with gateway_process(webhooks=WEBHOOKS, upstreams=upstreams) as gw:
        answer = await gw.chat(headers=asking(server))
        await server.wait_hits(2)

    assert (answer.status, answer.header("x-gateway-attempts")) == (200, "1")
    assert [told.target for told in server.requests] == ["/v1/chat/completions", "/hook"]


async def test_without_it_neither_is_and_both_say_so(gateway_process, upstream, server):
    upstreams = {"openai": {"base_url": f"{server.url}/v1"}, "plain": {}}
    upstreams["plain"]["base_url"] = f"{upstream.url}/v1"
    async with gateway_process(webhooks=WEBHOOKS, upstreams=upstreams) as gw:
        refused = await gw.chat()
        answer = await gw.chat(path="/plain/chat/completions", headers=asking(server))
        tries: list[dict[str, object]] = []
        async with asyncio.timeout(10):
            while not tries:
                tries = (await gw.api("GET", f"/-/calls/{answer.call_id}/webhook"))["tries"]

    assert (refused.status, refused.code) == (502, "upstream_unreachable")
    assert b"certificate verify failed" in refused.body
    assert refused.header("x-gateway-attempts") == "1"  # another would fail the same way
    assert refused.header("x-should-retry") == "false"
    assert tries[0]["error"] == (
        "its certificate is not trusted: unable to get local issuer certificate"
    )
    assert server.hits == 0
