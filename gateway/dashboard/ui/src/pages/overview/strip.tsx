import { useSignal } from "@preact/signals";
import { useCallback, useEffect } from "preact/hooks";
import { get, useEvery, type Stats, type Upstream } from "../../api";
import { Card } from "../../components/card";
import { Gauge, Sparkline } from "../../components/gauge";
import { Table, type Column } from "../../components/table";
import { count, duration, percent, rate } from "../../format";
import { Icon } from "../../icons";
import { liveUpstreams } from "../../live";
import { href } from "../../router";
import { strings } from "../../strings/overview";

const s = strings.strip;
const MOST_TRENDS = 8; // each is a request; beyond, rows have no small chart

/** One row an upstream: how full it is now, how it did in the last five minutes. */
export function Strip() {
  const upstreams = [...liveUpstreams.value.values()];
  const names = upstreams.map((each) => each.name).join(" ");
  const recent = useSignal<Stats | null>(null);
  const trends = useSignal<ReadonlyMap<string, number[]>>(new Map());
  const load = useCallback(async () => {
    const wanted = names.split(" ").filter(Boolean).slice(0, MOST_TRENDS);
    try {
      const [all, ...each] = await Promise.all([
        get<Stats>("stats", { window: "5m" }),
        ...wanted.map((upstream) => get<Stats>("stats", { window: "5m", upstream })),
      ]);
      recent.value = all;
      trends.value = new Map(wanted.map((name, at) => [name, (each[at]?.series ?? []).slice(0, -1).map((step) => step.calls)]));
    } catch {
      // the page's own request tells what is wrong
    }
  }, [names]);
  useEffect(() => { void load(); }, [load]);
  useEvery(15_000, load);
  const of = (upstream: Upstream) => recent.value?.upstreams?.[upstream.name];
  const columns: Column<Upstream>[] = [
    { key: "name", label: s.name, heading: true, render: (each) => <a href={href(["upstreams", each.name])}>{each.name}</a> },
    { key: "state", label: s.state, render: (each) => <UpstreamState upstream={each} /> },
    { key: "slots", label: s.slots, render: (each) => <Gauge used={each.in_flight} of={each.max_in_flight} label={s.slotsOf(each.name)} /> },
    { key: "queued", label: s.queued, align: "end", render: (each) => { const n = each.queued + each.queued_detached; return n ? <a href={href("calls", { q: `status:queued upstream:${each.name}` })}>{count(n)}</a> : <span class="muted">0</span>; } },
    { key: "rate", label: s.rate, align: "end", render: (each) => { const found = of(each); return found?.calls ? rate(found.calls / 300) : <span class="muted">–</span>; } },
    { key: "errors", label: s.errors, align: "end", render: (each) => <Errors upstream={each} stats={recent.value} /> },
    { key: "first", label: s.firstByte, align: "end", render: (each) => duration(of(each)?.first_byte_ms.p95) },
    { key: "p95", label: s.p95, align: "end", render: (each) => duration(of(each)?.duration_ms.p95) },
    { key: "trend", label: s.trend, align: "end", render: (each) => { const values = trends.value.get(each.name); return values ? <Sparkline values={values} label={s.trendOf(each.name, count(values.reduce((sum, n) => sum + n, 0)))} /> : null; } },
  ];
  return (
    <Card title={s.title} flush>
      <Table class="upstream-strip" caption={s.caption} columns={columns} rows={upstreams} rowKey={(each) => each.name} />
    </Card>
  );
}

function UpstreamState({ upstream }: { upstream: Upstream }) {
  if (upstream.paused) return <span class="state queued"><Icon name="pause" size={14} />{s.paused}</span>;
  if (upstream.in_flight >= upstream.max_in_flight) return <span class="state queued"><Icon name="warning" size={14} />{s.full}</span>;
  if (!upstream.in_flight) return <span class="state muted">{s.idle}</span>;
  return <span class="state succeeded"><Icon name="succeeded" size={14} />{s.active}</span>;
}

function Errors({ upstream, stats }: { upstream: Upstream; stats: Stats | null }) {
  const found = stats?.upstreams?.[upstream.name];
  if (!found?.calls) return <span class="muted">–</span>;
  const failed = found.failed + found.expired;
  if (!failed) return <span class="muted">0 %</span>;
  return <a class="bad" href={href("calls", { q: `upstream:${upstream.name} status:failed,expired`, range: "15m" })}>{percent(failed / found.calls)}</a>;
}
