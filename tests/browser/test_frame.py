"""What stands around every page: rail, top bar, shortcuts, themes, and the address under it all."""

import re
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import expect

from tests.browser.watched import assert_accessible

PHONE = {"width": 390, "height": 844}


async def test_the_root_leads_to_the_dashboard(gateway, visit):
    async with gateway() as gw:
        page = await visit(f"http://127.0.0.1:{gw.service.port}/")

        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        assert page.url.endswith("/-/ui/")


async def test_pages_are_opened_without_loading_anew_and_back_works(seeded, visit):
    page = await visit(seeded)
    await page.evaluate("window.sameDocument = true")
    rail = page.get_by_role("navigation", name="Pages")
    for name in ("Calls", "Upstreams", "Settings"):
        await rail.get_by_role("link", name=name).click()

        await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await expect(page).to_have_title(re.compile(rf"{name} - gateway$"))
        await expect(rail.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
    await page.go_back()

    await expect(page.get_by_role("heading", level=1)).to_have_text("Upstreams")
    assert await page.evaluate("window.sameDocument")


async def test_an_address_that_is_no_page_says_so(seeded, visit):
    page = await visit(seeded, "no/such/page")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Nothing here")
    await page.get_by_role("link", name="To the overview").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


async def test_the_theme_is_kept_and_never_flashes(seeded, visit):
    page = await visit(seeded, "settings")
    await page.get_by_role("button", name="Switch between light and dark").click()
    theme = "getComputedStyle(document.documentElement).colorScheme"

    assert await page.evaluate(theme) == "dark"
    await page.reload(wait_until="commit")
    assert await page.locator("html").get_attribute("data-theme") == "dark"


async def test_keys_move_between_pages_and_open_help(seeded, visit):
    page = await visit(seeded)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    await page.keyboard.press("g")
    await page.keyboard.press("s")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Settings")
    await page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    await expect(dialog).to_be_visible()
    await expect(dialog).to_contain_text("Light or dark")

    await assert_accessible(page, "dialog")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()


async def test_a_key_pressed_while_typing_is_text(seeded, visit):
    page = await visit(seeded)
    await page.keyboard.press("/")
    await page.keyboard.type("t?gs")

    await expect(page.get_by_role("searchbox")).to_have_value("t?gs")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


async def test_single_keys_can_be_switched_off(seeded, visit):
    page = await visit(seeded, "settings")
    await page.get_by_label("Single-key shortcuts").uncheck()
    await page.get_by_role("heading", level=1).click()
    await page.keyboard.press("?")
    await page.keyboard.press("Control+k")

    await expect(page.get_by_role("dialog", name="Commands")).to_be_visible()
    await expect(page.get_by_role("dialog", name="Keyboard")).to_have_count(0)


async def test_the_palette_finds_pages_commands_and_searches(seeded, visit):
    page = await visit(seeded)
    await page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Commands")
    await palette.get_by_role("combobox").fill("narrow")
    await expect(palette.get_by_role("option")).to_have_count(2)
    await assert_accessible(page, "dialog")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(re.compile(r"/-/ui/calls\?q=narrow$"))


async def test_the_first_tab_stop_skips_to_the_content(seeded, visit):
    page = await visit(seeded)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")

    await expect(page.locator("main")).to_be_focused()
    assert page.url.endswith("/-/ui/")


async def test_live_updates_can_be_paused(seeded, visit):
    page = await visit(seeded)
    pill = page.get_by_role("button", name="Live", exact=True)
    await expect(pill).to_be_visible()
    await pill.click()

    await expect(page.get_by_role("button", name="Paused")).to_be_visible()


@pytest.mark.slow
async def test_without_an_event_stream_the_gateway_is_asked(gateway, visit, browser):
    async with gateway() as gw:
        page = await visit(gw, "settings", service_workers="block")
        page.watched.expect_console("events")
        await page.route("**/-/events*", lambda route: route.abort())
        await page.reload()

        await expect(page.get_by_role("button", name="Polling")).to_be_visible(timeout=15_000)


async def test_a_phone_has_its_pages_at_the_bottom(seeded, visit):
    page = await visit(seeded, viewport=PHONE)
    rail = page.get_by_role("navigation", name="Pages")
    await expect(rail.get_by_role("link", name="Calls")).to_be_visible()
    box = await rail.bounding_box()

    assert box is not None
    assert box["y"] + box["height"] == PHONE["height"]


async def test_the_dashboard_works_under_a_prefix(seeded, visit):
    """A proxy in front that strips /x/y: nothing in the dashboard may know its own root."""
    async with prefixed(seeded.url, "/x/y") as url:
        page = await visit(f"{url}/-/ui/", f"calls/{seeded.seeds['plain']}")
        await (
            page.get_by_role("navigation", name="Pages")
            .get_by_role("link", name="Settings")
            .click()
        )

        await expect(page.get_by_role("heading", level=1)).to_have_text("Settings")
        await expect(page.get_by_text(str(seeded.db))).to_be_visible()
        await expect(page.get_by_text(url, exact=True)).to_be_visible()
        await page.reload()
        await expect(page.get_by_text(str(seeded.db))).to_be_visible()
        await page.close()


@asynccontextmanager
async def prefixed(upstream: str, prefix: str):
    """A proxy that serves *upstream* under *prefix* alone."""
    async with ClientSession(auto_decompress=False) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            target = request.raw_path.removeprefix(prefix)
            kept = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "origin")}
            body = await request.read()
            async with session.request(
                request.method, upstream + target, headers=kept, data=body
            ) as answer:
                relayed = web.StreamResponse(status=answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in ("transfer-encoding", "content-length"):
                        relayed.headers.add(name, value)
                await relayed.prepare(request)
                async for piece in answer.content.iter_any():
                    await relayed.write(piece)
                return relayed

        app = web.Application()
        app.router.add_route("*", prefix + "/{rest:.*}", handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
        await runner.cleanup()
