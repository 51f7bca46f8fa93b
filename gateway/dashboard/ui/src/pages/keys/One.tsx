// One key: what it did lately, how near its limits it is, and its bounds.

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { useEvery, useGet, type Stats } from "../../api";
import { Button, ButtonLink } from "../../components/button";
import { Card, Metric } from "../../components/card";
import { Chart, type Line } from "../../components/chart";
import { Empty, Failed, Loading } from "../../components/empty";
import { Page } from "../../components/page";
import { chosenRange, Ranges } from "../../components/ranges";
import { Time } from "../../components/time";
import { toast } from "../../components/toast";
import { count, duration, percent, short, span } from "../../format";
import { href, navigate } from "../../router";
import { t } from "../../strings";
import { strings } from "../../strings/keys";
import { revoke, stateOf, type Key } from "./data";
import { KeyForm } from "./form";
import { Allowed, KeyState, Limits } from "./shown";

const s = strings.one;
const RANGE = "24h"; // limits count a day

export function OneKey({ id }: { id: string }) {
  const window = chosenRange(RANGE);
  const loaded = useGet<Key>(`keys/${encodeURIComponent(id)}`);
  const stats = useGet<Stats>("stats", { window, key: id });
  useEvery(5000, loaded.reload);
  useEvery(10_000, stats.reload);
  const changing = useSignal(false);
  const key = loaded.data.value;
  const error = loaded.error.value;
  if (!key) {
    return (
      <Page title={t.nav.keys}>
        {error?.status === 404 ? <Empty icon="search" title={s.missing} actions={<ButtonLink href={href("keys")}>{s.back}</ButtonLink>}><p>{s.missingBody(id)}</p></Empty>
          : error ? <Failed error={error} retry={loaded.reload} /> : <Loading rows={5} />}
      </Page>
    );
  }
  const calls = href("calls", { q: `key:${key.id}` });
  const isOver = key.revoked_at !== null;
  return (
    <Page
      title={key.name} class="key-page" heading={<span class="row wrap"><span>{key.name}</span><KeyState of={key} /></span>} subtitle={<code>gw_{key.id}…</code>}
      actions={<>
        <Ranges otherwise={RANGE} />
        <ButtonLink icon="calls" href={calls}>{strings.actions.calls}</ButtonLink>
        {!isOver && <Button icon="settings" onClick={() => { changing.value = true; }}>{strings.actions.change}</Button>}
        {!isOver && <Button icon="trash" kind="danger" onClick={() => void revoke(key).then((done) => { if (done) navigate(href("keys")); })}>{strings.actions.revoke}</Button>}
      </>}
    >
      <Numbers stats={stats.data.value} calls={calls} id={key.id} />
      <div class="key-grid">
        <Card title={s.limits}><Limits of={key} empty={s.noLimits} /></Card>
        <Card title={s.about}><About of={key} /></Card>
      </div>
      <History stats={stats.data.value} />
      {changing.value && <KeyForm of={key} onClose={() => { changing.value = false; }} onDone={(now) => { changing.value = false; toast(strings.form.saved(now.name)); loaded.reload(); }} />}
    </Page>
  );
}

function Numbers({ stats, calls, id }: { stats: Stats | undefined; calls: string; id: string }) {
  const totals = stats?.totals;
  const bad = totals ? totals.failed + totals.expired : 0;
  const of = (part: number, all: number) => percent(all ? part / all : 0);
  return (
    <div class="metrics">
      <Metric label={s.calls} value={totals ? short(totals.calls) : "–"} note={totals && s.attempts(short(totals.attempts))} href={calls} />
      <Metric label={s.succeeded} value={totals ? of(totals.succeeded, totals.calls) : "–"} note={totals && count(totals.succeeded)} href={href("calls", { q: `key:${id} status:succeeded` })} />
      <Metric label={s.failed} value={totals ? of(bad, totals.calls) : "–"} note={totals && count(bad)} tone={totals && totals.calls && bad / totals.calls >= 0.05 ? "bad" : undefined} href={href("calls", { q: `key:${id} status:failed,expired` })} />
      <Metric label={s.limited} value={totals ? of(totals.rate_limited, totals.attempts) : "–"} note={totals && count(totals.rate_limited)} />
      <Metric label={s.p95} value={duration(totals?.duration_ms.p95)} note={totals && s.p50(duration(totals.duration_ms.p50))} />
      <Metric label={s.queue} value={duration(totals?.queued_ms.p95)} note={totals && s.p50(duration(totals.queued_ms.p50))} />
      <Metric label={s.tokens} value={totals ? <>{short(totals.input_tokens)} <small>→</small> {short(totals.output_tokens)}</> : "–"} note={totals && s.total(short(totals.total_tokens))} />
    </div>
  );
}

function About({ of: key }: { of: Key }) {
  const madeBy = key.created_by.replace(/^session:/, "");
  return (
    <dl class="facts">
      <dt>{strings.columns.scopes}</dt><dd><ul>{key.scopes.map((scope) => <li key={scope}>{strings.scopeAbout[scope]} <code class="muted">{scope}</code></li>)}</ul></dd>
      <dt>{s.limitedTo}</dt><dd><Allowed of={key} /></dd>
      <dt>{strings.columns.bodies}</dt><dd>{strings.bodies[key.bodies]} <span class="muted">· {strings.bodiesAbout[key.bodies]}</span></dd>
      <dt>{strings.columns.created}</dt><dd><Time at={key.created_at} /></dd>
      <dt>{s.madeBy}</dt><dd>{madeBy === "anonymous" ? <span class="muted">{s.madeByNobody}</span> : madeBy === "cli" ? "gateway keys" : <a href={href(["keys", madeBy])}><code>gw_{madeBy}…</code></a>}</dd>
      <dt>{strings.columns.used}</dt><dd>{key.last_used_at ? <Time at={key.last_used_at} /> : <span class="muted">{strings.never}</span>}</dd>
      {key.expires_at && stateOf(key) !== "revoked" && <><dt>{s.expires}</dt><dd><Time at={key.expires_at} /></dd></>}
    </dl>
  );
}

function History({ stats }: { stats: Stats | undefined }) {
  const series = stats?.series;
  const times = useMemo(() => (series ?? []).map(({ at }) => Date.parse(at) / 1000), [series]);
  const lines = useMemo((): Line[] => {
    const steps = series ?? [];
    return [
      { label: s.succeeded, values: steps.map((each) => each.succeeded), color: "--fill-succeeded", draw: "bars" },
      { label: s.failed, values: steps.map((each) => each.failed + each.expired), color: "--fill-failed", draw: "bars" },
      { label: t.status.cancelled, values: steps.map((each) => each.cancelled), color: "--fill-cancelled", draw: "bars" },
    ];
  }, [series]);
  if (!series) return null;
  return <Chart title={s.chart} times={times} stepS={stats.step_s ?? 60} lines={lines} format={count} summary={s.summary(count(stats.totals?.calls ?? 0), span(stats.window_s ?? 0))} />;
}
