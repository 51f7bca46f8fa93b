"""The upstreams: what each holds, and changing one while it runs."""

from typing import Any

from playwright.async_api import Page, expect

from tests.browser.seeding import chat
from tests.browser.watched import assert_accessible
from tests.steps import Gate, held

ASYNC = [("Prefer", "respond-async")]


async def fill(gateway: Any, upstream: Any, calls: int) -> Gate:
    """Send *calls* that nobody waits for; none is answered before the gate opens."""
    gate = Gate()
    upstream.answer = held(gate)
    for n in range(calls):
        await gateway.request("POST", "/v1/chat/completions", json=chat(f"{n}"), headers=ASYNC)
    await upstream.wait_hits(1)
    return gate


def metric(page: Page, name: str) -> Any:
    """Return the number called *name* of an upstream's page."""
    return page.locator(".metric", has_text=name)


async def test_all_upstreams_are_listed_with_what_they_hold(seeded, visit):
    page = await visit(seeded, "upstreams")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.nth(1)).to_contain_text("narrow")
    await expect(rows.nth(1)).to_contain_text("Full")
    await expect(rows.nth(1).get_by_role("meter")).to_have_attribute("aria-valuetext", "1 of 1")
    await expect(page.locator(".page-subtitle")).to_have_text(
        "2 upstreams · rates of the last 1 hour"
    )
    await assert_accessible(page)

    await rows.nth(0).get_by_role("link", name="openai").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("openai")
    await page.get_by_role("link", name="15m", exact=True).click()
    assert page.url.endswith("upstreams/openai?range=15m")
    await page.go_back()
    await page.go_back()
    await expect(rows).to_have_count(2)


async def test_one_upstream_says_why_calls_wait_and_what_failed(seeded, visit):
    page = await visit(seeded, "upstreams/narrow")
    why = page.locator(".card", has_text="Why is it queued?")
    await expect(why).to_contain_text("waits for a slot")
    await expect(why).to_contain_text("Oldest")
    await expect(page.get_by_role("slider", name="In flight against the limit")).to_be_visible()
    await assert_accessible(page)

    await page.goto(f"{seeded.url}/-/ui/upstreams/openai")
    failures = page.locator(".card", has_text="Recent failures").locator("tbody tr")
    await expect(failures).to_have_count(2)
    await failures.first.get_by_role("link").click()
    await expect(page.get_by_role("tablist", name="Parts of the call")).to_be_visible()


async def test_a_new_limit_says_what_it_does_then_does_it_and_is_undone(gateway, upstream, visit):
    async with gateway(upstreams={"openai": {"max_in_flight": 1}}) as gw:
        gate = await fill(gw, upstream, 5)
        page = await visit(gw, "upstreams/openai")
        await expect(metric(page, "Queued")).to_contain_text("4")
        number = page.get_by_role("spinbutton", name="Slots")
        await expect(page.get_by_role("button", name="Apply")).to_be_disabled()
        await number.fill("3")
        effect = page.locator(".limit-effect")
        await expect(effect).to_have_text("1 → 3 2 queued attempts would start now.")
        assert upstream.in_flight == 1
        await page.get_by_role("button", name="Apply").click()
        await upstream.wait_until(lambda: upstream.in_flight == 3)
        await expect(metric(page, "In flight")).to_contain_text("of 3")
        await expect(page.locator(".limit-card")).to_contain_text("changed until restart or reload")

        await page.get_by_role("button", name="Undo").click()
        await expect(metric(page, "In flight")).to_contain_text("of 1")
        assert (await gw.api("GET", "/-/upstreams/openai"))["max_in_flight"] == 1
        await page.get_by_role("slider", name="Slots, by slider").focus()
        await page.keyboard.press("ArrowRight")
        await expect(effect).to_contain_text("1 → 2 Nothing changes at this moment.")
        gate.open()


async def test_a_paused_upstream_starts_nothing_until_it_is_resumed(gateway, upstream, visit):
    async with gateway() as gw:
        page = await visit(gw, "upstreams/openai")
        await page.get_by_role("button", name="Pause", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Paused")
        sent = await gw.request("POST", "/v1/chat/completions", json=chat("Wait"), headers=ASYNC)
        await expect(page.locator(".why")).to_contain_text("upstream paused")
        assert upstream.hits == 0

        await page.get_by_role("button", name="Resume", exact=True).click()
        assert (await gw.final(sent.call_id))["status"] == "succeeded"
        await expect(page.locator(".why")).to_contain_text("Nothing waits.")


async def test_an_upstream_that_is_not_there_is_said_to_be_missing(seeded, visit):
    page = await visit(seeded, "upstreams/none%23such")
    await expect(page.get_by_role("heading", name="No such upstream")).to_be_visible()
    await expect(page.locator(".empty")).to_contain_text("none#such")
