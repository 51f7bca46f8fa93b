"""How long lists, counts and searches take over a journal of many calls.

    python -m tests.bench.lists JOURNAL [--rounds 30] [--rate 50] [--json]

JOURNAL comes from `tests.bench.million`; the gateway is started on it and takes it over. With --rate so
many calls a second are relayed meanwhile. p50 and p95 in ms, as a client on this machine sees them.
"""

import argparse
import contextlib
import http.client
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests.bench.processes import Process, running
from tests.bench.turns import CONFIG, HERE, PATH

LIST_MS, SEARCH_MS = 50, 350  # targets at p95; a search ends after 300 ms and the page is then read


def questions(path: Path) -> list[tuple[str, str, int]]:
    """(what, path, target in ms) of everything that is asked."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        top = connection.execute("SELECT max(seq) FROM calls").fetchone()[0]
        deep, day, month = (
            connection.execute(
                "SELECT id, created_ms FROM calls WHERE seq >= ? LIMIT 1", (max(1, top - back),)
            ).fetchone()
            for back in (top * 9 // 10, top // 25, top // 2)
        )
        (common,) = connection.execute(
            "SELECT substr(request, 1, instr(request, ' ') - 1) FROM texts WHERE seq = ?", (top,)
        ).fetchone()

    def since(row: tuple[str, int]) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row[1] / 1000))

    def asked(**values: str) -> str:
        return "/-/calls?" + "&".join(f"{name}={quote(value)}" for name, value in values.items())

    return [
        ("first page", asked(), LIST_MS),
        ("first page of 1000", asked(limit="1000"), SEARCH_MS),
        ("deep page", asked(after=deep[0]), LIST_MS),
        ("oldest first", asked(order="asc"), LIST_MS),
        ("model, common", asked(model="gpt-4o-mini"), LIST_MS),
        ("model, rare", asked(model="rare-model"), LIST_MS),
        ("model, none", asked(model="nobody"), LIST_MS),
        ("model glob, common", asked(model="gpt*"), LIST_MS),
        ("model glob, rare", asked(q="model:rare*"), LIST_MS),
        ("upstream, rare", asked(upstream="backup"), LIST_MS),
        ("status failed", asked(status="failed"), LIST_MS),
        ("status failed,expired", asked(q="status:failed,expired"), LIST_MS),
        ("status running", asked(status="running"), LIST_MS),
        ("http 503", asked(http_status="503"), LIST_MS),
        ("http 404, none", asked(q="http:404"), LIST_MS),
        ("error", asked(q="error:upstream_error"), LIST_MS),
        ("tag, common", asked(tag="team:search"), LIST_MS),
        ("tag, rare", asked(q="tag:run=7"), LIST_MS),
        ("key", asked(key="k3"), LIST_MS),
        ("key, none", asked(key="nobody"), LIST_MS),
        ("idempotency key, one", asked(idempotency_key="job-50"), LIST_MS),
        ("retried", asked(q="attempts:>1"), LIST_MS),
        ("duration, common", asked(q="dur:>10s"), LIST_MS),
        ("duration, rare", asked(q="dur:>10m"), SEARCH_MS),
        ("path, none", asked(path="/nowhere"), SEARCH_MS),
        ("last day, failed", asked(since=since(day), status="failed"), LIST_MS),
        ("last weeks, rare", asked(since=since(month), q="dur:>10m"), SEARCH_MS),
        ("count, all", "/-/calls/count", LIST_MS),
        ("count, common", "/-/calls/count?model=gpt-4o", LIST_MS),
        ("count, failed", "/-/calls/count?status=failed", LIST_MS),
        ("search, common word", asked(q=common), LIST_MS),
        ("search, rare word", asked(q="zanzibarium"), SEARCH_MS),
        ("search, no such word", asked(q="nosuchword"), SEARCH_MS),
        ("search, common prefix", asked(q=common[:2] + "*"), SEARCH_MS),
        ("search, two words", asked(q=f"{common} zanzibarium"), SEARCH_MS),
        ("search and fields", asked(q=f"{common} status:failed -model:gpt*"), SEARCH_MS),
        ("one call", f"/-/calls/{deep[0]}", LIST_MS),
        ("statistics, 24 h", "/-/stats?window=24h", LIST_MS),
    ]


def ask(url: str, path: str) -> dict[str, object]:
    """The JSON at *path*."""
    with urllib.request.urlopen(url + path, timeout=30) as answer:
        return json.load(answer)


def measure(url: str, path: str, rounds: int) -> tuple[float, float, str]:
    """p50 and p95 in ms, and what came of it."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=30)
    taken = []
    content = {}
    for _ in range(rounds):
        began = time.monotonic()
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        taken.append((time.monotonic() - began) * 1000)
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {body[:300]!r}")
        content = json.loads(body)
    connection.close()
    taken.sort()
    back = (
        f", back to {content['searched_back_to'][:10]}" if content.get("searched_back_to") else ""
    )
    found = content.get("count", len(content.get("data", ())))
    return taken[rounds // 2], taken[min(rounds - 1, round(rounds * 0.95))], f"{found}{back}"


@contextlib.contextmanager
def gateway(journal: Path, rate: int, directory: Path) -> Iterator[Process]:
    """The gateway on *journal*, relaying *rate* calls a second."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, str(HERE / "upstream.py"), "--latency-s", "0.06"]
        api = stack.enter_context(running(command, core=1, log=directory / "upstream.log"))
        config = directory / "config.toml"
        settings = CONFIG.format(journal=journal.resolve(), upstream=api.url)
        keep = "keep_bodies_days = 0\nkeep_calls_days = 0\ndurability"
        config.write_text(settings.replace("durability", keep))
        command = [sys.executable, "-m", "gateway", "run", "--config", str(config), "--port", "0"]
        process = stack.enter_context(running(command, core=0, log=directory / "gateway.log"))
        if rate:
            load = [sys.executable, str(HERE / "load.py"), process.url + PATH]
            load += ["--rate", str(rate), "--duration-s", "3600"]
            sending = stack.enter_context(subprocess.Popen(load, stdout=subprocess.DEVNULL))
            stack.callback(sending.terminate)
        while ask(process.url, "/-/journal")["integrity"] == "checking":
            time.sleep(0.5)  # the whole file is read once after a start
        yield process


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("journal", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=0, help="calls a second relayed meanwhile")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    asked = questions(options.journal)
    rows = []
    with (
        tempfile.TemporaryDirectory() as directory,
        gateway(options.journal, options.rate, Path(directory)) as process,
    ):
        print(f"started in {process.start_s:.2f} s", file=sys.stderr)
        for what, path, target in asked:
            p50, p95, found = measure(process.url, path, options.rounds)
            rows.append({"what": what, "p50": p50, "p95": p95, "found": found, "target": target})
            if not options.json:
                mark = "" if p95 <= target else f"  missed {target} ms"
                print(f"{what:24} {p50:8.1f} {p95:8.1f} ms  {found}{mark}", flush=True)
        print(f"{process.rss_kib() / 1024:.0f} MiB resident", file=sys.stderr)
    if options.json:
        print(json.dumps(rows))
    return 0 if all(row["p95"] <= row["target"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
