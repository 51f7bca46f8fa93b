"""How soon the dashboard shows something: a browser opens its pages anew, again and again.

    python -m tests.bench.paint URL [--rounds 7]

URL is a running gateway's, say one on the journal of `tests.bench.million`. In ms: first contentful
paint, and when the first chart or row stands there, median and range. Needs Chromium and Playwright.
"""

import argparse
import asyncio
import statistics
import time

from playwright.async_api import Browser, async_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM

PAGES = {
    "": "text=Calls by outcome",
    "calls": "tr[data-id]",
}
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


async def open_once(browser: Browser, url: str, ready: str) -> tuple[float, float]:
    """(first contentful paint, *ready* is there) in ms, in a browser that has cached nothing."""
    context = await browser.new_context()
    page = await context.new_page()
    began = time.perf_counter()
    await page.goto(url)
    await page.locator(ready).first.wait_for()
    shown = 1000 * (time.perf_counter() - began)
    painted: float = await page.evaluate(PAINT)
    await context.close()
    return painted, shown


async def main(url: str, rounds: int) -> None:
    """Print a line a page."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for path, ready in PAGES.items():
            took = [await open_once(browser, f"{url}/-/ui/{path}", ready) for _ in range(rounds)]
            for what, values in zip(("paint", "shown"), zip(*took, strict=True), strict=True):
                middle, low, high = statistics.median(values), min(values), max(values)
                print(f"{path or 'overview':9} {what}: {middle:.0f} ms ({low:.0f}-{high:.0f})")
        await browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    asyncio.run(main(asked.url.rstrip("/"), asked.rounds))
