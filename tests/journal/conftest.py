"""A journal to read."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.journal.reader import Reader, open_reader
from tests.recorded_calls import RecordedCalls


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[RecordedCalls]:
    """Yield a journal to record calls in."""
    with RecordedCalls(tmp_path / "gateway.db") as recorded:
        yield recorded


@pytest.fixture
async def reader(recorded: RecordedCalls) -> AsyncIterator[Reader]:
    """Yield a reader of that journal."""
    async with open_reader(recorded.path) as reader:
        yield reader
