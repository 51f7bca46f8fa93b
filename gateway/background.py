"""The tasks that run as long as the process does: one that crashes is started again, and seen.

Invariant: a bug in one of them ends neither the process nor itself for good, and nobody has to look
at the log to learn of it: `/-/ready` names it until it has run well again, a metric counts.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # before a task that crashed is started again
WELL_S = 60.0  # that it then has to run to count as well


class Background:
    """Owns the tasks; `failing` names those that crashed lately, each with its last error."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        *,
        crashed: Callable[[str], None],
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._tasks = tasks
        self._crashed = crashed
        self._first_pause_s = first_pause_s
        self.failing: dict[str, str] = {}

    def start(self, name: str, run: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        """Run *run* until it returns or the task is cancelled; again, after a pause, when it crashes."""
        return self._tasks.create_task(self._supervise(name, run), name=name)

    async def _supervise(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        loop = asyncio.get_running_loop()
        pause_s = self._first_pause_s
        while True:
            began = loop.time()
            well = loop.call_later(WELL_S, self.failing.pop, name, None)
            try:
                await run()
            except Exception as error:  # noqa: BLE001, RUF100 - whatever it is, it is started again
                log.exception("background_crashed", task=name, again_in_s=pause_s)
                self.failing[name] = f"{type(error).__name__}: {error}"
                self._crashed(name)
            else:
                self.failing.pop(name, None)
                return
            finally:
                well.cancel()
            if loop.time() - began >= WELL_S:
                pause_s = self._first_pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
