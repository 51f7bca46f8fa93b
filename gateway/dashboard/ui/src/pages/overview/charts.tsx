import { useComputed, useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { Stats, Step } from "../../api";
import { Chart, type Line } from "../../components/chart";
import { axisDuration, count, duration, short, span } from "../../format";
import { href, navigate } from "../../router";
import { strings } from "../../strings/overview";
import { setZoom, steps, toIso } from "./window";

const s = strings.charts;
const milliseconds = (ms: number) => duration(ms);

/** Four pictures of the window: what came out, how long it took, how full it was, what it carried. */
export function Charts({ stats }: { stats: Stats }) {
  const drawn = useMemo(() => steps(stats), [stats, location.search]);
  const times = useMemo(() => drawn.map((step) => Date.parse(step.at) / 1000), [drawn]);
  const firstByte = useSignal(false);
  const kind = useComputed(() => (firstByte.value ? "first_byte_ms" : "duration_ms") as "first_byte_ms" | "duration_ms");
  const stepS = stats.step_s ?? 60;
  const column = (of: (step: Step) => number | null) => drawn.map(of);
  const throughput = useMemo<Line[]>(() => [
    { label: s.succeeded, values: column((step) => step.succeeded), color: "--fill-succeeded", draw: "bars" },
    { label: s.cancelled, values: column((step) => step.cancelled), color: "--fill-cancelled", draw: "bars" },
    { label: s.expired, values: column((step) => step.expired), color: "--fill-expired", draw: "bars" },
    { label: s.failed, values: column((step) => step.failed), color: "--fill-failed", draw: "bars" },
  ], [drawn]);
  const latency = useMemo<Line[]>(() => [
    { label: s.p50, values: column((step) => step[kind.value].p50), color: "--fill-accent" },
    { label: s.p95, values: column((step) => step[kind.value].p95), color: "--fill-queued" },
    { label: s.p99, values: column((step) => step[kind.value].p99), color: "--fill-failed" },
  ], [drawn, kind.value]);
  const fullest = Math.max(4, ...drawn.map((step) => Math.max(step.in_flight_max, step.queued_max)));
  const limit = drawn.at(-1)?.limit ?? 0;
  const load = useMemo<Line[]>(() => [
    { label: s.inFlight, values: column((step) => step.in_flight_max), color: "--fill-running", draw: "area" },
    { label: s.queued, values: column((step) => step.queued_max), color: "--fill-queued", draw: "area" },
    // A limit far above would press everything else to the ground; the card above names it anyway.
    ...(limit && limit <= 4 * fullest ? [{ label: s.limit, values: column((step) => step.limit || null), color: "--line-control", draw: "dashes" as const }] : []),
  ], [drawn]);
  const tokens = useMemo<Line[]>(() => [
    { label: s.output, values: column((step) => step.output_tokens), color: "--fill-accent", draw: "bars" },
    { label: s.input, values: column((step) => step.input_tokens), color: "--fill-cancelled", draw: "bars" },
  ], [drawn]);
  const shared = {
    times, stepS, onZoom: setZoom,
    onPick: (from: number, to: number) => navigate(href("calls", { from: toIso(from), to: toIso(to) })),
  };
  const totals = stats.totals;
  const distribution = totals?.[kind.value];
  const highest = (of: (step: Step) => number) => count(Math.max(0, ...drawn.map(of)));
  return (
    <div class="charts">
      <Chart
        {...shared} title={s.throughput} lines={throughput} format={count} axis={short}
        summary={totals?.calls ? s.throughputSummary(count(totals.calls), count(totals.failed + totals.expired), span(stats.window_s ?? 0)) : s.nothing}
      />
      <Chart
        {...shared} title={firstByte.value ? s.firstByte : s.latency} lines={latency} format={milliseconds} axis={axisDuration} durations
        summary={distribution?.count ? s.latencySummary(duration(distribution.p50), duration(distribution.p95), duration(distribution.p99)) : s.nothing}
        actions={
          <div class="segments small">
            <button type="button" aria-pressed={!firstByte.value} onClick={() => { firstByte.value = false; }}>{s.latency}</button>
            <button type="button" aria-pressed={firstByte.value} onClick={() => { firstByte.value = true; }}>{s.firstByte}</button>
          </div>
        }
      />
      <Chart
        {...shared} title={s.load} lines={load} format={short} atLeast={4}
        summary={s.loadSummary(highest((step) => step.in_flight_max), highest((step) => step.queued_max), count(limit))}
      />
      <Chart {...shared} title={s.tokens} lines={tokens} format={short} summary={s.tokensSummary(count(totals?.input_tokens ?? 0), count(totals?.output_tokens ?? 0))} />
    </div>
  );
}
