"""Measures the gateway against the plain aiohttp proxy, in one run and in turns.

    python -m tests.bench.run [throughput latency burst streams start watching | all] [--quick] [--json]

The process under test has core 0 to itself; the upstream and the load share core 1. Variants come
in random order within a round; figures are medians over the rounds with their spread. The journal
lies below the current directory unless --dir names another place: it has to be a real disk. Data on
stdout, progress on stderr. Exit 1: a call failed or is not in the journal, so the figures are void.
"""

import argparse
import json
import platform
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from tests.bench.sections import FULL, QUICK, SECTIONS, Row
from tests.bench.turns import Bench


def print_table(rows: Sequence[Row]) -> None:
    """The figures for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Medians over the rounds, with the least and the most")
    table.add_column("")
    for name in ("plain proxy", "gateway", "compared", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        mark = {True: "reached", False: "missed", None: ""}[row.reached]
        plain, gateway = map(spread, row.figures)
        table.add_row(row.what, plain, gateway, row.compared, row.target, mark)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def spread(values: Sequence[float]) -> str:
    """Median (least - most)."""
    if not values:
        return ""
    middle, least, most = (figure(f(values)) for f in (median, min, max))
    return middle if least == most else f"{middle} ({least} - {most})"


def figure(value: float) -> str:
    """Three or so digits of *value*."""
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", default="all", choices=(*SECTIONS, "all"))
    parser.add_argument("--quick", action="store_true", help="small and short: does it work?")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="where the journal lies")
    parser.add_argument("--json", action="store_true", help="everything seen, as one object")
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for, print, and tell whether the figures hold."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so every child is ended
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the children inherit it
    scale = QUICK if options.quick else FULL
    chosen = [name for name in SECTIONS if name in options.sections or "all" in options.sections]
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=options.dir) as directory:
        bench = Bench(
            rounds=options.rounds or scale.rounds,
            loop=options.loop,
            directory=Path(directory).resolve(),
            rng=random.Random(options.seed),
        )
        rows = [row for name in chosen for row in SECTIONS[name](bench, scale)]
    faults = bench.faults()
    if options.json:
        seen = {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "loop": options.loop,
            "rows": [asdict(row) for row in rows],
            "samples": bench.samples,
            "notes": bench.notes,
            "faults": faults,
        }
        print(json.dumps(seen))
    else:
        print_table(rows)
    for line in (*bench.notes, *faults):
        print(line, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
