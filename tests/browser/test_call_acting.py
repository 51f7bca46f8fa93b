"""Acting on one call: cancel, replay, retry, delete; and that nothing in it acts by itself."""

import json

from playwright.async_api import expect

from tests.browser import hostile
from tests.browser.seeding import chat, completion
from tests.browser.test_call import TABS, panel, tab
from tests.browser.watched import assert_accessible
from tests.steps import SSE, Answer, Gate, held, stream


async def test_a_running_call_is_cancelled_once_confirmed(gateway, upstream, visit):
    gate = Gate()
    upstream.answer = held(gate)
    async with gateway() as gw:
        sent = await gw.send_chat()
        await upstream.wait_hits(1)
        (call,) = await gw.calls()
        page = await visit(gw, f"calls/{call['id']}")
        await page.get_by_role("button", name="Cancel", exact=True).click()
        await page.get_by_role("button", name="Cancel the call").click()
        await expect(page.locator(".figures")).to_contain_text("Cancelled")
        await sent.read()
        gate.open()


async def test_a_replay_goes_elsewhere_changed_and_is_compared(gateway, upstream, visit):
    async with gateway(upstreams={"openai": {}, "other": {}}) as gw:
        upstream.answer = completion("Hello.")
        first = await gw.chat(json=chat("Hi", temperature=1))
        await gw.final(first.call_id)
        page = await visit(gw, f"calls/{first.call_id}")
        await page.get_by_role("button", name="Replay…").click()
        dialog = page.get_by_role("dialog", name="Replay with changes")
        await assert_accessible(page)
        await dialog.get_by_label("Upstream").select_option("other")
        await dialog.get_by_label("Model").fill("gpt-5")
        patch = dialog.get_by_label("Change of the body")
        await patch.fill("{temperature")
        await expect(dialog.get_by_role("button", name="Replay")).to_be_disabled()
        await patch.fill('{"temperature": null, "seed": 7}')
        await dialog.get_by_role("button", name="Replay changed").click()
        await page.wait_for_url("**/compare?*")
        (replay,) = [call for call in await gw.calls() if call["replay_of"] == first.call_id]
        assert f"a={first.call_id}&b={replay['id']}" in page.url
        await gw.final(replay["id"])
        assert replay["upstream"] == "other"
        assert upstream.requests[-1].json() == {**chat("Hi"), "model": "gpt-5", "seed": 7}

        await page.goto(f"{gw.url}/-/ui/calls/{first.call_id}#related")
        await expect(panel(page)).to_contain_text(replay["id"])


async def test_a_retry_that_may_do_something_twice_asks_first(gateway, upstream, visit):
    async with gateway() as gw:
        first = await gw.request("POST", "/v1/files", body=b"x")
        await gw.final(first.call_id)
        page = await visit(gw, f"calls/{first.call_id}")
        await page.get_by_role("button", name="Retry").click()
        await expect(page.get_by_role("dialog")).to_contain_text("it may do so twice")
        assert upstream.hits == 1
        await page.get_by_role("button", name="Send it again").click()
        await page.wait_for_url(lambda url: first.call_id not in url)
        await upstream.wait_hits(2)
        assert upstream.requests[1].body == b"x"


async def test_deleting_asks_and_leaves_nothing(gateway, upstream, visit):
    async with gateway() as gw:
        first = await gw.chat()
        await gw.final(first.call_id)
        page = await visit(gw, f"calls/{first.call_id}")
        page.watched.expect_console("404")
        await page.get_by_role("button", name="More").click()
        await page.get_by_role("menuitem", name="Delete").click()
        await page.get_by_role("button", name="Delete the call").click()
        await page.wait_for_url("**/-/ui/calls")
        assert await gw.calls() == []
        await page.goto(f"{gw.url}/-/ui/calls/{first.call_id}")
        await expect(page.get_by_role("heading", name="No such call")).to_be_visible()


async def test_nothing_that_was_recorded_is_ever_more_than_text(gateway, upstream, visit):
    evil, plain = hostile.ALL, hostile.header(hostile.ALL)
    elsewhere = {"type": "image_url", "image_url": {"url": "https://elsewhere.invalid/x.png"}}
    script = {"type": "image_url", "image_url": {"url": "javascript:window.hit=1"}}
    function = {"name": evil, "description": evil, "arguments": evil}
    message = {
        "role": evil,
        "content": evil,
        "refusal": evil,
        "reasoning": evil,
        "tool_calls": [{"id": evil, "function": function}],
        "images": [elsewhere],
    }
    said = {"choices": [{"finish_reason": evil, "message": message}]}
    failed = {"error": {"type": evil, "message": evil}}
    content = [{"type": evil, "text": evil}, {"type": "text", "text": evil}, script]
    asked = {
        "model": evil,
        evil: evil,
        "tools": [{"type": evil, "function": function}],
        "messages": [
            {"role": evil, "content": content},
            {"role": "tool", "tool_call_id": evil, "content": evil},
        ],
    }
    event = f"data: {json.dumps({'choices': [{'delta': {'content': evil}}]})}\n\n".encode()
    told = [
        ("Content-Type", f"text/html; x={plain}"),
        ("x-request-id", plain),
        ("x-ratelimit-remaining-requests", plain),
    ]
    svg = [("Content-Type", "image/svg+xml")]
    async with gateway() as gw:
        for answer in (
            Answer(headers=told, body=json.dumps(said).encode()),
            Answer(400, headers=told, body=json.dumps(failed).encode()),
            stream([event, event], headers=SSE),
            Answer(headers=svg, body=hostile.MARKUP[2].encode()),
        ):
            upstream.answer = answer
            tags = [("x-gateway-tags", f"a={plain}"[:60]), ("X-Evil", plain)]
            target = "/v1/chat/completions?q=%3Cscript%3E"
            sent = await gw.chat(json=asked, path=target, headers=tags)
            await gw.final(sent.call_id)
            page = await visit(gw, f"calls/{sent.call_id}")
            for each in TABS:
                await tab(page, each).click()
                await expect(panel(page)).not_to_be_empty()
                for fold in await panel(page).locator("summary").all():
                    await fold.click()

            assert await page.evaluate("window.hit") is None
            assert await page.locator("main :is(script, iframe, link, object)").count() == 0
