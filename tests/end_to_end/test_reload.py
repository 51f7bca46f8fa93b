"""Reload: the new configuration as a whole, or the old one and a clear reason."""

import signal

import pytest

from tests.steps import Gate, held


async def test_a_reload_brings_new_upstreams_and_settings(gateway, upstream):
    async with gateway() as gw:
        gw.configure(upstreams={"openai": {"api_key": "sk-new"}, "second": {}})
        await gw.api("POST", "/-/reload")
        await gw.request("GET", "/v1/x")
        answer = await gw.request("GET", "/second/x")
        names = [one["name"] for one in (await gw.api("GET", "/-/upstreams"))["data"]]

    assert upstream.requests[0].header("authorization") == "Bearer sk-new"
    assert answer.status == 200
    assert names == ["openai", "second"]


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"limits": {"max_inflight": 5}}, "limits.max_inflight"),
        ({"server": {"port": 1}}, "server.port"),
        ({"journal": {"durability": "power-loss"}}, "journal.durability"),
        ({"journal": {"path": "other.db"}}, "journal.path"),
        ({"upstreams": {"openai": {"max_in_flight": "many"}}}, "upstreams.openai.max_in_flight"),
    ],
)
async def test_a_bad_file_changes_nothing_and_says_why(gateway, tables, reason):
    async with gateway(upstreams={"openai": {"max_in_flight": 7}}) as gw:
        gw.configure(**tables)
        answer = await gw.request("POST", "/-/reload")
        openai = await gw.api("GET", "/-/upstreams/openai")
        relayed = await gw.chat()

    assert answer.status == 400
    assert answer.header("content-type") == "application/problem+json"
    assert 'details="bad_request"' in (answer.header("Proxy-Status") or "")
    assert any(reason in each for each in answer.json()["errors"])
    assert openai["max_in_flight"] == 7
    assert relayed.status == 200


async def test_a_file_that_is_no_toml_is_refused(gateway):
    async with gateway() as gw:
        gw.config.write_text("[upstreams")
        answer = await gw.request("POST", "/-/reload")

    assert answer.status == 400
    assert "config.toml" in answer.body.decode()


async def test_a_reload_resets_what_was_patched_but_not_a_pause(gateway):
    async with gateway(upstreams={"openai": {"max_in_flight": 7}}) as gw:
        patch = {"max_in_flight": 3, "paused": True}
        patched = await gw.api("PATCH", "/-/upstreams/openai", json=patch)
        await gw.api("POST", "/-/reload")
        openai = await gw.api("GET", "/-/upstreams/openai")

    assert (patched["max_in_flight"], patched["paused"]) == (3, True)
    assert (openai["max_in_flight"], openai["paused"]) == (7, True)


async def test_a_call_in_flight_survives_a_reload(gateway, upstream):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway(upstreams={"openai": {}, "old": {}}) as gw:
        sent = [await gw.send_chat(), await gw.send_chat(path="/old/x")]
        await upstream.wait_hits(2)
        gw.configure(upstreams={"openai": {"api_key": "sk-new"}})
        await gw.api("POST", "/-/reload")
        gate.open()
        answers = [await exchange.read() for exchange in sent]
        gone = await gw.chat(headers=[("x-gateway-upstream", "old")])

    assert [answer.status for answer in answers] == [200, 200]
    assert (gone.status, gone.code) == (404, "unknown_upstream")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"max_in_flight":0}', b'{"max":1}', b'{"paused":1}']
)
async def test_a_patch_that_makes_no_sense_is_refused(gateway, body):
    async with gateway() as gw:
        answer = await gw.request("PATCH", "/-/upstreams/openai", body=body)
        unknown = await gw.request("PATCH", "/-/upstreams/nobody", body=b"{}")

    assert (answer.status, answer.code) == (400, "bad_request")
    assert (unknown.status, unknown.code) == (404, "not_found")


async def test_a_signal_reloads_too(gateway_process, tmp_path):
    async with gateway_process() as gw:
        config = tmp_path / "config.toml"
        good = config.read_text()
        config.write_text("[nonsense]\n" + good)
        gw.process.send_signal(signal.SIGHUP)
        why = await gw.wait_stderr("nonsense")
        config.write_text(
            good.replace("[upstreams.openai]", "[upstreams.openai]\nmax_in_flight = 9")
        )
        gw.process.send_signal(signal.SIGHUP)
        await gw.wait_stderr("config_reloaded")
        openai = await gw.api("GET", "/-/upstreams/openai")

    assert why
    assert openai["max_in_flight"] == 9
