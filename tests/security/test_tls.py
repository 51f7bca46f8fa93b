"""TLS of the gateway's own: S23, S41."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from gateway.config import load
from gateway.errors import ConfigError
from gateway.journal.lock import read_lock
from gateway.service import open_service
from tests import configuration, http1
from tests.certificates import trusting
from tests.gateway_process import run


def write_pair(authority: trustme.CA, directory: Path) -> dict[str, str]:
    """Write a certificate and its key; [server] as it then reads."""
    made = authority.issue_cert("127.0.0.1", "gw.example")
    chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
    (directory / "cert.pem").write_bytes(chain)
    (directory / "key.pem").write_bytes(made.private_key_pem.bytes())
    return {"tls_certificate": "cert.pem", "tls_key": "key.pem"}


async def get(
    port: int, target: str, trust: ssl.SSLContext, *headers: str
) -> tuple[str, http1.Headers, bytes]:
    """Return start line, fields and the certificate that was shown (DER)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        lines = [f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        line, fields = await http1.read_head(reader)
        return line, fields, shown
    finally:
        writer.close()


async def test_tls_is_spoken_and_the_certificate_changes_while_it_serves(gateway, tmp_path):
    first, second = trustme.CA(), trustme.CA()
    server = write_pair(first, tmp_path)
    async with gateway(server=server) as gw:
        assert gw.service.url == f"https://127.0.0.1:{gw.port}"
        line, _, shown = await get(gw.port, "/-/healthy", trusting(first))
        write_pair(second, tmp_path)
        await gw.service.reload()
        _, _, later = await get(gw.port, "/-/healthy", trusting(second))
        (tmp_path / "key.pem").write_text("no key")
        with pytest.raises(ConfigError, match="tls_key"):
            await gw.service.reload()
        _, _, kept = await get(gw.port, "/-/healthy", trusting(second))
        holder = read_lock(gw.db)

    assert line.startswith("HTTP/1.1 200")
    assert shown != later == kept
    assert holder is not None
    assert (holder.url or "").startswith("https://")


async def test_nothing_older_than_tls_1_2_and_no_plain_text_is_answered(gateway, tmp_path):
    authority = trustme.CA()
    old = trusting(authority)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with gateway(server=write_pair(authority, tmp_path)) as gw:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await get(gw.port, "/-/healthy", old)
        reader, writer = await asyncio.open_connection("127.0.0.1", gw.port)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await reader.read()
        writer.close()

    assert b"HTTP/1.1 200" not in answer


async def test_a_handshake_that_stalls_is_hung_up_on_while_others_are_served(
    gateway, tmp_path, monkeypatch
):
    monkeypatch.setattr("gateway.web.connection.HANDSHAKE_S", 0.3)
    authority = trustme.CA()
    async with gateway(server=write_pair(authority, tmp_path)) as gw:
        silent, writer = await asyncio.open_connection("127.0.0.1", gw.port)
        line, _, _ = await get(gw.port, "/-/healthy", trusting(authority))
        async with asyncio.timeout(10):
            assert await silent.read() == b""
        writer.close()

    assert line.startswith("HTTP/1.1 200")


async def test_under_tls_the_cookie_is_the_hosts_alone(gateway, tmp_path):
    authority = trustme.CA()
    trust = trusting(authority)
    async with gateway(server=write_pair(authority, tmp_path), auth={"required": True}) as gw:
        reader, writer = await asyncio.open_connection("127.0.0.1", gw.port, ssl=trust)
        body = f"key={gw.service.token}".encode()
        head = (
            f"POST /-/ui/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        _, fields = await http1.read_head(reader)
        writer.close()
        cookie = http1.value(fields, "set-cookie") or ""
        name, _, value = cookie.partition(";")[0].partition("=")
        line, _, _ = await get(gw.port, "/-/session", trust, f"Cookie: {name}={value}")
        plain, _, _ = await get(gw.port, "/-/session", trust, f"Cookie: gw={value}")

    assert name == "__Host-gw"
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert line.startswith("HTTP/1.1 200")
    assert plain.startswith("HTTP/1.1 401")


async def test_commands_know_the_gateways_certificate_by_the_lock_file(gateway_process, tmp_path):
    authority, other = trustme.CA(), trustme.CA()
    async with gateway_process(server=write_pair(authority, tmp_path)) as process:
        at = ("--config", str(tmp_path / "config.toml"))
        code, out, err = await run("keys", "create", "app", "--json", *at)
        url = process.banner.rpartition(" ")[2].strip()
        untrusted = await run("calls", "list", "--url", url)
        write_pair(other, tmp_path)
        process.process.send_signal(1)
        await process.wait_stderr("config_reloaded")
        after = await run("calls", "list", *at)

    assert url.startswith("https://127.0.0.1:")
    assert (code, err) == (0, "")
    assert '"key": "gw_' in out
    assert untrusted[0] == 4
    assert after[0] == 0


@pytest.mark.parametrize("spoilt", ["cert.pem", "key.pem"])
async def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path, spoilt):
    server = write_pair(trustme.CA(), tmp_path)
    (tmp_path / spoilt).write_text("nothing")
    path = configuration.write(tmp_path / "config.toml", "http://127.0.0.1:9/v1", server=server)

    with pytest.raises(ConfigError, match="tls_certificate"):
        async with open_service(load(path, {})):
            pass


async def test_tls_does_not_begin_by_a_reload(gateway, tmp_path):
    async with gateway() as gw:
        gw.configure(server={"port": 0, **write_pair(trustme.CA(), tmp_path)})
        with pytest.raises(ConfigError, match="restart"):
            await gw.service.reload()
