"""Two calls side by side."""

import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser import hostile
from tests.browser.seeding import chat, completion, streamed
from tests.browser.watched import assert_accessible
from tests.steps import Answer

expect.set_options(timeout=10_000)

LINES = [f"Line {number} stays as it is." for number in range(30)]
BIG = "".join(f"{number * 7919 % 100_003} " for number in range(20_000))


@pytest_asyncio.fixture(loop_scope="session")
async def pair(gateway, upstream):
    """Yield a gateway with two calls that differ a little, the second one streamed; and their ids."""
    said = [*LINES[:15], "The quick brown fox jumps.", *LINES[15:]]
    other = [*LINES[:15], "The quick red fox sleeps.", *LINES[15:]]
    upstream.script = [
        completion("\n".join(said)),
        streamed([f"{line}\n" for line in other[:-1]] + other[-1:]),
    ]
    async with gateway() as gw:
        first = await gw.chat(json=chat("Tell it once", temperature=0.2))
        second = await gw.chat(json=chat("Tell it twice", temperature=0.25, stream=True))
        for answer in (first, second):
            await gw.final(answer.call_id)
        yield gw, first.call_id, second.call_id


async def test_two_answers_are_compared_word_by_word(pair, visit):
    gw, a, b = pair
    page = await visit(gw, f"compare?a={a}&b={b}")
    await expect(page.locator(".diff del")).to_have_text(["brown", "jumps"])
    await expect(page.locator(".diff ins")).to_have_text(["red", "sleeps"])
    await expect(page.get_by_text("1 difference", exact=True)).to_be_visible()
    await assert_accessible(page)

    await page.get_by_role("button", name="12 unchanged lines").first.click()
    await expect(page.get_by_text("Line 3 stays as it is.").first).to_be_visible()
    await page.keyboard.press("n")
    await expect(page.locator(".is-here")).to_contain_text("brown")
    await page.get_by_role("button", name="Inline").click()
    await expect(page.locator(".diff.inline .is-b")).to_have_text(re.compile("red fox sleeps"))
    tokens = page.locator(".compare-metrics tr", has_text="Tokens out")
    await expect(tokens.locator("td")).to_have_text(["9", "31", re.compile(r"\+22")])


async def test_requests_are_compared_path_by_path_and_back_works(pair, visit):
    gw, a, b = pair
    page = await visit(gw, f"compare?a={a}&b={b}")
    await page.get_by_role("button", name="Request").click()
    await page.get_by_role("button", name="JSON").click()
    rows = page.locator(".diff.paths tbody tr")
    await expect(rows.locator("th")).to_have_text(["messages[0].content", "temperature", "stream"])
    await expect(rows.nth(1).locator("td")).to_have_text(["0.2", "0.25"])
    assert page.url.endswith("&part=request&as=json")

    await page.get_by_role("button", name="Swap").click()
    await expect(rows.nth(1).locator("td")).to_have_text(["0.25", "0.2"])
    await page.go_back()
    await expect(page.locator(".diff.split .is-a").first).to_be_visible()


async def test_numbers_are_compared_as_they_were_written(gateway, upstream, visit):
    upstream.script = [
        Answer(body=b'{"id": 9007199254740993, "same": [1, 2]}'),
        Answer(body=b'{"id": 9007199254740992, "same": [1, 2], "more": null}'),
    ]
    async with gateway() as gw:
        a, b = [(await gw.chat(json=chat("count"))).call_id for _ in range(2)]
        page = await visit(gw, f"compare?a={a}&b={b}&as=json")
        cells = page.locator(".diff.paths tbody :is(th, td)")

        await expect(cells.nth(0)).to_have_text("id")
        await expect(cells.nth(1)).to_have_text("9007199254740993")
        await expect(cells.nth(2)).to_have_text("9007199254740992")
        await expect(cells.nth(3)).to_have_text("more")


async def test_what_cannot_be_compared_says_so(seeded, visit):
    seeds = seeded.seeds
    page = await visit(seeded, f"compare?a={seeds['plain']}&b={seeds['cancelled']}")
    await expect(page.locator(".empty")).to_contain_text("B has no answer.")
    await page.goto(page.url.replace(seeds["cancelled"], seeds["binary"]))
    await expect(page.locator(".empty")).to_contain_text("B is not text.")


@pytest.mark.slow
async def test_what_is_too_different_is_offered_for_download(gateway, upstream, visit):
    words = BIG.split(" ")
    upstream.script = [
        Answer(body="\n".join(words).encode()),
        Answer(body="\n".join(f"{word}!" for word in reversed(words)).encode()),
    ]
    async with gateway() as gw:
        a, b = [(await gw.chat(json=chat("much"))).call_id for _ in range(2)]
        page = await visit(gw, f"compare?a={a}&b={b}")

        await page.get_by_role("heading", name="too large and too different").wait_for()
        link = page.get_by_role("link", name="Download B")
        assert f"/-/calls/{b}/response" in str(await link.get_attribute("href"))


async def test_without_two_calls_one_is_asked_for_them(pair, visit):
    gw, a, b = pair
    page = await visit(gw, "compare")
    await page.get_by_role("heading", name="Choose two calls").wait_for()
    await assert_accessible(page)
    await page.get_by_role("button", name="Two newest calls").click()

    await expect(page).to_have_url(re.compile(f"compare\\?a={a}&b={b}$"))


async def test_hostile_texts_are_compared_as_texts(gateway, upstream, visit):
    upstream.script = [completion("\n".join(hostile.MARKUP)), completion(hostile.ALL)]
    dialogs = []
    async with gateway() as gw:
        said = [chat(f"{number} {hostile.ALL}", model=hostile.MARKUP[1]) for number in range(2)]
        a, b = [(await gw.chat(json=each)).call_id for each in said]
        page = await visit(gw, f"compare?a={a}&b={b}")
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await expect(page.locator(".diff").first).to_contain_text("window.hit=1")
        for query in ("&part=request", "&part=request&as=json", "&as=json"):
            await page.goto(page.url.partition("&part")[0].partition("&as")[0] + query)
            await page.locator(".diff").first.wait_for()

        assert dialogs == []
        assert await page.evaluate("window.hit") is None
        assert await page.locator("#app :is(iframe, script, img)").count() == 0
