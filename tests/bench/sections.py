"""What is measured: each section puts its load on both proxies and says what should come of it."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from tests.bench.turns import Bench, Sample

BOTH = ("plain", "gateway")
SATURATED_PERCENT = 90  # below it, a closed loop has not found what the proxy can do
DESCRIPTORS_TO_SPARE = 300  # beside two a call: the journal, the loop, idle connections

Figures = tuple[Sequence[float], Sequence[float]]  # of the plain proxy and the gateway, one a round


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    rounds: int = 3
    throughput_s: float = 5.0
    latency_s: float = 10.0
    bursts: tuple[int, ...] = (1_000, 5_000, 10_000)
    burst_latency_s: float = 10.0
    streams: int = 200
    chunks: int = 500


FULL = Scale()
QUICK = Scale(
    rounds=1,
    throughput_s=1.0,
    latency_s=2.0,
    bursts=(200,),
    burst_latency_s=1.0,
    streams=20,
    chunks=50,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    figures: Figures
    compared: str = ""
    target: str = ""
    reached: bool | None = None


def throughput(bench: Bench, scale: Scale) -> list[Row]:
    """64 connections, always busy, 1 KB each way, an upstream that answers at once."""
    load = ("--connections", 64, "--duration-s", scale.throughput_s)
    seen = bench.in_turns("throughput", BOTH, partial(bench.turn, load=load, upstream=()))
    rates, cpu = figures(seen, "calls_per_s"), figures(seen, "cpu_ms_per_call")
    p99, busy = figures(seen, "call_ms", "p99"), figures(seen, "busy_percent")
    if min(busy[0]) < SATURATED_PERCENT:
        bench.notes.append(
            f"The plain proxy got as little as {min(busy[0]):.0f} % of its core: something else "
            "ran there, or the load was too weak. Measure again on a quiet machine."
        )
    return [
        Row("64 connections: calls/s", rates, times(rates), "≥ 0.50x", ratio(rates) >= 0.5),
        Row("CPU a call, ms", cpu, times(cpu), "≤ 0.80 ms", median(cpu[1]) <= 0.8),
        Row("its core busy, %", busy),
        Row("p99 of a call, ms", p99, times(p99)),
    ]


def latency(bench: Bench, scale: Scale) -> list[Row]:
    """100 calls/s over an upstream that takes 60 ms, against asking it directly."""
    load = ("--rate", 100, "--duration-s", scale.latency_s)

    def one(variant: str) -> Sample:
        if variant == "commit":
            return bench.commits(scale.latency_s)
        return bench.turn(variant, load, ("--latency-s", 0.06))

    seen = bench.in_turns("latency", ("direct", *BOTH, "commit"), one)
    added, more, commit = {}, {}, {}
    for name in ("p50", "p99"):
        added[name] = tuple(
            [
                proxied["call_ms"][name] - direct["call_ms"][name]
                for proxied, direct in zip(seen[variant], seen["direct"], strict=True)
            ]
            for variant in BOTH
        )
        more[name] = median(added[name][1]) - median(added[name][0])
        commit[name] = [sample["commit_ms"][name] for sample in seen["commit"]]
    bound = 4 * median(commit["p99"])
    return [
        Row(
            "100 calls/s: added p50, ms",
            added["p50"],
            f"{more['p50']:+.2f} ms",
            "≤ +2 ms",
            more["p50"] <= 2,
        ),
        Row(
            "added p99, ms",
            added["p99"],
            f"{more['p99']:+.2f} ms",
            f"≤ {bound:+.2f} ms",  # four times a lone commit's p99
            more["p99"] <= bound,
        ),
        Row("a lone durable commit: p50, ms", ((), commit["p50"])),
        Row("p99, ms", ((), commit["p99"])),
    ]


def burst(bench: Bench, scale: Scale) -> list[Row]:
    """Many long calls at once, each on a connection of its own."""
    rows = []
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in scale.bursts:
        calls = min(wanted, (limit - DESCRIPTORS_TO_SPARE) // 2)
        if calls < wanted:
            bench.notes.append(
                f"{wanted:,} calls at once need more than the {limit:,} descriptors that the hard "
                f"limit allows (ulimit -Hn); {calls:,} were sent."
            )
        name = f"{calls:,} calls of {scale.burst_latency_s:g} s at once"
        upstream = ("--latency-s", scale.burst_latency_s)
        load = ("--burst", calls, "--limit-s", scale.burst_latency_s + 80)
        one = partial(bench.turn, load=load, upstream=upstream)
        seen = bench.in_turns(name, BOTH, one)
        answered, makespan = figures(seen, "ok"), figures(seen, "wall_s")
        memory = tuple([kib / calls for kib in each] for each in figures(seen, "grown_kib"))
        rows += [
            Row(f"{name}: succeeded", answered, "", "all", min(answered[1]) == calls),
            Row("makespan, s", makespan, times(makespan), "≤ 1.00x", ratio(makespan) <= 1),
            Row("memory a call, KiB", memory, times(memory), "≤ 35", median(memory[1]) <= 35),
        ]
    return rows


def streams(bench: Bench, scale: Scale) -> list[Row]:
    """Many event streams at once: how long a chunk is on its way."""
    upstream = ("--chunks", scale.chunks, "--chunks-per-s", 50)
    load = ("--burst", scale.streams, "--stream", "--limit-s", scale.chunks / 50 + 60)
    seen = bench.in_turns("streams", BOTH, partial(bench.turn, load=load, upstream=upstream))
    p50, p99 = figures(seen, "chunk_ms", "p50"), figures(seen, "chunk_ms", "p99")
    return [
        Row(f"{scale.streams} streams of 50 chunks/s: delay p50, ms", p50, times(p50)),
        Row("delay p99, ms", p99, times(p99), "≤ 1.50x", ratio(p99) <= 1.5),
        Row("its core busy, %", figures(seen, "busy_percent")),
    ]


def start(bench: Bench, scale: Scale) -> list[Row]:
    """From exec to listening on an empty journal, and what it takes up then."""

    def one(variant: str) -> Sample:
        with bench.under_test(variant, "http://127.0.0.1:9") as process:
            time.sleep(1.0)  # what it still does once it listens is part of being idle
            return {"start_s": process.start_s, "rss_mib": process.rss_kib() / 1024}

    seen = bench.in_turns("start", BOTH, one)
    seconds, memory = figures(seen, "start_s"), figures(seen, "rss_mib")
    return [
        Row("start to listening, s", seconds, "", "≤ 1 s", median(seconds[1]) <= 1),
        Row("idle memory, MiB", memory, "", "≤ 80", median(memory[1]) <= 80),
    ]


def watching(bench: Bench, scale: Scale) -> list[Row]:
    """What three open dashboards cost the gateway: the figures are without them, and with."""
    load = ("--connections", 64, "--duration-s", scale.throughput_s)
    seen = _watched(bench, "64 connections", load, ())
    rates, cpu = (_both(seen, figure) for figure in ("calls_per_s", "cpu_ms_per_call"))
    load = ("--rate", 100, "--duration-s", scale.latency_s)
    seen = _watched(bench, "100 calls/s", load, ("--latency-s", 0.06))
    busy = _both(seen, "busy_percent")
    more = median(busy[1]) - median(busy[0])
    return [
        Row("no viewer, three: calls/s", rates, times(rates), "≥ 0.95x", ratio(rates) >= 0.95),
        Row("CPU a call, ms", cpu, times(cpu)),
        Row("100 calls/s: its core busy, %", busy, f"{more:+.2f} %", "≤ +1 %", more <= 1),
    ]


def _watched(
    bench: Bench, what: str, load: Sequence[object], upstream: Sequence[object]
) -> dict[str, list[Sample]]:
    def one(variant: str) -> Sample:
        return bench.turn("gateway", load, upstream, viewers=3 if variant == "watched" else 0)

    return bench.in_turns(f"watching: {what}", ("alone", "watched"), one)


def _both(seen: dict[str, list[Sample]], figure: str) -> Figures:
    alone, watched = (
        [sample[figure] for sample in seen[variant]] for variant in ("alone", "watched")
    )
    return alone, watched


SECTIONS = {
    section.__name__: section for section in (throughput, latency, burst, streams, start, watching)
}


def figures(seen: dict[str, list[Sample]], name: str, part: str | None = None) -> Figures:
    """The figure *name* (or *part* of it) of every sample; 0 where no call succeeded."""
    plain, gateway = (
        [sample[name].get(part, 0.0) if part else sample[name] for sample in seen[variant]]
        for variant in BOTH
    )
    return plain, gateway


def ratio(both: Figures) -> float:
    """The gateway's median as a multiple of the plain proxy's."""
    plain, gateway = map(median, both)
    return gateway / plain if plain else float("nan")


def times(both: Figures) -> str:
    """The same in words."""
    return f"{ratio(both):.2f}x"
