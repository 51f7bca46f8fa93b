"""The overview: what it shows, empty and full, and what can be done on it."""

import re

from playwright.async_api import expect

from tests.browser.seeding import UPSTREAMS, chat, completion
from tests.browser.watched import assert_accessible
from tests.steps import Gate, held


async def test_without_calls_it_teaches_how_to_make_one_and_flips_by_itself(
    gateway, upstream, visit
):
    upstream.answer = completion("Hello.")
    async with gateway() as gw:
        page = await visit(gw)
        await expect(page.get_by_role("heading", name="No calls yet")).to_be_visible()
        await expect(page.get_by_label("Example with curl")).to_contain_text(f"curl {gw.url}/v1/")
        await page.get_by_role("tab", name="OpenAI SDK").click()
        await expect(page.get_by_label("Example with OpenAI SDK")).to_contain_text(
            f'base_url="{gw.url}/v1"'
        )
        await assert_accessible(page)
        await gw.chat(json=chat("Hello"))

        await expect(page.get_by_role("heading", name="No calls yet")).to_be_hidden()
        await expect(page.get_by_role("link", name=re.compile("^Calls.*1 in all"))).to_be_visible()


async def test_its_numbers_are_those_of_the_calls(seeded, visit):
    page = await visit(seeded)

    in_flight = re.compile(r"^In flight\s*1\s*of 9 slots")  # 8 and 1 upstream, 1,000 over all
    await expect(page.get_by_role("link", name=in_flight)).to_be_visible()
    await expect(page.get_by_role("link", name=re.compile(r"^Queued\s*1\s*oldest"))).to_be_visible()
    await expect(page.get_by_role("link", name=re.compile("8 in all"))).to_be_visible()
    await expect(page.get_by_role("link", name=re.compile("3 failed"))).to_be_visible()
    strip = page.get_by_role("table", name=re.compile("^Upstreams"))
    await expect(strip.get_by_role("row", name=re.compile("^narrow"))).to_contain_text("Full")
    await expect(strip.get_by_role("meter", name="Slots of narrow in use")).to_have_attribute(
        "aria-valuetext", "1 of 1"
    )
    await assert_accessible(page)


async def test_every_card_leads_to_the_calls_it_counts(seeded, visit):
    page = await visit(seeded)
    await page.get_by_role("link", name=re.compile("^Errors")).click()

    await expect(page).to_have_url(re.compile(r"calls\?q=status%3Afailed%2Cexpired&range=1h"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Calls")


async def test_the_range_is_in_the_address(seeded, visit):
    page = await visit(seeded)
    ranges = page.get_by_role("navigation", name="Time range")
    await ranges.get_by_role("link", name="24h").click()
    await expect(page).to_have_url(re.compile(r"\?range=24h$"))
    await expect(ranges.get_by_role("link", name="24h")).to_have_attribute("aria-current", "true")
    await page.go_back()

    await expect(ranges.get_by_role("link", name="1h")).to_have_attribute("aria-current", "true")


async def test_a_chart_is_also_a_table_and_a_sentence(seeded, visit):
    page = await visit(seeded, "?range=5m")
    figure = page.get_by_role("figure", name="Calls by outcome")
    await expect(figure).to_contain_text("8 calls ended in 5 minutes; 3 of them failed or expired.")
    await figure.get_by_role("button", name="Calls by outcome as a table").click()
    table = figure.get_by_role("table", name="Calls by outcome")
    await expect(table.get_by_role("columnheader")).to_have_text(
        ["Time", "succeeded", "cancelled", "expired", "failed"]
    )
    await assert_accessible(page, "figure")


async def test_arrow_keys_move_through_a_chart_and_enter_opens_the_calls(seeded, visit):
    page = await visit(seeded, "?range=5m")
    chart = page.get_by_role("slider", name=re.compile("^Calls by outcome"))
    await chart.focus()
    await page.keyboard.press("End")
    await page.keyboard.press("ArrowLeft")

    await expect(chart).to_have_attribute("aria-valuetext", re.compile(r"succeeded \d"))
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"calls\?from=\S+&to=\S+"))


async def test_dragging_over_a_chart_zooms_all_of_them(seeded, visit):
    page = await visit(seeded)
    chart = page.get_by_role("slider", name=re.compile("^Duration"))
    await chart.scroll_into_view_if_needed()
    box = await chart.locator(".u-over").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 40, steps=4)
    await page.mouse.up()

    await expect(page).to_have_url(re.compile(r"from=\S+&to=\S+"))
    await expect(page.get_by_role("link", name="Calls of this time")).to_be_visible()
    await page.get_by_role("link", name="Show the whole range").click()
    await expect(page.get_by_role("link", name="Calls of this time")).to_be_hidden()


async def test_what_runs_appears_counts_and_can_be_cancelled(gateway, upstream, visit):
    gate = Gate()
    async with gateway(upstreams=UPSTREAMS) as gw:
        await gw.chat(json=chat("Make the page full"))
        page = await visit(gw)
        table = page.get_by_role("table", name=re.compile("^Calls that are running"))
        await expect(page.get_by_text("Nothing is running.")).to_be_visible()
        upstream.answer = held(gate)
        sent = await gw.send_chat(json=chat("Take your time", model="gpt-5"))
        row = table.get_by_role("row", name=re.compile("gpt-5"))
        await expect(row).to_contain_text(re.compile(r"Running.*[1-9]\.\d s"))
        await row.get_by_role("button", name="Cancel the call to gpt-5").click()
        dialog = page.get_by_role("dialog", name="Cancel this call?")
        await expect(dialog).to_be_visible()
        await assert_accessible(page, "dialog")
        await dialog.get_by_role("button", name="Cancel the call").click()

        answer = await sent.read()
        assert (answer.status, answer.code) == (410, "cancelled")
        await expect(row).to_be_hidden()


async def test_a_paused_upstream_with_waiting_calls_needs_attention(gateway, upstream, visit):
    async with gateway(upstreams=UPSTREAMS) as gw:
        await gw.chat(json=chat("Make the page full"))
        page = await visit(gw)
        await expect(page.get_by_role("heading", name="Upstreams")).to_be_visible()
        await expect(page.get_by_role("heading", name="Needs attention")).to_be_hidden()
        await gw.api("PATCH", "/-/upstreams/narrow", json={"paused": True})
        waiting = await gw.send_chat(json=chat("Wait", model="narrow-1"))

        await expect(page.get_by_text("narrow is paused: 1 wait")).to_be_visible()
        await assert_accessible(page, ".attention")
        await gw.api("PATCH", "/-/upstreams/narrow", json={"paused": False})
        assert (await waiting.read()).status == 200
        await expect(page.get_by_role("heading", name="Needs attention")).to_be_hidden()
