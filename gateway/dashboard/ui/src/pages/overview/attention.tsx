// What a person should look at, worst first; nothing at all when everything is well.

import { signal } from "@preact/signals";
import type { Call, Journal, Stats } from "../../api";
import { Button } from "../../components/button";
import { Card } from "../../components/card";
import { tick } from "../../clock";
import { bytes, count, duration, percent } from "../../format";
import { Icon } from "../../icons";
import { health, liveStats, liveUpstreams, openCalls } from "../../live";
import { href } from "../../router";
import { strings } from "../../strings/overview";
import { range } from "./window";

const s = strings.attention;

const SATURATED_S = 30;
const LAG_MS = 100;
const PENDING_WRITES = 1000;
const LOW_DISK_BYTES = 2e9;
const ENOUGH_CALLS = 20; // below, a share or a percentile says little

interface Concern {
  id: string;
  grave: boolean;
  text: string;
  to?: string;
  /** It will not go away by itself. */
  dismissable?: boolean;
}

const dismissed = signal<ReadonlySet<string>>(new Set());

export function Attention({ stats, journal }: { stats: Stats; journal: Journal | undefined }) {
  const concerns = find(stats, journal).filter(({ id }) => !dismissed.value.has(id));
  return (
    <div role="status" class="attention-host">
      {concerns.length > 0 && (
        <Card title={s.title} class="attention">
          <ul>
            {concerns.map((concern) => (
              <li key={concern.id} class={concern.grave ? "grave" : ""}>
                <Icon name={concern.grave ? "failed" : "warning"} />
                {concern.to === undefined ? <span>{concern.text}</span> : <a href={concern.to}>{concern.text}</a>}
                {concern.dismissable && <Button kind="ghost" small icon="close" label={s.dismiss} onClick={() => { dismissed.value = new Set(dismissed.value).add(concern.id); }} />}
              </li>
            ))}
          </ul>
        </Card>
      )}
    </div>
  );
}

function find(stats: Stats, journal: Journal | undefined): Concern[] {
  const found: Concern[] = [];
  for (const check of health.value?.checks ?? []) {
    if (!check.ok) found.push({ id: `check ${check.name}`, grave: true, text: s.check(check.name, check.detail ?? s.checkFailed), to: href("settings") });
  }
  if (journal?.integrity.startsWith("damaged")) found.push({ id: "integrity", grave: true, text: s.integrity(journal.integrity), to: href("settings") });
  if (journal && journal.free_bytes < LOW_DISK_BYTES) found.push({ id: "disk", grave: true, text: s.disk(bytes(journal.free_bytes)), to: href("settings") });
  const live = liveStats.value;
  if (live && live.loop_lag_ms > LAG_MS) found.push({ id: "lag", grave: false, text: s.lag(duration(live.loop_lag_ms)) });
  if (live && live.journal_pending > PENDING_WRITES) found.push({ id: "pending", grave: false, text: s.pending(count(live.journal_pending)), to: href("settings") });
  found.push(...ofUpstreams(stats), ...ofCalls(stats));
  if (stats.recovered.failed) {
    found.push({ id: "interrupted", grave: false, text: s.interrupted(count(stats.recovered.failed)), to: href("calls", { q: "error:interrupted" }), dismissable: true });
  }
  return found;
}

function ofUpstreams(stats: Stats): Concern[] {
  const found: Concern[] = [];
  for (const upstream of liveUpstreams.value.values()) {
    const { name } = upstream;
    const to = href(["upstreams", name]);
    const waiting = upstream.queued + upstream.queued_detached;
    if (upstream.paused && waiting) found.push({ id: `paused ${name}`, grave: false, text: s.paused(name, count(waiting)), to });
    else if (waiting && upstream.in_flight >= upstream.max_in_flight) {
      const oldestMs = oldestQueued(name);
      if (oldestMs > SATURATED_S * 1000) found.push({ id: `full ${name}`, grave: false, text: s.saturated(name, count(waiting), duration(oldestMs)), to });
    }
    const totals = stats.upstreams?.[name];
    if (!totals || totals.calls < ENOUGH_CALLS) continue;
    const failing = (totals.failed + totals.expired) / totals.calls;
    if (failing > 0.2) found.push({ id: `failing ${name}`, grave: true, text: s.failing(name, percent(failing)), to: href("calls", { q: `upstream:${name} status:failed,expired`, range: range.value }) });
    const limited = totals.rate_limited / Math.max(1, totals.attempts);
    if (limited > 0.1) found.push({ id: `limited ${name}`, grave: false, text: s.limited(name, percent(limited)), to });
  }
  return found;
}

function oldestQueued(name: string): number {
  const since = [...openCalls.value.values()].filter((call) => call.status === "queued" && call.upstream === name).map((call) => Date.parse(call.created_at));
  return since.length ? tick.value - Math.min(...since) : 0;
}

/** Calls that run for longer than three times what 99 of 100 take. */
function ofCalls(stats: Stats): Concern[] {
  const slow = [...openCalls.value.values()].flatMap((call) => {
    const usual = stats.upstreams?.[call.upstream]?.duration_ms;
    const ran = call.status === "running" && call.started_at ? tick.value - Date.parse(call.started_at) : 0;
    return usual?.p99 && usual.count >= ENOUGH_CALLS && ran > 3 * usual.p99 && ran > 10_000 ? [{ call, ran, p99: usual.p99 }] : [];
  });
  slow.sort((a, b) => b.ran - a.ran);
  return slow.slice(0, 3).map(({ call, ran, p99 }) => ({
    id: `slow ${call.id}`, grave: false, text: s.slow(nameOf(call), duration(ran), duration(p99)), to: href(["calls", call.id]),
  }));
}

const nameOf = (call: Call) => call.model ?? call.path;
