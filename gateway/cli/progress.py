"""A progress bar on stderr, where that is a terminal; elsewhere nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from typing_extensions import override


@contextmanager
def open_progress(total: int) -> Iterator[Callable[[int, int], None]]:
    """Show how many of *total* are done; tell it (done, failed) whenever that changes."""
    if not sys.stderr.isatty():
        yield lambda done, failed: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        @override
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f}/s")

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        Rate(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task: list[object] = []

        def tell(done: int, failed: int) -> None:
            if not task:  # what an earlier run did is no progress of this one
                task.append(progress.add_task("", total=total, completed=done, failed=failed))
            else:
                progress.update(task[0], completed=done, failed=failed)  # type: ignore[arg-type]

        yield tell
