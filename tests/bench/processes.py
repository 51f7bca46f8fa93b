"""The processes of a measurement: started on their core, watched through /proc, ended by their pid.

Whatever `running` starts it also ends, however the block is left. Linux only.
"""

import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening on (http://\S+)")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A server that listens."""

    pid: int
    url: str
    start_s: float  #: from exec to the line that says it listens

    def cpu_s(self) -> float:
        """User and system time of all its threads so far."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_S

    def rss_kib(self) -> int:
        """Resident memory now."""
        return self._status("VmRSS")

    def peak_rss_kib(self) -> int:
        """The most resident memory since the start, or since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Let the peak begin at what is resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0])


def pinned(command: Sequence[str], core: int) -> list[str]:
    """*command* on *core*, where there is such a choice."""
    if shutil.which("taskset") is None or core not in os.sched_getaffinity(0):
        return list(command)
    return ["taskset", "-c", str(core), *command]


@contextmanager
def running(command: Sequence[str], *, core: int, log: Path) -> Iterator[Process]:
    """Start *command*, wait until it says that it listens, end it with the block.

    Its stderr goes to *log*.
    """
    began = time.monotonic()
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            pinned(command, core),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C is for the one who measures
        ) as process,
    ):
        try:
            url = _listening_url(process, log)
            yield Process(pid=process.pid, url=url, start_s=time.monotonic() - began)
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _listening_url(process: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + START_LIMIT_S
    while select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        line = process.stdout.readline()
        if found := LISTENING.search(line):
            return found.group(1)
        if not line:
            break
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{process.args} does not listen:\n{tail}")
