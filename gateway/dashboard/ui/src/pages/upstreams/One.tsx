// One upstream: what it does, what waits for it and why, and its limit, changed while it runs.

import { useMemo } from "preact/hooks";
import { useGet, type Call, type List, type Stats, type Upstream } from "../../api";
import { ButtonLink } from "../../components/button";
import { Card, Metric } from "../../components/card";
import { Chart, type Line } from "../../components/chart";
import { Empty, Loading } from "../../components/empty";
import { Page } from "../../components/page";
import { chosenRange, Ranges } from "../../components/ranges";
import { phase } from "../../components/state";
import { Table } from "../../components/table";
import { Time } from "../../components/time";
import { count, duration, percent, short } from "../../format";
import { openCalls } from "../../live";
import { href } from "../../router";
import { t as shared } from "../../strings";
import { strings as t } from "../../strings/upstreams";
import { PauseButton, UpstreamState } from "./All";
import { useRates, useUpstreams } from "./data";
import { Limit } from "./Limit";

export function OneUpstream({ name }: { name: string }) {
  const { upstreams, loaded } = useUpstreams();
  const upstream = upstreams.find((each) => each.name === name);
  const rates = useRates(chosenRange(), upstream ? name : undefined).data.value;
  if (!upstream) {
    return (
      <Page title={name}>
        {loaded.loading.value && !loaded.data.value ? <Loading rows={5} /> : <Empty icon="search" title={t.missing.title} actions={<ButtonLink href={href("upstreams")}>{t.missing.back}</ButtonLink>}><p>{t.missing.body(name)}</p></Empty>}
      </Page>
    );
  }
  return (
    <Page
      title={name} class="upstream-page"
      heading={<span class="row"><span>{name}</span><UpstreamState upstream={upstream} /></span>}
      subtitle={<span class="upstream-about"><span class="mono">{upstream.base_url}</span><span class="chip">{upstream.dialect}</span>{upstream.models.map((model) => <span class="chip mono" key={model}>{model}</span>)}{!upstream.models.length && <span class="muted">{t.detail.anyModel}</span>}</span>}
      actions={<><Ranges /><PauseButton upstream={upstream} /></>}
    >
      <Numbers upstream={upstream} rates={rates} />
      <div class="upstream-grid">
        <Limit upstream={upstream} />
        <Why upstream={upstream} />
      </div>
      <Flight upstream={upstream} rates={rates} />
      <Failures name={name} />
    </Page>
  );
}

function Numbers({ upstream, rates }: { upstream: Upstream; rates: Stats | undefined }) {
  const { name, in_flight, max_in_flight, queued, queued_detached, retries_in_flight } = upstream;
  const totals = rates?.upstreams?.[name] ?? (rates?.totals?.calls === 0 ? rates.totals : undefined);
  const ended = totals?.calls ?? 0;
  return (
    <div class="metrics">
      <Metric label={t.detail.inFlight} value={count(in_flight)} note={retries_in_flight ? `${t.detail.ofLimit(max_in_flight)} · ${t.detail.retries(retries_in_flight)}` : t.detail.ofLimit(max_in_flight)} href={href("calls", { q: `upstream:${name} status:running` })} tone={in_flight >= max_in_flight ? "warn" : undefined} />
      <Metric label={t.detail.queued} value={count(queued)} note={queued_detached ? t.detail.queuedNote(queued_detached) : "\u00a0"} href={href("calls", { q: `upstream:${name} status:queued` })} />
      <Metric label={t.detail.calls} value={totals ? short(ended) : "–"} note={totals && t.detail.attempts(short(totals.attempts))} href={href("calls", { q: `upstream:${name}` })} />
      <Metric label={t.detail.failed} value={totals ? percent(ended ? (totals.failed + totals.expired) / ended : 0) : "–"} note={totals && count(totals.failed + totals.expired)} tone={totals && ended && (totals.failed + totals.expired) / ended >= 0.05 ? "bad" : undefined} href={href("calls", { q: `upstream:${name} status:failed,expired` })} />
      <Metric label={t.detail.limited} value={totals ? percent(totals.attempts ? totals.rate_limited / totals.attempts : 0) : "–"} note={totals && count(totals.rate_limited)} tone={totals && totals.attempts && totals.rate_limited / totals.attempts >= 0.05 ? "warn" : undefined} />
      <Metric label={t.detail.firstByte} value={duration(totals?.first_byte_ms.p95)} note={totals && t.detail.p50(duration(totals.first_byte_ms.p50))} />
      <Metric label={t.detail.total} value={duration(totals?.duration_ms.p95)} note={totals && t.detail.p50(duration(totals.duration_ms.p50))} />
      <Metric label={t.detail.tokens} value={totals ? short(totals.output_tokens) : "–"} note={totals && t.detail.tokensIn(short(totals.input_tokens))} />
    </div>
  );
}

