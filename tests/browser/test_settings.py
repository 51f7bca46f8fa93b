"""Settings: what is in force, how the journal is, and what belongs to the browser alone."""

import re

from playwright.async_api import expect

from tests.browser.watched import assert_accessible


async def test_every_setting_has_its_value_and_source(seeded, visit):
    page = await visit(seeded, "settings")
    server = page.get_by_role("table", name="Settings of server")
    await expect(server.get_by_role("row", name=re.compile("^drain_s"))).to_contain_text("file")
    await expect(server.get_by_role("row", name=re.compile("^max_body_bytes"))).to_be_hidden()
    await page.get_by_role("link", name="All", exact=True).click()

    await expect(page).to_have_url(re.compile(r"settings\?config=all$"))
    row = server.get_by_role("row", name=re.compile("^max_body_bytes"))
    await expect(row).to_contain_text("33554432")
    await expect(row).to_contain_text("default")
    await assert_accessible(page)


async def test_the_journal_tells_its_size_and_what_it_keeps(seeded, visit):
    page = await visit(seeded, "settings")

    await expect(page.get_by_text(str(seeded.db))).to_be_visible()
    await expect(page.get_by_text("bodies 30 days, calls 365 days")).to_be_visible()
    await expect(page.get_by_text(re.compile(r"^\d+, 2 of them open$"))).to_be_visible()


async def test_pruning_asks_first_and_says_what_it_did(gateway, visit):
    async with gateway() as gw:
        page = await visit(gw, "settings")
        await page.get_by_role("button", name="Prune now…").click()
        dialog = page.get_by_role("dialog", name=re.compile("^Remove what is older"))
        await expect(dialog).to_contain_text("30 days")
        await assert_accessible(page, "dialog")
        await dialog.get_by_role("button", name="Prune", exact=True).click()

        await expect(page.get_by_text("Removed 0 calls and the bodies of 0")).to_be_visible()


async def test_a_file_that_is_wrong_is_refused_with_every_reason(gateway, visit):
    async with gateway() as gw:
        page = await visit(gw, "settings")
        gw.configure(limits={"max_in_flight": 0, "colour": "red"})
        page.watched.expect_console("reload")
        await page.get_by_role("button", name="Read the file again").click()

        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("limits.max_in_flight")
        await expect(alert).to_contain_text("limits.colour")
        await assert_accessible(page, "[role=alert]")
        gw.configure(limits={"max_in_flight": 7})
        await page.get_by_role("button", name="Read the file again").click()
        await expect(alert).to_be_hidden()
        await expect(
            page.get_by_role("table", name="Settings of limits").get_by_role("row")
        ).to_contain_text(["Key", "7"])


async def test_what_a_person_likes_is_kept_in_the_browser(seeded, visit):
    page = await visit(seeded, "settings")
    await page.get_by_role("group", name="Theme").get_by_role("button", name="Dark").click()
    await page.get_by_role("group", name="Rows").get_by_role("button", name="Comfortable").click()
    await page.reload()

    root = page.locator("html")
    await expect(root).to_have_attribute("data-theme", "dark")
    await expect(root).to_have_attribute("data-density", "comfortable")
