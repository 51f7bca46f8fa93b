"""The list of calls: finding them, watching them, and acting on many."""

import json
import re
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser import hostile
from tests.browser.seeding import chat, completion
from tests.browser.watched import assert_accessible
from tests.steps import Answer, Gate, held

NARROW = {"narrow": {"models": ["narrow-*"], "max_in_flight": 1}, "openai": {}}
MANY = 104

expect.set_options(timeout=10_000)


def row(page: Page, call_id: str) -> Any:
    """Return the row of that call."""
    return page.locator(f'tr[data-id="{call_id}"]')


async def shown(page: Page) -> list[str]:
    """Return the ids of the rows, from the top."""
    ids: list[str] = await page.locator("tr[data-id]").evaluate_all(
        "rows => rows.map(row => row.dataset.id)"
    )
    return ids


async def ask(page: Page, query: str) -> None:
    """Type *query* into the box and press Enter."""
    await page.get_by_role("combobox", name="Search calls").fill(query)
    await page.keyboard.press("Escape")
    await page.keyboard.press("Enter")


async def test_an_empty_journal_shows_how_to_begin_and_fills_by_itself(gateway, upstream, visit):
    upstream.script = [completion("Hello.")]
    async with gateway() as gw:
        page = await visit(gw, "calls")
        await page.get_by_role("heading", name="No calls yet").wait_for()
        await expect(page.locator(".code-block")).to_contain_text(f"curl {gw.url}/v1/chat/")
        await assert_accessible(page)

        answer = await gw.chat(json=chat("Say hello"))
        await expect(row(page, answer.call_id)).to_contain_text("Succeeded")
        await expect(page.locator(".page-subtitle")).to_have_text("1 call")


async def test_what_was_said_appears_though_it_is_read_after_the_last_event(
    gateway, upstream, visit
):
    upstream.script = [completion("Paris, of course.")]
    async with gateway() as gw:
        page = await visit(gw, "calls")
        await page.get_by_role("heading", name="No calls yet").wait_for()
        answer = await gw.chat(json=chat("And the capital?"))
        await expect(row(page, answer.call_id)).to_contain_text("And the capital?")
        await expect(row(page, answer.call_id)).to_contain_text("Paris, of course.")


async def test_every_kind_of_call_is_listed_with_what_became_of_it(seeded, visit):
    page = await visit(seeded, "calls")
    seeds = seeded.seeds
    for name, words in {
        "plain": [
            "Succeeded",
            "gpt-4o-mini",
            "openai",
            "21",
            "9",
            "What is the capital of France?",
        ],
        "failed": ["Failed", "HTTP 503"],
        "rejected": ["Failed", "HTTP 400"],
        "expired": ["Expired", "narrow"],
        "cancelled": ["Cancelled"],
        "running": ["Running", "waiting"],
        "queued": ["Queued", "for a slot"],
    }.items():
        for word in words:
            await expect(row(page, seeds[name])).to_contain_text(word)
    await expect(page.locator(".page-subtitle")).to_have_text(f"{len(seeds.ids)} calls")
    await assert_accessible(page)


async def test_searching_filtering_and_going_back(seeded, visit):
    page = await visit(seeded, "calls")
    await row(page, seeded.seeds["plain"]).wait_for()
    everything = await shown(page)

    await ask(page, "capital france")
    await expect(page.locator("tr[data-id]")).to_have_count(1)
    assert [seeded.seeds["plain"]] == await shown(page)
    assert page.url.endswith("?q=capital+france")
    marked = row(page, seeded.seeds["plain"]).locator("mark")
    assert {"capital", "France"} == set(await marked.all_text_contents())

    await page.get_by_role("link", name="Failed", exact=True).click()
    await expect(row(page, seeded.seeds["rejected"])).to_be_visible()
    await expect(row(page, seeded.seeds["plain"])).to_have_count(0)
    await expect(page.locator(".chip.term")).to_contain_text("failed,expired")

    await row(page, seeded.seeds["rejected"]).hover()
    cell = row(page, seeded.seeds["rejected"]).locator("td.c-state")
    await cell.get_by_role("button", name="Filter by State").click()
    await page.get_by_role("menuitem", name="Without status:failed").click()
    await expect(page.locator("tr[data-id]")).to_have_count(1)
    assert [seeded.seeds["expired"]] == await shown(page)
    await page.get_by_role("button", name="Remove -status:failed").click()
    await expect(row(page, seeded.seeds["failed"])).to_be_visible()

    for _ in range(3):
        await page.go_back()
    await expect(page.get_by_role("combobox")).to_have_value("capital france")
    await expect(page.locator("tr[data-id]")).to_have_count(1)
    await page.go_back()
    await expect(page.locator("tr[data-id]")).to_have_count(len(everything))
    assert everything == await shown(page)