/** The wait reasons of what is queued for it. */
function Why({ upstream }: { upstream: Upstream }) {
  const { name } = upstream;
  const known = [...openCalls.value.values()].filter((call) => call.upstream === name && call.status === "queued");
  const reasons = new Map<string, Call[]>();
  for (const call of known) {
    const reason = call.wait_reason ?? "slot";
    reasons.set(reason, [...(reasons.get(reason) ?? []), call]);
  }
  const rows = [...reasons].sort(([, a], [, b]) => b.length - a.length);
  const total = Math.max(upstream.queued, known.length);
  return (
    <Card title={t.why.title} class="why" actions={total > 0 && <ButtonLink small kind="ghost" href={href("calls", { q: `upstream:${name} status:queued` })}>{t.why.list}</ButtonLink>}>
      {!total ? <p class="muted">{t.why.none}</p> : (
        <dl class="why-list">
          {rows.map(([reason, calls]) => (
            <div key={reason}>
              <dt>{(shared.wait as Record<string, string>)[reason] ?? reason}</dt>
              <dd><span class="gauge queued"><i style={{ "--share": String(calls.length / total) }} /></span><b>{count(calls.length)}</b><span class="muted">{t.why.oldest} <Time at={oldest(calls)} /></span></dd>
            </div>
          ))}
        </dl>
      )}
      {total > known.length && known.length > 0 && <p class="muted">{t.why.more(count(total - known.length))}</p>}
      {upstream.queued_detached > 0 && <p class="muted">{t.why.detached(count(upstream.queued_detached))}</p>}
    </Card>
  );
}

const oldest = (calls: Call[]) => calls.reduce((first, { created_at }) => (created_at < first ? created_at : first), calls[0]?.created_at ?? "");

function Flight({ upstream, rates }: { upstream: Upstream; rates: Stats | undefined }) {
  const series = rates?.series;
  const times = useMemo(() => (series ?? []).map(({ at }) => Date.parse(at) / 1000), [series]);
  const lines = useMemo((): Line[] => {
    const steps = series ?? [];
    return [
      { label: t.chart.inFlight, values: steps.map((each) => each.in_flight), color: "--fill-running", draw: "area" },
      { label: t.chart.most, values: steps.map((each) => each.in_flight_max), color: "--fill-accent" },
      { label: t.chart.queued, values: steps.map((each) => each.queued_max), color: "--fill-queued" },
      { label: t.chart.limit, values: steps.map((each) => each.limit || null), color: "--fill-failed", draw: "dashes" },
    ];
  }, [series]);
  if (!series) return null;
  const top = (values: (number | null)[]) => Math.max(0, ...values.map((each) => each ?? 0));
  return (
    <Chart
      title={t.chart.title} times={times} stepS={rates?.step_s ?? 60} lines={lines} format={whole}
      summary={t.chart.summary(upstream.max_in_flight, top(lines[1]?.values ?? []), top(lines[2]?.values ?? []))}
    />
  );
}

const whole = (value: number) => (Number.isInteger(value) ? count(value) : value.toFixed(1));

function Failures({ name }: { name: string }) {
  const q = `upstream:${name} status:failed,expired`;
  const found = useGet<List<Call>>("calls", { upstream: name, status: "failed", limit: 8 });
  const calls = found.data.value?.data ?? [];
  return (
    <Card title={t.failures.title} flush actions={calls.length > 0 && <ButtonLink small kind="ghost" href={href("calls", { q })}>{t.failures.all}</ButtonLink>}>
      {!calls.length ? <p class="card-none">{found.loading.value ? "" : t.failures.none}</p> : (
        <Table
          caption={t.failures.caption} rows={calls} rowKey={({ id }) => id}
          columns={[
            { key: "call", label: t.failures.call, heading: true, render: (call) => <a href={href(["calls", call.id])}>{call.model ?? call.path}</a> },
            { key: "error", label: t.failures.error, class: "wraps", render: (call) => <span><span class="bad">{phase(call)}</span>{call.error?.message && <span class="muted"> {call.error.message}</span>}</span> },
            { key: "when", label: t.failures.when, render: (call) => <Time at={call.finished_at} /> },
            { key: "took", label: t.failures.took, align: "end", render: (call) => duration(call.duration_ms) },
          ]}
        />
      )}
    </Card>
  );
}
