"""Webhooks through the whole gateway: asked for by a header, told, shown, told again."""

import asyncio
import base64

import pytest
from standardwebhooks import Webhook

from tests import gateway_process as processes
from tests.scripted_upstream import ScriptedUpstream
from tests.steps import Gate, hang, held

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
WEBHOOKS = {"secret": SECRET, "allowed_hosts": ["127.0.0.1"]}
KEYS = {"url", "status", "attempts", "next_at", "last_status"}


@pytest.fixture
async def receiver():
    """Yield a server that is told."""
    async with ScriptedUpstream() as receiver:
        yield receiver


def asking(receiver, path="/hook"):
    return [("x-gateway-webhook", f"{receiver.url}{path}")]


async def told(gateway, call_id, attempts=1):
    """Return the call once so many tries are recorded."""
    async with asyncio.timeout(10):
        while True:
            call = await gateway.call(call_id)
            if call["webhook"]["attempts"] == attempts and call["webhook"]["status"] != "pending":
                return call
            await asyncio.sleep(0.002)


async def test_a_final_call_is_told_and_shows_it(gateway, upstream, receiver):
    async with gateway(webhooks=WEBHOOKS) as gw:
        answer = await gw.chat(headers=asking(receiver))
        call = await told(gw, answer.call_id)
        (listed,) = await gw.calls()
        shown = await gw.api("GET", f"/-/calls/{answer.call_id}/webhook")

    sent = receiver.requests[0]
    message = Webhook(SECRET).verify(sent.body, dict(sent.headers))
    assert (message["type"], message["data"]["id"]) == ("call.succeeded", answer.call_id)
    assert message["data"].keys() == listed.keys() - {"preview"}  # which is made later
    assert call["webhook"].keys() == KEYS
    assert call["webhook"] == listed["webhook"]
    assert call["webhook"] | {"next_at": None} == {
        "url": f"{receiver.url}/hook",
        "status": "delivered",
        "attempts": 1,
        "next_at": None,
        "last_status": 200,
    }
    assert shown["id"] == sent.header("webhook-id")
    assert [each["status"] for each in shown["tries"]] == [200]
    assert "x-gateway-webhook" not in {name.lower() for name, _ in upstream.requests[0].headers}


async def test_failed_and_cancelled_calls_are_told_as_such(gateway, upstream, receiver):
    upstream.script = [400, hang()]
    async with gateway(webhooks=WEBHOOKS) as gw:
        await gw.chat(headers=asking(receiver))
        await receiver.wait_hits(1)
        later = await gw.chat(headers=[*asking(receiver), ("Prefer", "respond-async")])
        await upstream.wait_hits(2)
        await gw.api("POST", f"/-/calls/{later.call_id}/cancel")
        await receiver.wait_hits(2)

    types = [request.json()["type"] for request in receiver.requests]
    assert types == ["call.failed", "call.cancelled"]


@pytest.mark.parametrize(
    ("webhooks", "url"),
    [
        ({}, "https://hooks.example.com/"),
        ({"secrets": {"hooks.example.com": SECRET}}, "https://other.example.com/"),
        (WEBHOOKS, "http://hooks.example.com/"),
        (WEBHOOKS, "https://hooks.example.com:8080/"),
        (WEBHOOKS, "https://a:b@hooks.example.com/"),
        (WEBHOOKS, "https://10.0.0.1/"),
        (WEBHOOKS, "https://2130706433/"),
        (WEBHOOKS, "https://localhost/"),
    ],
)
async def test_a_webhook_that_cannot_be_told_is_refused_at_once(gateway, upstream, webhooks, url):
    async with gateway(webhooks=webhooks) as gw:
        answer = await gw.chat(headers=[("x-gateway-webhook", url)])

        assert (answer.status, answer.code) == (400, "bad_request")
        assert b"x-gateway-webhook" in answer.body
        assert answer.header("x-gateway-call-id") is None
        assert upstream.hits == 0


async def test_a_host_with_a_secret_of_its_own_needs_no_other(gateway, upstream, receiver):
    own = {"secrets": {"127.0.0.1": SECRET}, "allowed_hosts": ["127.0.0.1"]}
    async with gateway(webhooks=own) as gw:
        answer = await gw.chat(headers=asking(receiver))
        await told(gw, answer.call_id)
        gw.configure(webhooks={"allowed_hosts": ["127.0.0.1"]})
        await gw.service.reload()
        refused = await gw.chat(headers=asking(receiver))

    sent = receiver.requests[0]
    assert Webhook(SECRET).verify(sent.body, dict(sent.headers))
    assert refused.status == 400


