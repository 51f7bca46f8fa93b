"""A page that is watched: what it says on the console, what it asks for, and what it breaks.

Every browser test ends with `assert_clean()`: no console error or warning, no error nobody caught, no
violation of the content security policy (Chromium reports one on the console), no request to
another origin. A test that provokes an error says so with `expect_console`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@dataclass
class Watched:
    """Everything that went wrong on the pages of one browser context."""

    origin: str
    expected: list[re.Pattern[str]] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        """Listen to every page of *context*."""
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("request", self._see)

    def expect_console(self, pattern: str) -> None:
        """Messages that *pattern* is found in are this test's own doing."""
        self.expected.append(re.compile(pattern))

    def assert_clean(self) -> None:
        """Fail with everything that went wrong."""
        unexpected = [
            text for text in self.console if not any(each.search(text) for each in self.expected)
        ]
        found = [*unexpected, *self.errors, *self.foreign]
        assert found == [], "\n".join(found)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            where = message.location.get("url", "") if message.location else ""
            self.console.append(f"{message.type}: {message.text} {where}")

    def _see(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:", "blob:")):
            self.foreign.append(request.url)


async def violations(page: Page, within: str | None = None) -> list[str]:
    """Return what axe finds on *page* now, one line a rule: what, where."""
    if not await page.evaluate("typeof axe !== 'undefined'"):
        await page.evaluate(AXE)
    found: dict[str, Any] = await page.evaluate(
        "([within, rules]) => axe.run(within ?? document, {runOnly: rules, resultTypes: ['violations']})",
        [within, RULES],
    )
    return [
        f"{each['id']}: {each['help']}: "
        + "; ".join(
            f"{node['target']} {node.get('failureSummary', '')}" for node in each["nodes"][:4]
        )
        for each in found["violations"]
    ]


async def assert_accessible(page: Page, within: str | None = None) -> None:
    """Run axe on *page* as it stands, on a desk and a phone, light and dark; it must fit both widths.

    *within* a selector, such as an open dialog on a page that is checked elsewhere: two looks do.
    """
    size = page.viewport_size
    for width, scheme in LOOKS[::3] if within else LOOKS:
        await page.set_viewport_size({"width": width, "height": 844 if width < 720 else 800})
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.wait_for_function(
            "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(true))))"
        )
        await page.evaluate(  # a colour on its way to another theme's is neither's
            "Promise.allSettled(document.getAnimations()"
            ".filter(one => one instanceof CSSTransition).map(one => one.finished))"
        )
        overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")

        assert overflow <= 0, f"the page is {overflow} px wider than {width} px"
        found = await violations(page, within)
        assert found == [], f"{width} px, {scheme}: " + "\n".join(found)
    if size is not None:
        await page.set_viewport_size(size)
    await page.emulate_media(color_scheme="light")
