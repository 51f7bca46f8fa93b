"""A journal written by hand, and `/-/calls` over it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.client import GatewayClient
from tests.recorded_api import OpenCalls, open_api
from tests.recorded_calls import RecordedCalls


@pytest.fixture
def recorded_calls(tmp_path: Path) -> Iterator[RecordedCalls]:
    """Yield a journal to record calls in."""
    with RecordedCalls(tmp_path / "gateway.db") as recorded:
        yield recorded


@pytest.fixture
def open_calls() -> OpenCalls:
    """Return what the relay is to know."""
    return OpenCalls()


@pytest.fixture
async def api(recorded_calls: RecordedCalls, open_calls: OpenCalls) -> AsyncIterator[GatewayClient]:
    """Yield a client of `/-/calls`."""
    async with open_api(recorded_calls, open_calls) as client:
        yield client
