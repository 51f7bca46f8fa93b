"""Fixtures of the browser tests: one Chromium for the session, a watched page for each test.

All of them, and the gateways they look at, run in one event loop that lasts for the session: the
browser's. They are skipped where Playwright or the distribution's Chromium is not installed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.scripted_upstream import ScriptedUpstream

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--font-render-hinting=none", "--disable-lcd-text",
]  # fmt: skip

try:
    from playwright.async_api import Browser, Page, async_playwright
except ImportError:
    REASON = "playwright is not installed: pip install 'gateway[test]'"
    collect_ignore_glob = ["test_*.py"]
else:
    REASON = "" if CHROMIUM.exists() else f"no Chromium at {CHROMIUM}: apt-get install chromium"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if REASON and "browser" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> "AsyncIterator[Browser]":
    """Yield the one Chromium; starting it takes about a second."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """The API behind the gateway, in the session's loop."""
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def opened() -> list[Any]:
    """The browser contexts of this test, each with what watches it."""
    return []


@pytest.fixture
def gateway(gateway: Any, opened: list[Any]) -> Any:
    """The gateway as everywhere; the pages that look at it close before it goes away."""

    @asynccontextmanager
    async def open_gateway(**tables: Any) -> AsyncIterator[Any]:
        async with gateway(**tables) as gw:
            yield gw
            for context, _ in opened:
                await context.close()

    return open_gateway


@pytest_asyncio.fixture(loop_scope="session")
async def visit(
    browser: "Browser", opened: list[Any]
) -> "AsyncIterator[Callable[..., Awaitable[Page]]]":
    """Return `page = await visit(gw, "calls?status=failed")`: a dashboard page, watched.

    Keywords are Playwright's of a context: `viewport={…}`, `color_scheme="dark"`. At the test's end
    every page must be clean (tests/browser/watched.py); `page.watched` is what watches it.
    """
    from tests.browser.watched import Watched

    async def visit(gateway: Any, path: str = "", **options: Any) -> "Page":
        said = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light",
                "reduced_motion": "reduce", "locale": "en-GB", "timezone_id": "UTC"}  # fmt: skip
        url = gateway if isinstance(gateway, str) else f"{gateway.url}/-/ui/"
        context = await browser.new_context(**{**said, **options})
        context.set_default_timeout(10_000)
        watched = Watched(origin="/".join(url.split("/")[:3]))
        watched.watch(context)
        opened.append((context, watched))
        page = await context.new_page()
        page.watched = watched  # type: ignore[attr-defined]
        await page.goto(url + path)
        return page

    yield visit
    for context, _ in opened:
        await context.close()
    for _, watched in opened:
        watched.assert_clean()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def seeded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Yield a gateway with calls of every kind (tests/browser/seeding.py); `seeded.seeds["retried"]`.

    Shared by a module for speed: a test that changes what others look at opens its own `gateway`.
    """
    from tests.browser.seeding import UPSTREAMS, seed

    async with ScriptedUpstream() as upstream:
        path = tmp_path_factory.mktemp("seeded") / "config.toml"
        async with open_gateway(path, upstream, upstreams=UPSTREAMS) as gw:
            gw.seeds = await seed(gw, upstream)
            gw.upstream = upstream
            yield gw
            gw.seeds.gate.open()


@asynccontextmanager
async def open_gateway(path: Path, upstream: ScriptedUpstream, **tables: Any) -> AsyncIterator[Any]:
    """A gateway of this process, in front of *upstream*."""
    from gateway.config import load
    from gateway.service import open_service
    from tests import configuration
    from tests.conftest import Gateway

    base_url = f"{upstream.url}/v1"
    configuration.write(path, base_url, **tables)
    async with open_service(load(path, {})) as service:
        client = Gateway(service, path, base_url)
        try:
            yield client
        finally:
            client.close()
