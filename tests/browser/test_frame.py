"""What stands around every page."""

from tests.browser.watched import assert_accessible


async def test_the_dashboard_opens_at_the_root(gateway, visit):
    async with gateway() as gw:
        page = await visit(f"http://127.0.0.1:{gw.service.port}/")
        await page.get_by_role("heading", name="Overview", level=1).wait_for()

        assert page.url.endswith("/-/ui/")
        assert await page.title() == "Overview - gateway"
        await assert_accessible(page)


async def test_nested(seeded, visit):
    page = await visit(seeded, "calls")
    await page.get_by_role("heading", name="Calls", level=1).wait_for()
