"""Signing in and out: what a key's scopes let its holder see and do in the dashboard."""

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.seeding import chat, completion
from tests.browser.watched import assert_accessible
from tests.security.keys import REQUIRED, by, make_key, token
from tests.steps import Gate, held

UNAUTHORIZED = "401"  # Chromium says on the console what a page was refused
FORM = re.compile(r"/-/ui/login(\?|$)")


async def sign_in(page: Page, key: str) -> None:
    """Fill the form that *page* shows."""
    await page.get_by_label("Gateway key").fill(key)
    await page.get_by_role("button", name="Sign in").click()


async def signed_in(visit: Any, gw: Any, *scopes: str, path: str = "", **said: Any) -> Any:
    """Return a page at *path*, seen with a new key, and that key."""
    key = await make_key(gw, *scopes, **said)
    page = await visit(gw, path)
    await sign_in(page, key["key"])
    return page, key


async def ask(gw: Any, key: str, text: str) -> str:
    """Make a call; return its id."""
    answer = await gw.chat(json=chat(text), headers=[("Authorization", f"Bearer {key}")])
    assert answer.status == 200, answer.body
    return str(answer.call_id)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
async def test_the_form_lets_a_right_key_in_and_says_of_a_wrong_one_so(gateway, visit, script):
    async with gateway(auth=REQUIRED) as gw:
        page = await visit(gw, "calls?q=status:failed", java_script_enabled=script)
        page.watched.expect_console(UNAUTHORIZED)
        await expect(page).to_have_url(FORM)
        await sign_in(page, "gw_wrong_key")
        await expect(page.get_by_role("alert")).to_have_text("This gateway key is not valid.")
        if script:
            await assert_accessible(page)
        await sign_in(page, token(gw))

        await expect(page).to_have_url(re.compile(r"/-/ui/calls\?q=status:failed$"))
        cookies = await page.context.cookies()
        assert [(each["httpOnly"], each["sameSite"]) for each in cookies] == [(True, "Strict")]
        if script:
            await expect(page.get_by_role("button", name="Signed in: This machine")).to_be_visible()


async def test_a_session_that_is_over_leads_to_the_form_and_back(gateway, visit):
    async with gateway(auth=REQUIRED) as gw:
        page, key = await signed_in(visit, gw, "admin", path="keys?show=all", name="ops")
        page.watched.expect_console(UNAUTHORIZED)
        page.watched.expect_console("ERR_INCOMPLETE_CHUNKED_ENCODING")
        await expect(page.get_by_role("link", name="ops")).to_be_visible()
        await gw.request("DELETE", f"/-/keys/{key['id']}", headers=by(token(gw)))
        await expect(page).to_have_url(FORM)
        await sign_in(page, token(gw))

        await expect(page).to_have_url(re.compile(r"/-/ui/keys\?show=all$"))
        await expect(page.get_by_role("row", name=re.compile("^ops"))).to_contain_text("Revoked")


async def test_signing_out_ends_the_session(gateway, visit):
    async with gateway(auth=REQUIRED) as gw:
        page, _ = await signed_in(visit, gw, "admin", path="settings", name="ops")
        page.watched.expect_console(UNAUTHORIZED)
        await page.get_by_role("button", name="Signed in: ops").click()
        card = page.get_by_role("region", name="Signed in: ops")
        await expect(card).to_contain_text("everything, keys included")
        await assert_accessible(page, "#user")
        async with page.expect_request(lambda request: request.method == "DELETE") as asked:
            await card.get_by_role("button", name="Sign out").click()
        assert (await asked.value).headers["x-gateway-csrf"] == "1"
        await expect(page).to_have_url(FORM)
        await page.goto(f"{gw.url}/-/ui/settings")

        await expect(page).to_have_url(FORM)


async def test_a_key_sees_its_own_calls_only_also_as_they_happen(gateway, upstream, visit):
    upstream.choose = lambda _: completion("Hello.")
    async with gateway(auth=REQUIRED) as gw:
        other = (await make_key(gw))["key"]
        page, key = await signed_in(visit, gw, "relay", "read-own", path="calls", name="reader")
        await expect(page.get_by_role("button", name="Live")).to_be_visible()
        foreign = await ask(gw, other, "A secret of somebody else")
        own = await ask(gw, key["key"], "My own question")

        rows = page.locator("tbody tr")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("My own question")
        await page.goto(f"{gw.url}/-/ui/calls/{own}")
        retry = page.get_by_role("button", name="Retry", exact=True)
        await expect(retry).to_have_attribute("aria-disabled", "true")
        await expect(retry).to_have_attribute("title", "Your key lacks the scope operate-own.")
        await retry.click(force=True)
        await page.keyboard.press("r")
        await assert_accessible(page, ".page-head")

        for name, lacking in (
            ("Overview", "read-all"), ("Upstreams", "read-all"), ("Keys", "admin"),
        ):  # fmt: skip
            await page.get_by_role("link", name=name, exact=True).click()
            await expect(page.locator("main")).to_contain_text(f"needs the scope {lacking}")
        await assert_accessible(page, "main")
        await page.get_by_role("link", name="Settings", exact=True).click()
        await expect(page.get_by_role("heading", name="This browser")).to_be_visible()
        await expect(page.get_by_role("heading", name="Journal")).to_have_count(0)

        page.watched.expect_console("404")
        await page.goto(f"{gw.url}/-/ui/calls/{foreign}")
        await expect(page.locator("main")).not_to_contain_text("A secret of somebody else")
        assert upstream.hits == 2


async def test_who_may_only_look_changes_nothing(gateway, upstream, visit):
    gate = Gate()
    upstream.choose = lambda _: held(gate, completion("Hello."))
    async with gateway(auth=REQUIRED) as gw:
        headers = [("Prefer", "respond-async"), *by(token(gw))]
        await gw.request("POST", "/v1/chat/completions", json=chat("Wait"), headers=headers)
        await upstream.wait_hits(1)
        page, _ = await signed_in(visit, gw, "read-all")
        cancel = page.locator(".running-now").get_by_role("button")
        await expect(cancel).to_have_attribute("title", "Your key lacks the scope operate-all.")
        await page.get_by_role("link", name="Upstreams", exact=True).click()
        pause = page.get_by_role("button", name=re.compile("^Pause"))
        await expect(pause).to_have_attribute("aria-disabled", "true")
        await pause.click(force=True)
        await page.get_by_role("link", name="Settings", exact=True).click()
        for name in ("Prune now…", "Read the file again"):
            button = page.get_by_role("button", name=name)
            await expect(button).to_have_attribute("title", "Your key lacks the scope admin.")
        await expect(page.get_by_role("heading", name="Audit trail")).to_have_count(0)
        gate.open()


async def test_a_page_reached_from_elsewhere_without_a_login_says_so(gateway, visit):
    async with gateway() as gw:
        there = f"http://0.0.0.0:{gw.port}/-/ui/"  # loopback to the kernel, not to the page
        page = await visit(there)
        page.watched.expect_console("Cross-Origin-Opener-Policy header has been ignored")
        await expect(page.get_by_text("whoever reaches it may do everything")).to_be_visible()
        await assert_accessible(page, ".open-to-all")
        here = await visit(gw)
        await expect(here.get_by_role("heading", level=1)).to_be_visible()
        await expect(here.get_by_text("whoever reaches it")).to_have_count(0)
        await expect(here.get_by_role("button", name=re.compile("^Signed in"))).to_have_count(0)
