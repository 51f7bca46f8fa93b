"""The keys: made, used, bounded and revoked in the dashboard; and the trail that this leaves."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.browser.seeding import chat, completion
from tests.browser.watched import assert_accessible
from tests.security.keys import REQUIRED, make_key, token

KEY = re.compile(r"^gw_[a-z0-9]+_[a-z0-9]+$")


def bearer(key: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {key}")]


async def test_without_keys_the_page_teaches_how_to_make_one(gateway, visit):
    async with gateway() as gw:
        page = await visit(gw, "keys")
        await expect(page.get_by_role("heading", name="No keys yet")).to_be_visible()
        await expect(page.get_by_text("gateway keys create ops --scope admin")).to_be_visible()
        await assert_accessible(page)


async def test_a_key_is_made_used_bounded_and_revoked(gateway, upstream, visit):
    upstream.choose = lambda _: completion("Hello.")
    async with gateway() as gw:
        page = await visit(gw, "keys")
        await page.get_by_role("button", name="New key").click()
        form = page.get_by_role("dialog", name="New key")
        await form.get_by_label("Name").fill("search")
        await form.get_by_label("Requests a minute").fill("5")
        await form.get_by_label("Waiting").fill("40")
        await form.get_by_label("Bytes of a body").fill("2000000")
        await form.get_by_label("Only these models").fill("gpt-* o*")
        await form.get_by_label("See everybody's calls").check()
        own = form.get_by_label("See its own calls")
        await expect(own).to_be_disabled()  # included
        await form.get_by_label("See everybody's calls").uncheck()
        await assert_accessible(page, "dialog")
        await form.get_by_role("button", name="Create key").click()

        told = page.get_by_role("dialog", name="The key for search")
        key = (await told.get_by_label("Key", exact=True).inner_text()).strip()
        assert KEY.match(key)
        example = await told.get_by_label("Try it").inner_text()
        assert f"Authorization: Bearer {key}" in example
        assert gw.url in example
        await assert_accessible(page, "dialog")
        await page.keyboard.press("Escape")  # by mistake
        await expect(told.get_by_role("alert")).to_contain_text("not be shown again")
        await told.get_by_role("button", name="I have copied it").click()
        await expect(told).to_have_count(0)
        assert key not in await page.content()

        answer = await gw.chat(json=chat("Hi"), headers=bearer(key))
        refused = await gw.chat(json=chat("Hi", model="claude"), headers=bearer(key))
        assert (answer.status, refused.status) == (200, 403)
        row = page.get_by_role("row", name=re.compile("^search"))
        meter = row.get_by_role("meter", name="requests/min of search")
        await expect(meter).to_have_attribute("aria-valuetext", "2 of 5")
        await expect(row).to_contain_text("40 waiting")
        await expect(row).to_contain_text("2 MB a body")

        await row.get_by_role("button", name="Actions for search").click()
        await page.get_by_role("menuitem", name="Change limits…").click()
        form = page.get_by_role("dialog", name="Change search")
        await expect(form.get_by_label("Requests a minute")).to_have_value("5")
        await form.get_by_label("Requests a minute").fill("7")
        await form.get_by_label("Only these models").fill("")
        await form.get_by_role("button", name="Save").click()
        await expect(meter).to_have_attribute("aria-valuemax", "7")
        await expect(row).to_contain_text("anything")

        await row.get_by_role("button", name="Actions for search").click()
        await page.get_by_role("menuitem", name="Revoke…").click()
        asked = page.get_by_role("dialog", name="Revoke search?")
        yes = asked.get_by_role("button", name="Revoke", exact=True)
        await expect(yes).to_be_disabled()
        await asked.get_by_label("Type search to confirm").fill("search")
        await yes.click()
        await expect(page.get_by_text("Every key here was revoked")).to_be_visible()
        assert (await gw.chat(json=chat("Hi"), headers=bearer(key))).status == 401
        await page.get_by_role("link", name="All 1").click()
        await expect(row).to_contain_text("Revoked")


@pytest.mark.slow
async def test_every_key_has_its_use_its_calls_and_a_page(gateway, upstream, visit):
    upstream.choose = lambda _: completion("Hello.")
    async with gateway() as gw:
        made = await make_key(
            gw, name="batch", tokens_per_day=100, upstreams=["openai"], models=["gpt-*"],
            bodies="metadata", expires_at="2999-01-01T00:00:00Z",
        )  # fmt: skip
        await make_key(gw, "admin", name="ops")
        await gw.chat(json=chat("One"), headers=bearer(made["key"]))
        await gw.chat(json=chat("Another"))
        page = await visit(gw, "keys")
        rows = page.locator("tbody tr")
        await expect(rows).to_have_count(2)
        batch = page.get_by_role("row", name=re.compile("^batch"))
        for text in ("openai", "gpt-*", "metadata only", "until 1 Jan 2999", f"gw_{made['id']}…"):
            await expect(batch).to_contain_text(text)
        await assert_accessible(page)

        await batch.get_by_role("link", name="batch").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("batch")
        tokens = page.get_by_role("meter", name="tokens today of batch")
        await expect(tokens).to_have_attribute("aria-valuetext", "30 of 100")
        await expect(page.locator(".metric", has_text="Calls")).to_contain_text("1 attempts")
        await assert_accessible(page)
        await page.get_by_role("link", name="Its calls").click()
        await expect(page).to_have_url(re.compile(rf"calls\?q=key%3A{made['id']}"))
        await expect(page.locator("tbody tr")).to_have_count(1)

        page.watched.expect_console("404")
        await page.goto(f"{gw.url}/-/ui/keys/nokey")
        await expect(page.get_by_role("heading", name="No such key")).to_be_visible()


async def test_the_trail_tells_who_did_what_page_by_page(gateway, visit):
    async with gateway(auth=REQUIRED) as gw:
        await make_key(gw, name="the first")
        await asyncio.gather(*(make_key(gw, name="another") for _ in range(26)))
        page = await visit(gw, "settings")
        await page.get_by_label("Gateway key").fill(token(gw))
        await page.get_by_role("button", name="Sign in").click()

        rows = page.locator("table.audit tbody tr")
        await expect(rows).to_have_count(25)
        await expect(rows.nth(0)).to_contain_text("signed in")
        await expect(rows.nth(0)).to_contain_text("this machine by the dashboard")
        await expect(rows.nth(1)).to_contain_text("made a key")
        await expect(rows.nth(1)).to_contain_text("another")
        await assert_accessible(page, ".audit")
        await page.get_by_role("link", name="Older").click()
        await expect(rows).to_have_count(3)
        await expect(rows.nth(2)).to_contain_text("the first")
        await page.get_by_role("link", name="Newer").click()
        await expect(rows).to_have_count(25)
        await expect(rows.nth(0)).to_contain_text("signed in")
