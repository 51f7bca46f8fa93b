"""One call: what was sent, what came back, where the time went, and running it again."""

import base64
import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests import http1
from tests.browser.seeding import chat, completion, streamed
from tests.browser.watched import assert_accessible
from tests.steps import Answer, Gate, Request, cut, stream

#: A grey PNG of two pixels.
GREY = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000002000000010800000000d14920560000"
    "000b49444154789c636868000001830101183522150000000049454e44ae426082"
)
TABS = ["Chat", "Request", "Response", "Stream", "Attempts", "Headers", "Raw", "Related"]


def tab(page: Page, name: str) -> Any:
    """Return the tab called *name*, which may end in a count."""
    return page.get_by_role("tab", name=name)


def panel(page: Page) -> Any:
    """Return what the selected tab shows."""
    return page.get_by_role("tabpanel")


async def test_a_streamed_answer_is_read_whole_and_piece_by_piece(seeded, visit):
    page = await visit(seeded, f"calls/{seeded.seeds['streamed']}")
    await expect(panel(page)).to_contain_text("Tell me a story")
    await expect(panel(page)).to_contain_text("Once upon a time there was a gateway.")
    await expect(page.locator(".figures")).to_contain_text("Succeeded")
    await expect(page.locator(".figures")).to_contain_text("kind streamed")
    await assert_accessible(page)

    await tab(page, "Stream").click()
    rows = panel(page).locator("tbody tr")
    await expect(rows.first).to_contain_text('data: {"choices": [{"index": 0')
    await expect(rows.last).to_contain_text("data: [DONE]␊␊")
    await tab(page, "Response").click()
    await expect(panel(page).locator(".code")).to_contain_text("data: [DONE]")
    assert page.url.endswith("#response")


async def test_a_retried_call_shows_every_attempt_and_why_it_paused(seeded, visit):
    page = await visit(seeded, f"calls/{seeded.seeds['retried']}#response")
    lanes = page.locator(".lane")
    await expect(lanes).to_have_count(4)
    await expect(lanes.nth(1)).to_contain_text("Attempt 1503")
    await expect(lanes.nth(2)).to_contain_text("Back-off")
    await expect(lanes.nth(2)).to_contain_text("HTTP 503, computed pause")
    await expect(panel(page).locator(".code")).to_contain_text("At the second try.")

    await page.get_by_role("button", name="1", exact=True).click()
    await expect(panel(page).locator(".code")).to_contain_text('"message": "no"')
    await tab(page, "Attempts").click()
    await expect(panel(page).locator("tbody tr")).to_have_count(2)
    await assert_accessible(page)


async def test_an_answer_that_broke_off_is_not_told_by_its_status(gateway, upstream, visit):
    upstream.script = [cut(completion("Half of this."), 20), completion("All of this.")]
    async with gateway(upstreams={"openai": {"retry": {"max_attempts": 2}}}) as gw:
        answer = await gw.chat(json=chat("Say it all"))
        page = await visit(gw, f"calls/{answer.call_id}")
        lanes = page.locator(".lane")
        await expect(lanes.nth(1)).to_contain_text("Attempt 1broken off")
        await expect(lanes.nth(2)).to_contain_text("broken off, computed pause")
        await expect(lanes.nth(3)).to_contain_text("Attempt 2200")


async def test_arrow_keys_give_exact_times_and_a_table_has_them_all(seeded, visit):
    page = await visit(seeded, f"calls/{seeded.seeds['retried']}")
    line = page.get_by_role("slider", name="Moment")
    await line.focus()
    await page.keyboard.press("End")
    await page.keyboard.press("ArrowLeft")
    await expect(line).to_have_attribute("aria-valuetext", re.compile(r"^[\d,.]+ ms · Attempt 2: "))

    await page.get_by_role("button", name="Show as table").click()
    table = page.get_by_role("region", name="Timeline").get_by_role("row")
    await expect(table.filter(has_text="back-off")).to_contain_text("HTTP 503")


