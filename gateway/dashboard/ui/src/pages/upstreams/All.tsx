// The table of all upstreams.

import { useGet, type Stats, type Totals, type Upstream } from "../../api";
import { Button } from "../../components/button";
import { Card } from "../../components/card";
import { Empty, Failed, Loading } from "../../components/empty";
import { Gauge, Sparkline } from "../../components/gauge";
import { Page } from "../../components/page";
import { chosenRange, DEFAULT_RANGE, Ranges, RANGES } from "../../components/ranges";
import { Table } from "../../components/table";
import { count, duration, percent, rate, span } from "../../format";
import { href } from "../../router";
import { lacks } from "../../session";
import { t as shared } from "../../strings";
import { strings as t } from "../../strings/upstreams";
import { setPaused, useRates, useUpstreams } from "./data";

export function AllUpstreams() {
  const window = chosenRange();
  const { upstreams, loaded } = useUpstreams();
  const rates = useRates(window).data.value;
  const of = (name: string): Totals | undefined => rates?.upstreams?.[name];
  return (
    <Page title={shared.nav.upstreams} subtitle={t.subtitle(upstreams.length, span(RANGES[window] ?? 3600))} actions={<Ranges />}>
      {!upstreams.length && loaded.error.value ? <Failed error={loaded.error.value} retry={loaded.reload} />
        : !upstreams.length && loaded.loading.value ? <Loading rows={4} />
        : !upstreams.length ? <Empty icon="upstreams" title={t.empty.title}><p>{t.empty.body}</p></Empty>
        : (
          <Card flush>
            <Table
              caption={t.caption} rows={upstreams} rowKey={({ name }) => name} class="upstreams-table"
              columns={[
                { key: "name", label: t.columns.name, heading: true, render: ({ name, base_url }) => <span class="upstream-name"><a href={href(["upstreams", name], { range: window === DEFAULT_RANGE ? null : window })}>{name}</a><span class="mono muted truncate" title={base_url}>{base_url}</span></span> },
                { key: "state", label: t.columns.state, render: (each) => <UpstreamState upstream={each} /> },
                { key: "slots", label: t.columns.slots, title: t.columns.slotsHint, render: ({ name, in_flight, max_in_flight }) => <Gauge used={in_flight} of={max_in_flight} label={t.slotsOf(name)} /> },
                { key: "queue", label: t.columns.queue, title: t.columns.queueHint, align: "end", render: ({ queued, queued_detached }) => <>{count(queued)}{queued_detached > 0 && <span class="muted"> ({count(queued_detached)})</span>}</> },
                { key: "rate", label: t.columns.rate, align: "end", render: ({ name }) => figure(of(name), (each) => pace(each.calls, rates?.window_s ?? 3600)) },
                { key: "limited", label: t.columns.limited, title: t.columns.limitedHint, align: "end", render: ({ name }) => figure(of(name), (each) => share(each.rate_limited, each.attempts)) },
                { key: "errors", label: t.columns.errors, title: t.columns.errorsHint, align: "end", render: ({ name }) => figure(of(name), (each) => share(each.failed + each.expired, each.calls)) },
                { key: "first", label: t.columns.firstByte, align: "end", render: ({ name }) => figure(of(name), (each) => duration(each.first_byte_ms.p95)) },
                { key: "trend", label: t.columns.trend, render: ({ name }) => <Trend name={name} window={window} /> },
                { key: "act", label: <span class="visually-hidden">{t.columns.act}</span>, align: "end", render: (each) => <PauseButton upstream={each} small /> },
              ]}
            />
          </Card>
        )}
    </Page>
  );
}

const figure = (totals: Totals | undefined, show: (totals: Totals) => preact.ComponentChildren) => (totals && totals.calls > 0 ? show(totals) : <span class="muted">–</span>);

/** Calls a second, or a minute where they are few. */
function pace(calls: number, seconds: number) {
  const perSecond = calls / seconds;
  return <span title={t.callsIn(count(calls), span(seconds))}>{perSecond >= 0.1 ? rate(perSecond) : t.perMinute((perSecond * 60).toPrecision(2).replace(/\.0$/, ""))}</span>;
}

const share = (part: number, of: number) => (of > 0 && part > 0 ? <span class={part / of >= 0.05 ? "bad" : ""}>{percent(part / of)}</span> : "0 %");

export function UpstreamState({ upstream }: { upstream: Upstream }) {
  if (upstream.paused) return <span class="chip warn">{t.paused}</span>;
  if (upstream.breaker && upstream.breaker.state !== "closed") return <span class="chip warn">{t.breaker[upstream.breaker.state]}</span>;
  if (upstream.in_flight >= upstream.max_in_flight) return <span class="chip warn">{t.saturated}</span>;
  return <span class={upstream.in_flight ? "chip good" : "chip"}>{upstream.in_flight ? t.taking : t.idle}</span>;
}

export function PauseButton({ upstream: { name, paused }, small = false }: { upstream: Upstream; small?: boolean }) {
  const label = `${paused ? t.resume : t.pause} ${name}`;
  return small
    ? <Button small kind="ghost" denied={lacks("admin")} icon={paused ? "play" : "pause"} label={label} onClick={() => void setPaused(name, !paused)} />
    : <Button denied={lacks("admin")} icon={paused ? "play" : "pause"} kind={paused ? "primary" : "plain"} onClick={() => void setPaused(name, !paused)}>{paused ? t.resume : t.pause}</Button>;
}

function Trend({ name, window }: { name: string; window: string }) {
  const calls = useGet<Stats>("stats", { window, upstream: name }).data.value?.series?.map((step) => step.calls) ?? [];
  return <Sparkline values={calls} label={t.trendOf(name, calls.at(-1) ?? 0, Math.max(0, ...calls))} />;
}

