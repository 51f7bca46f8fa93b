"""`gateway run` with its promises broken on purpose: `python -m tests.crash.early_answers early run …`

`slow`: each commit waits a little before it begins, as on a slow disk. `early`: the same, and who
posts a record hears that it is durable at once. The first must pass the checker, the second not.
"""

import asyncio
import sys
from typing import Any

from gateway.cli import main
from gateway.journal.file import JournalFile
from gateway.journal.writer import Journal

COMMIT_S = 0.5  # far longer than a busy machine takes to kill a process

_write = JournalFile.write
_post = Journal._post


async def _slow_write(file: JournalFile, *posts: Any, **options: Any) -> None:
    await asyncio.sleep(COMMIT_S)
    await _write(file, *posts, **options)


def _early_post(journal: Journal, *record: Any, **options: Any) -> asyncio.Future[bool]:
    _post(journal, *record, **options)
    answered = asyncio.get_running_loop().create_future()
    answered.set_result(True)
    return answered


if __name__ == "__main__":
    how = sys.argv.pop(1)
    JournalFile.write = _slow_write  # type: ignore[method-assign]
    if how == "early":
        Journal._post = _early_post  # type: ignore[method-assign]
    main()