async def test_what_failed_is_readable_like_what_did_not(seeded, visit):
    page = await visit(seeded, f"calls/{seeded.seeds['failed']}")
    await expect(page.locator(".figures")).to_contain_text("FailedHTTP 503")
    await expect(panel(page)).to_contain_text("This cannot work")
    await expect(panel(page).locator(".notice.bad")).to_contain_text("no")

    await page.keyboard.press("3")
    await expect(panel(page).locator(".code")).to_contain_text('"error"')
    await page.goto(page.url.replace(seeded.seeds["failed"], seeded.seeds["expired"]))
    await expect(panel(page)).to_contain_text("It was never sent")


async def test_a_picture_is_shown_from_its_bytes(seeded, visit):
    page = await visit(seeded, f"calls/{seeded.seeds['binary']}#response")
    await expect(panel(page)).to_contain_text("image/png")
    await expect(panel(page).locator(".hex")).to_contain_text("89 50 4e 47 0d 0a 1a 0a")
    await expect(panel(page).locator(".hex")).to_contain_text("PNG")


@pytest.mark.slow
async def test_a_tool_stands_with_its_result_and_a_picture_with_its_question(
    gateway, upstream, visit
):
    upstream.answer = completion("21 °C.")
    image = f"data:image/png;base64,{base64.b64encode(GREY).decode()}"
    question = [
        {"type": "text", "text": "Warm?"},
        {"type": "image_url", "image_url": {"url": image}},
    ]
    weather = {"name": "weather", "arguments": '{"place": 12345678901234567890}'}
    messages = [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": question},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": weather}]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"celsius": 21.0}'},
    ]
    async with gateway() as gw:
        sent = await gw.chat(json={"model": "gpt-4o-mini", "messages": messages})
        page = await visit(gw, f"calls/{sent.call_id}")
        tool = panel(page).locator(".tool-call")
        await expect(tool).to_contain_text("12345678901234567890")
        await expect(tool.locator(".tool-result")).to_contain_text('"celsius": 21.0')
        await expect(panel(page).get_by_role("img", name="Picture: image/png")).to_be_visible()
        assert await panel(page).locator("img").evaluate("image => image.naturalWidth") == 2
        await expect(panel(page).locator("details", has_text="Be terse.")).not_to_have_attribute(
            "open", ""
        )
        await assert_accessible(page)


@pytest.mark.slow
async def test_markdown_is_laid_out_when_asked_for(gateway, upstream, visit):
    text = (
        "# Head\n\n- **bold** and `a<b>`\n\n> quoted [there](https://elsewhere.invalid/)\n\n"
        "![no](https://elsewhere.invalid/x.png) <img src=x onerror=window.hit=1>\n\n"
        "[x](javascript:window.hit=1)\n\n| a | b |\n|---|---|\n| 1 | <i>2</i> |\n"
    )
    upstream.answer = completion(text)
    async with gateway() as gw:
        sent = await gw.chat(json=chat("In Markdown"))
        page = await visit(gw, f"calls/{sent.call_id}")
        said = panel(page).locator(".message.assistant")
        await expect(said).to_contain_text("**bold**")
        await page.get_by_role("button", name="Markdown").click()
        await expect(said.locator("strong")).to_have_text("bold")
        await expect(said.locator("code")).to_have_text("a<b>")
        await expect(said).to_contain_text("<img src=x onerror=window.hit=1>")
        await said.get_by_role("button", name="there").click()
        dialog = page.get_by_role("dialog", name="Open this address?")
        await expect(dialog).to_contain_text("https://elsewhere.invalid/")
        await page.keyboard.press("Escape")
        await assert_accessible(page)
        assert await page.evaluate("window.hit") is None
        assert await said.locator("img, a").count() == 0