async def test_a_link_in_the_words_of_the_api_becomes_a_query(seeded, visit):
    page = await visit(seeded, "calls?status=cancelled&upstream=narrow")
    await expect(page.locator("tr[data-id]")).to_have_count(1)

    assert [seeded.seeds["cancelled"]] == await shown(page)
    await expect(page.get_by_role("combobox")).to_have_value("status:cancelled upstream:narrow")


async def test_what_cannot_be_read_is_underlined_with_a_hint(seeded, visit):
    page = await visit(seeded, "calls")
    page.watched.expect_console("400")
    await ask(page, "capital dur:>soon")

    await expect(page.locator(".query-error")).to_contain_text("dur:>10s")
    assert await page.locator(".is-wrong").text_content() == ">soon"
    await ask(page, "capital")
    await expect(page.locator(".query-error")).to_have_count(0)
    await expect(page.locator("tr[data-id]")).to_have_count(1)


async def test_fields_and_values_are_suggested_as_one_types(seeded, visit):
    page = await visit(seeded, "calls")
    await row(page, seeded.seeds["plain"]).wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("ups")
    await expect(page.get_by_role("option")).to_have_count(1)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("option")).to_have_text(["openai", "narrow"])
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(re.compile(r"q=upstream%3Anarrow$"))
    await expect(row(page, seeded.seeds["queued"])).to_be_visible()
    await expect(row(page, seeded.seeds["plain"])).to_have_count(0)


async def test_nothing_found_says_where_to_look(seeded, visit):
    page = await visit(seeded, "calls?q=capital&from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z")
    await page.get_by_role("heading", name="No call matches").wait_for()
    await expect(page.locator(".empty")).to_contain_text("1 in all time")
    await page.get_by_role("button", name="Look in all time").click()

    await expect(row(page, seeded.seeds["plain"])).to_be_visible()
    await ask(page, "stauts:failed https://example.com")
    await expect(page.locator(".empty")).to_contain_text("There is no field “stauts”")
    await expect(page.locator(".empty")).not_to_contain_text("“https”")


async def test_a_call_opens_beside_the_list_and_keys_walk_it(seeded, visit):
    page = await visit(seeded, "calls?q=status:succeeded")
    ids = [seeded.seeds[name] for name in ("binary", "retried", "streamed", "plain")]
    await row(page, ids[0]).locator("td.c-time").click()
    panel = page.get_by_role("complementary", name="Call")
    await expect(panel).to_contain_text(ids[0])
    await page.keyboard.press("j")
    await expect(panel).to_contain_text(ids[1])
    await page.keyboard.press("k")
    await expect(panel).to_contain_text(ids[0])
    await page.keyboard.press("Escape")
    await expect(panel).to_have_count(0)

    await page.keyboard.press("j")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("x")
    await expect(row(page, ids[2]).get_by_role("checkbox")).to_be_checked()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(f"calls/{ids[2]}$"))


async def test_rows_hold_while_somebody_reads(gateway, upstream, visit):
    gate = Gate()
    upstream.script = [held(gate, completion("First.")), completion("Second.")]
    async with gateway() as gw:
        first = await gw.send_chat(json=chat("What comes first?"))
        page = await visit(gw, "calls")
        await expect(page.locator("tr[data-id]")).to_contain_text("Running")
        await page.locator("td.c-time").hover()

        second = await gw.chat(json=chat("What comes second?"))
        await page.get_by_role("button", name="Show 1 new call").wait_for()
        gate.open()
        answer = await first.read()
        await expect(row(page, answer.call_id)).to_contain_text("Succeeded")
        assert [answer.call_id] == await shown(page)

        await page.get_by_role("heading", name="Calls").hover()
        await expect(page.locator("tr[data-id]")).to_have_count(2)
        assert [second.call_id, answer.call_id] == await shown(page)

        await gw.request("DELETE", f"/-/calls/{answer.call_id}")
        await expect(page.locator("tr[data-id]")).to_have_count(1)


