"""One run of the bench: each turn measures one variant with everything fresh, in random order.

A turn starts an upstream, a process under test before it (the gateway with an empty journal and
`durability = "power-loss"`), warms it up, sends the load, and ends both. A sample is what it saw.
"""

import json
import random
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.load import distribution
from tests.bench.processes import Process, pinned, running

HERE = Path(__file__).resolve().parent
PROXY_CORE, OTHER_CORE = 0, 1
PATH = "/v1/chat/completions"
WARM_UP = ("--connections", 64, "--duration-s", 0.5)

Sample = dict[str, object]

CONFIG = """\
[server]
drain_s = 2
[journal]
path = "{journal}"
durability = "power-loss"
[limits]
max_in_flight = 20000
max_queued = 20000
[upstreams.bench]
base_url = "{upstream}"
max_in_flight = 20000
"""


@dataclass(slots=True, kw_only=True)
class Bench:
    """What to measure with, and all that was seen."""

    rounds: int
    loop: str  #: "asyncio" or "uvloop", of the process under test
    directory: Path  #: for journal and logs, on a real disk
    rng: random.Random
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def in_turns(
        self, section: str, variants: Sequence[str], one: Callable[[str], Sample]
    ) -> dict[str, list[Sample]]:
        """Measure each variant once a round, in random order: variant → a sample a round."""
        seen: dict[str, list[Sample]] = {variant: [] for variant in variants}
        for number in range(1, self.rounds + 1):
            for variant in self.rng.sample(variants, len(variants)):
                where = f"{section}: round {number} of {self.rounds}, {variant}"
                print(where, file=sys.stderr, flush=True)
                sample = {"where": where, "variant": variant, **one(variant)}
                seen[variant].append(sample)
                self.samples.append(sample)
        return seen

    @contextmanager
    def under_test(self, variant: str, upstream: str) -> Iterator[Process]:
        """A fresh plain proxy, or a fresh gateway with an empty journal, before *upstream*."""
        if variant == "plain":
            command = [str(HERE / "plain_proxy.py"), "--upstream", upstream, "--loop", self.loop]
        else:
            for old in self.directory.glob("gateway.db*"):
                old.unlink()
            config = self.directory / "config.toml"
            config.write_text(CONFIG.format(journal=self.journal, upstream=upstream))
            command = ["-m", "gateway"]
            if self.loop == "uvloop":
                start = "import uvloop; uvloop.install(); from gateway.cli import main; main()"
                command = ["-c", start]
            command += ["run", "--config", str(config), "--port", "0"]
        log = self.directory / f"{variant}.log"
        with running([sys.executable, *command], core=PROXY_CORE, log=log) as process:
            yield process

    @property
    def journal(self) -> Path:
        """The gateway's file."""
        return self.directory / "gateway.db"

    def turn(
        self, variant: str, load: Sequence[object], upstream: Sequence[object], *, viewers: int = 0
    ) -> Sample:
        """Put *load* on *variant* ("direct", "plain" or "gateway") before an *upstream*.

        Both are command lines. CPU and memory are those of the process under test alone. So many
        *viewers* watch the gateway's events meanwhile.
        """
        command = [sys.executable, str(HERE / "upstream.py"), *map(str, upstream)]
        with running(command, core=OTHER_CORE, log=self.directory / "upstream.log") as api:
            if variant == "direct":
                return send(api.url + PATH, load)
            with self.under_test(variant, api.url) as process:
                warm_up = send(process.url + "/warm-up", WARM_UP)
                process.forget_peak()
                idle_kib, cpu_s = process.rss_kib(), process.cpu_s()
                with self.watched(process.url, viewers):
                    sample = send(process.url + PATH, load)
                cpu_s = process.cpu_s() - cpu_s
                sample["cpu_ms_per_call"] = cpu_s * 1000 / max(1, sample["ok"])
                sample["busy_percent"] = cpu_s * 100 / sample["wall_s"]
                sample["grown_kib"] = process.peak_rss_kib() - idle_kib
            with urllib.request.urlopen(api.url + "/__stats", timeout=10) as answer:
                sample["upstream"] = json.load(answer)
        if variant == "gateway":
            sample["calls"] = warm_up["sent"] + sample["sent"]
            sample["journal"] = calls_by_status(self.journal)
        return sample

    @contextmanager
    def watched(self, url: str, viewers: int) -> Iterator[None]:
        """Hold so many streams of the events of the gateway at *url* open."""
        if not viewers:
            yield
            return
        command = [sys.executable, str(HERE / "viewers.py"), url, str(viewers)]
        with running(command, core=OTHER_CORE, log=self.directory / "viewers.log"):
            yield

    def commits(self, duration_s: float) -> Sample:
        """How long one durable commit of a 1 KB row takes when nobody else commits, at 100/s."""
        path = self.directory / "commits.db"
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE rows (row BLOB)")
        taken_s, row = [], bytes(1024)
        start = time.monotonic()
        for number in range(round(duration_s * 100)):
            time.sleep(max(0.0, start + number / 100 - time.monotonic()))
            began = time.monotonic()
            database.execute("INSERT INTO rows VALUES (?)", (row,))  # its own transaction
            taken_s.append(time.monotonic() - began)
        database.close()
        path.unlink()
        return {"commit_ms": distribution(taken_s)}

    def faults(self) -> list[str]:
        """What makes the figures void: calls that failed, or that the journal does not hold."""
        found = []
        for sample in self.samples:
            if sample.get("errors"):
                found.append(f"{sample['where']}: {sample['errors']}")
            if "journal" in sample and sample["journal"] != {"succeeded": sample["calls"]}:
                found.append(f"{sample['where']}: {sample['calls']} calls, {sample['journal']}")
        return found


def send(url: str, load: Sequence[object]) -> Sample:
    """Run the load generator against *url*: its result."""
    command = [sys.executable, str(HERE / "load.py"), url, *map(str, load)]
    done = subprocess.run(
        pinned(command, OTHER_CORE), stdout=subprocess.PIPE, check=True, timeout=180
    )
    return json.loads(done.stdout)


def calls_by_status(path: Path) -> dict[str, int]:
    """How many calls of each status the journal at *path* holds."""
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return dict(database.execute("SELECT status, count(*) FROM calls GROUP BY status"))
    finally:
        database.close()