@pytest.mark.slow
async def test_every_tab_of_every_kind_of_call_opens(seeded, visit):
    for name in ("rejected", "cancelled", "running"):
        page = await visit(seeded, f"calls/{seeded.seeds[name]}")
        for each in TABS:
            await tab(page, each).click()
            await expect(tab(page, each)).to_have_attribute("aria-selected", "true")
            await expect(panel(page)).not_to_be_empty()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["retried", "failed", "rejected", "expired", "binary", "cancelled", "running", "queued"]
)
async def test_whatever_became_of_a_call_its_page_is_accessible(seeded, visit, name):
    page = await visit(seeded, f"calls/{seeded.seeds[name]}")
    await expect(panel(page)).not_to_be_empty()
    await assert_accessible(page)


async def test_twenty_megabytes_stay_usable_and_exact(gateway, upstream, visit):
    members = [f'{{"id":{10**19 + n},"text":"{"word " * 40}"}}' for n in range(90_000)]
    body = f'{{"data":[{",".join(members)}],"last":"needle"}}'.encode()
    assert len(body) > 20_000_000
    upstream.answer = Answer(body=body)
    async with gateway() as gw:
        call_id = (await gw.chat()).call_id
        await gw.final(call_id)
        page = await visit(gw, f"calls/{call_id}#response")
        await expect(page.locator(".body-head")).to_contain_text(f"{len(body):,} bytes")
        await expect(page.locator(".block").first).to_contain_text('"id": 10000000000000000000,')
        await page.get_by_role("button", name="Load all").click()
        await expect(page.get_by_role("button", name="Load all")).to_have_count(0, timeout=30_000)
        await page.get_by_role("searchbox", name="Find in Response").fill("needle")
        await expect(page.locator(".body-tools")).to_contain_text("1 of 1", timeout=30_000)
        async with page.expect_download() as download:
            await panel(page).get_by_role("link", name="Raw download").click()
        path = await (await download.value).path()
        assert path.read_bytes() == body


async def test_an_answer_is_read_while_it_comes(gateway, upstream, visit):
    words = streamed(["One", " two", " three"])
    gate = Gate()
    upstream.answer = stream(list(words.chunks or []), gate)
    async with gateway() as gw:
        sent = await gw.send_chat(stream=True, json=chat("Count", stream=True))
        gate.release(2)
        await sent.read_until(b"two")
        page = await visit(gw, f"calls/{sent.call_id}")
        said = panel(page).locator(".message.assistant")
        await expect(said).to_contain_text("One two")
        await expect(said).to_contain_text("live")
        await expect(page.get_by_role("button", name="Cancel")).to_be_visible()
        await assert_accessible(page)
        gate.release(1)
        await expect(said).to_contain_text("One two three")
        gate.open()
        await sent.read()
        await expect(page.locator(".figures")).to_contain_text("Succeeded")
        await expect(page.get_by_role("button", name="Retry")).to_be_visible()
        await expect(said).not_to_contain_text("live")


async def test_looking_at_an_answer_does_not_take_it(gateway, upstream, visit):
    """A stream that breaks while somebody looks on is tried again like any other."""
    gate = Gate()

    async def breaks_off(request: Request) -> None:
        await request.write(stream([]).head() + http1.chunk(b"data: {}\n\n"))
        await gate.wait_turn()
        request.connection.reset()

    upstream.script = [breaks_off, completion("At last.")]
    async with gateway() as gw:
        body = chat("Long", stream=True)
        sent = await gw.request(
            "POST", "/v1/chat/completions", json=body, headers=[("Prefer", "respond-async")]
        )
        page = await visit(gw, f"calls/{sent.call_id}#response")
        await expect(panel(page).locator(".code")).to_contain_text("data: {}")
        gate.open()
        await expect(page.locator(".figures")).to_contain_text("Succeeded")
        call = await gw.call(sent.call_id)

    assert [each["outcome"] for each in call["attempts"]] == ["broken", "answered"]