@pytest_asyncio.fixture(loop_scope="session")
async def crowded(gateway, upstream):
    """Yield a gateway with one call in flight and many that wait behind it."""
    gate = Gate()
    upstream.choose = lambda request: (
        held(gate, completion("Late.")) if b"narrow" in request.body else completion("Hello.")
    )
    async with gateway(upstreams=NARROW) as gw:
        requests = [
            ("POST", "/v1/chat/completions", {
                "json": chat(f"Number {number}", model="narrow-1"),
                "headers": [("Prefer", "respond-async"), ("x-gateway-tags", f"half={number % 2}")],
            })
            for number in range(MANY)
        ]  # fmt: skip
        await gw.many(requests)
        yield gw
        gate.open()


async def test_all_that_match_are_cancelled_after_a_typed_confirmation(crowded, visit):
    page = await visit(crowded, "calls?q=upstream:narrow")
    await expect(page.locator("tr[data-id]")).to_have_count(100)
    await expect(page.locator(".page-subtitle")).to_have_text(f"{MANY} calls")
    newest = await shown(page)
    await page.keyboard.press("]")
    await expect(page.locator("tr[data-id]")).to_have_count(MANY - 100)
    assert not set(newest) & set(await shown(page))
    await page.keyboard.press("[")
    await expect(page.locator("tr[data-id]")).to_have_count(100)

    await page.get_by_role("checkbox", name="Select all on this page").check()
    await page.get_by_role("button", name=f"Select all {MANY} that match").click()
    bar = page.get_by_role("region", name="Selected calls")
    await expect(bar).to_contain_text(f"All {MANY} that match")
    await bar.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel calls")
    sure = dialog.get_by_role("button", name=f"Cancel {MANY} calls")
    await expect(sure).to_be_disabled()
    await dialog.get_by_label(f"Type {MANY} to confirm").fill(str(MANY))
    await sure.click()

    await expect(dialog.get_by_role("status")).to_contain_text(f"{MANY} calls cancelled.")
    assert len(await crowded.calls(status="cancelled", limit=1000)) == MANY


async def test_chosen_calls_are_retried_exported_and_deleted(seeded, visit):
    page = await visit(seeded, "calls")
    plain, failed, running = (seeded.seeds[name] for name in ("plain", "failed", "running"))
    await row(page, plain).get_by_role("checkbox").check()
    await row(page, failed).get_by_role("checkbox").check()
    bar = page.get_by_role("region", name="Selected calls")
    assert await bar.get_by_role("link", name="Compare").get_attribute("href") == (
        f"compare?a={plain}&b={failed}"
    )
    async with page.expect_download() as download:
        await bar.get_by_role("button", name="Export").click()
    path = await (await download.value).path()
    exported = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert {plain, failed} == {line["id"] for line in exported}

    await row(page, running).get_by_role("checkbox").check()
    await bar.get_by_role("button", name="Retry").click()
    dialog = page.get_by_role("dialog", name="Retry calls")
    await assert_accessible(page, "dialog")
    await dialog.get_by_role("button", name="Retry 2 calls").click()  # not the one that is open
    await expect(dialog.get_by_role("status")).to_have_text("2 new calls made.")
    await dialog.get_by_role("button", name="Show the new calls").click()
    replays = (await seeded.call(plain))["replays"]
    await expect(row(page, replays[0])).to_contain_text("What is the capital of France?")
    await seeded.final(replays[0])

    page.watched.expect_console("409")
    await row(page, replays[0]).get_by_role("checkbox").check()
    await row(page, running).get_by_role("checkbox").check()
    await bar.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete calls")
    await dialog.get_by_role("button", name="Delete 2 calls").click()
    await expect(dialog.get_by_role("status")).to_contain_text("1 call deleted.")
    await expect(dialog.get_by_role("status")).to_contain_text(running)
    await dialog.locator("footer").get_by_role("button", name="Close").click()
    await expect(row(page, replays[0])).to_have_count(0)
    await expect(row(page, running)).to_be_visible()


