"""Fixtures: the simulated API on a real socket, with nothing in front of it."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.mock.app import serve_mock
from gateway.mock.settings import LiveSettings, MockSettings
from tests.client import Client, Exchange

NOW = 1_800_000_000.5  # seconds since the epoch, for every answer


class MockClient(Client):
    """A client of the simulated API, and the hand on its settings."""

    def __init__(self, url: str, live: LiveSettings) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        super().__init__(address.hostname, address.port)
        self.live = live

    async def ask(
        self, path: str = "/v1/chat/completions", *, x_mock: str = "", **body: Any
    ) -> Exchange:
        """POST *body* as JSON and return the whole answer, or as much as came of it."""
        exchange = await self.send("POST", path, headers=[("x-mock", x_mock)], json=body)
        return await exchange.read()


OpenMock = Callable[..., AbstractAsyncContextManager[MockClient]]


@pytest.fixture
def mock() -> OpenMock:
    """Return `async with mock(failure_rate=1, …) as api`: settings, at once if they do not say."""

    @asynccontextmanager
    async def open_mock(**settings: Any) -> AsyncIterator[MockClient]:
        live = LiveSettings(MockSettings(**{"latency_s": 0.0, **settings}))
        async with serve_mock(live, rng=random.Random(7), now=lambda: NOW) as url:
            client = MockClient(url, live)
            try:
                yield client
            finally:
                client.close()

    return open_mock
