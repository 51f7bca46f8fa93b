// The number of slots, changed live: what it would do is said before it is done, and it can be taken back.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Upstream } from "../../api";
import { Button } from "../../components/button";
import { Card } from "../../components/card";
import { Gauge } from "../../components/gauge";
import { lacks, may } from "../../session";
import { strings as t } from "../../strings/upstreams";
import { effect, setLimit } from "./data";

const MOST = 1_000_000;

export function Limit({ upstream }: { upstream: Upstream }) {
  const { name, max_in_flight: now, configured_max_in_flight: configured } = upstream;
  const wanted = useSignal(now);
  const busy = useSignal(false);
  useEffect(() => { wanted.value = now; }, [now]);
  const to = wanted.value;
  const top = Math.max(20, 2 * Math.max(now, configured), to);
  const apply = async (value: number) => {
    busy.value = true;
    await setLimit(upstream, value);
    busy.value = false;
  };
  const type = (value: number) => { wanted.value = Number.isFinite(value) ? Math.max(1, Math.min(MOST, Math.round(value))) : now; };
  return (
    <Card title={t.limit.title} class="limit-card" actions={now !== configured ? <span class="chip warn">{t.limit.live}</span> : undefined}>
      <form class="limit-form" onSubmit={(event) => { event.preventDefault(); if (to !== now && may("admin")) void apply(to); }}>
        <div class="limit-now"><Gauge used={upstream.in_flight} of={now} label={t.slotsOf(name)} /><span class="muted">{t.limit.as(configured)}</span></div>
        <div class="limit-tune">
          <input type="range" min={1} max={top} value={to} aria-label={t.limit.slider} onInput={(event) => type(event.currentTarget.valueAsNumber)} />
          <input type="number" min={1} max={MOST} value={to} aria-label={t.limit.number} onInput={(event) => { if (event.currentTarget.value) type(event.currentTarget.valueAsNumber); }} />
          <Button kind="primary" type="submit" denied={lacks("admin")} disabled={to === now || busy.value}>{t.limit.apply}</Button>
        </div>
        <p class="limit-effect" role="status">{to === now ? <span class="muted">{t.limit.about}</span> : <><b>{t.limit.changed(now, to)}</b> {effect(upstream, to)}</>}</p>
        {now !== configured && to === now && <Button small icon="back" denied={lacks("admin")} disabled={busy.value} onClick={() => void apply(configured)}>{t.limit.reset(configured)}</Button>}
      </form>
    </Card>
  );
}