async def test_columns_are_chosen_and_stay_chosen(seeded, visit):
    page = await visit(seeded, "calls")
    await page.get_by_role("button", name="More actions").click()
    await page.get_by_role("menuitem", name="Columns and rows").click()
    dialog = page.get_by_role("dialog", name="Columns and rows")
    await dialog.get_by_role("checkbox", name="HTTP").check()
    await dialog.get_by_role("checkbox", name="Tokens", exact=True).uncheck()
    await dialog.get_by_role("button", name="Move HTTP up").click()
    await page.keyboard.press("Escape")
    await page.reload()
    await row(page, seeded.seeds["failed"]).wait_for()

    heads = await page.locator("thead th").all_inner_texts()
    assert heads[-2:] == ["HTTP", "Preview"]
    assert "Tokens" not in heads
    await expect(row(page, seeded.seeds["failed"]).locator("td.c-http")).to_have_text("503")


async def test_on_a_phone_a_row_is_a_card_that_leads_to_the_page(seeded, visit):
    page = await visit(seeded, "calls", viewport={"width": 390, "height": 844})
    card = row(page, seeded.seeds["failed"])
    await expect(card).to_contain_text("HTTP 503")
    box = await card.bounding_box()
    assert box is not None
    assert box["width"] <= 390
    await card.locator("td.c-preview").click()

    await expect(page).to_have_url(re.compile(f"calls/{seeded.seeds['failed']}$"))


async def test_whatever_was_recorded_is_only_ever_text(gateway, upstream, visit):
    upstream.choose = lambda request: (
        Answer(500, body=hostile.ALL.encode())
        if b"fail" in request.body
        else completion(hostile.ALL)
    )
    dialogs = []
    async with gateway(upstreams={"openai": {"retry": {"max_attempts": 1}}}) as gw:
        headers = [
            ("x-gateway-tags", f"x={hostile.header(hostile.MARKUP[1])}"),
            ("x-gateway-fairness-key", "<b onclick=alert(1)>"),
            ("Idempotency-Key", hostile.header(hostile.MARKUP[0])),
        ]
        for text in (hostile.ALL, "fail " + hostile.ALL):
            await gw.chat(json=chat(text, model=hostile.ALL[:200]), headers=headers[:2])
        await gw.chat(json=chat("named"), headers=headers)
        await gw.chat(json=chat("path"), path="/v1/%3Cimg%20src=x%20onerror=alert(1)%3E?x='%22%3E")
        page = await visit(gw, "calls")
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await expect(page.locator("tr[data-id]")).to_have_count(4)
        await expect(page.locator("td.c-preview").first).to_contain_text("path")
        await page.evaluate(
            "localStorage.setItem('gateway.calls.columns', JSON.stringify("
            "['model','preview','error','path','tags','id','key','http','upstream','state']))"
        )
        await page.reload()
        await expect(page.locator("td.c-tags").nth(1)).to_contain_text("<img src=x")
        await expect(page.locator("td.c-preview").nth(2)).to_contain_text("window.hit=1;alert(1)")
        for number in range(4):
            await page.locator("td.c-model").nth(number).hover()
            await page.locator("td.c-state .cell").nth(number).click()
        page.watched.expect_console("400")  # the query is read by the server, whatever it is
        await ask(page, hostile.ALL)
        await page.locator(".query-error, tr[data-id], .empty").first.wait_for()

        assert dialogs == []
        assert await page.evaluate("window.hit") is None
        assert await page.locator("#app :is(iframe, script, img, link)").count() == 0


@pytest.mark.parametrize("asked", ["", "?q=capital"])
async def test_new_calls_are_held_back_for_a_query_too(gateway, upstream, visit, asked):
    upstream.script = [completion("Paris."), completion("Rome."), completion("Two.")]
    async with gateway() as gw:
        first = await gw.chat(json=chat("The capital of France"))
        page = await visit(gw, f"calls{asked}")
        await row(page, first.call_id).wait_for()
        await page.locator("td.c-time").hover()
        second = await gw.chat(json=chat("The capital of Italy"))
        await page.get_by_role("button", name="Show 1 new call").click()

        await expect(row(page, second.call_id)).to_be_visible()