async def test_a_dead_receiver_delays_no_call(gateway, upstream, receiver):
    receiver.answer = hang()
    async with gateway(webhooks=WEBHOOKS) as gw:
        answers = [await gw.chat(headers=asking(receiver)) for _ in range(20)]
        calls = await gw.calls()

    assert [answer.status for answer in answers] == [200] * 20
    assert {call["webhook"]["status"] for call in calls} == {"pending"}


async def test_a_webhook_is_told_again_as_the_same_message(gateway, upstream, receiver):
    receiver.script = [410]
    async with gateway(webhooks=WEBHOOKS) as gw:
        answer = await gw.chat(headers=asking(receiver))
        first = await told(gw, answer.call_id)
        again = await gw.request("POST", f"/-/calls/{answer.call_id}/webhook")
        second = await told(gw, answer.call_id, attempts=2)

    assert (first["webhook"]["status"], first["webhook"]["last_status"]) == ("failed", 410)
    assert again.status == 202
    assert again.json()["id"] == answer.call_id
    assert (second["webhook"]["status"], second["webhook"]["last_status"]) == ("delivered", 200)
    assert len({request.header("webhook-id") for request in receiver.requests}) == 1


async def test_what_is_not_there_or_not_final_is_not_told_again(gateway, upstream, receiver):
    gate = Gate()
    async with gateway(webhooks=WEBHOOKS) as gw:
        plain = await gw.chat()
        upstream.answer = held(gate)
        headers = [*asking(receiver), ("Prefer", "respond-async")]
        later = await gw.chat(headers=headers)
        for call_id, status, code in (
            ("call_0", 404, "not_found"),
            (plain.call_id, 404, "not_found"),
            (later.call_id, 409, "conflict"),
        ):
            answer = await gw.request("POST", f"/-/calls/{call_id}/webhook")
            assert (answer.status, answer.code) == (status, code)
        gate.open()
        await told(gw, later.call_id)


async def test_a_replay_tells_the_same_webhook(gateway, upstream, receiver):
    async with gateway(webhooks=WEBHOOKS) as gw:
        answer = await gw.chat(headers=asking(receiver))
        await told(gw, answer.call_id)
        replay = await gw.api("POST", f"/-/calls/{answer.call_id}/replay", expect=202)
        await told(gw, replay["id"])

    ids = [request.json()["data"]["id"] for request in receiver.requests]
    assert ids == [answer.call_id, replay["id"]]


async def test_kill_9_in_the_middle_of_a_delivery_loses_none(gateway_process, receiver):
    receiver.script = [hang()]
    async with gateway_process(webhooks=WEBHOOKS) as gw:
        answer = await gw.chat(headers=asking(receiver))
        await receiver.wait_hits(1)
        gw.kill()
        await gw.wait()
    async with gateway_process(webhooks=WEBHOOKS) as gw:
        call = await told(gw, answer.call_id)

    assert call["webhook"]["status"] == "delivered"
    first, second = receiver.requests
    assert first.header("webhook-id") == second.header("webhook-id")


async def test_a_call_that_a_crash_ended_is_told_by_the_next_start(
    gateway_process, upstream, receiver
):
    upstream.script = [hang()]
    async with gateway_process(webhooks=WEBHOOKS) as gw:
        await gw.send_chat(headers=asking(receiver))
        await upstream.wait_hits(1)
        gw.kill()
        await gw.wait()
    async with gateway_process(webhooks=WEBHOOKS):
        await receiver.wait_hits(1)

    message = receiver.requests[0].json()
    assert message["type"] == "call.failed"
    assert message["data"]["error"]["code"] == "interrupted"


async def test_the_command_tells_it_again(gateway, upstream, receiver):
    async with gateway(webhooks=WEBHOOKS) as gw:
        answer = await gw.chat(headers=asking(receiver))
        plain = await gw.chat()
        await told(gw, answer.call_id)
        command = ("calls", "redeliver", "--config", str(gw.config))
        code, out, _ = await processes.run(*command, answer.call_id)
        await receiver.wait_hits(2)
        missing, _, err = await processes.run(*command, plain.call_id)

    assert (code, out) == (0, f"{answer.call_id} pending\n")
    assert missing == 3
    assert "webhook" in err
