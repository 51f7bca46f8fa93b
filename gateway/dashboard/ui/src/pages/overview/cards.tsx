import type { Distribution, Stats, Totals } from "../../api";
import { Metric } from "../../components/card";
import { count, dollars, duration, percent, short, significantRate } from "../../format";
import { liveStats } from "../../live";
import { href } from "../../router";
import { strings } from "../../strings/overview";
import { range } from "./window";

const s = strings.cards;

/** The numbers at the top; each leads to the calls it counts. */
export function Cards({ stats }: { stats: Stats }) {
  const { totals, previous } = stats;
  const live = liveStats.value ?? stats;
  const slots = live.in_flight;
  const limit = stats.series?.at(-1)?.limit;
  const windowS = elapsedS(stats);
  const within = { range: range.value };
  const ended = totals?.calls ?? 0;
  const failed = (totals?.failed ?? 0) + (totals?.expired ?? 0);
  const oldest = liveStats.value?.oldest_queued_s;
  return (
    <div class="metrics overview-metrics">
      <Metric label={s.inFlight} value={count(slots)} note={limit ? s.ofSlots(count(limit)) : null} href={href("calls", { q: "status:running" })} />
      <Metric
        label={s.queued} value={count(live.queued)} tone={oldest && oldest > 30 ? "warn" : undefined} href={href("calls", { q: "status:queued" })}
        note={live.queued ? (oldest ? s.oldest(duration(oldest * 1000)) : null) : s.nobody}
      />
      <Metric label={s.calls} value={significantRate(ended / windowS).value} unit={significantRate(ended / windowS).unit} note={withDelta(s.total(short(ended)), totals, previous, (each) => each.calls)} title={count(ended)} href={href("calls", within)} />
      <Metric
        label={s.errors} value={ended ? percent(failed / ended) : "–"} tone={failed / ended > 0.1 ? "bad" : undefined} href={href("calls", { q: "status:failed,expired", ...within })}
        note={errorNote(totals, failed)}
      />
      <Metric label={s.duration} value={value(totals?.duration_ms, "p50")} note={tail(totals?.duration_ms)} href={href("calls", { q: slower(totals?.duration_ms, "dur"), ...within })} />
      <Metric label={s.queueWait} value={value(totals?.queued_ms, "p95")} note={median(totals?.queued_ms)} href={href("calls", { q: slower(totals?.queued_ms, "queue"), ...within })} />
      <Metric label={s.firstByte} value={value(totals?.first_byte_ms, "p95")} note={median(totals?.first_byte_ms)} href={href("calls", { q: slower(totals?.first_byte_ms, "ttfb"), ...within })} />
      <Metric
        label={s.tokens} value={significantRate((totals?.total_tokens ?? 0) / windowS).value} unit={significantRate((totals?.total_tokens ?? 0) / windowS).unit} href={href("calls", { q: "tokens:>0", ...within })}
        note={totals?.total_tokens ? s.tokensNote(short(totals.input_tokens), short(totals.output_tokens)) + (totals.cost_usd === null ? "" : ` · ${dollars(totals.cost_usd)}`) : null}
      />
    </div>
  );
}

/** How much of the window has passed: its last step may be going on. */
function elapsedS({ at, since, window_s }: Stats): number {
  const passed = (Date.parse(at ?? "") - Date.parse(since ?? "")) / 1000;
  return Math.max(1, Number.isFinite(passed) ? passed : (window_s ?? 3600));
}

function value(found: Distribution | undefined, which: "p50" | "p95"): string {
  return duration(found?.[which]);
}

const median = (found: Distribution | undefined) => (found?.count ? s.median(duration(found.p50)) : null);
const tail = (found: Distribution | undefined) => (found?.count ? s.tail(duration(found.p95), duration(found.p99)) : null);

/** A query for the slowest twentieth. */
function slower(found: Distribution | undefined, field: string): string | null {
  return found?.p95 ? `${field}:>${Math.round(found.p95)}ms` : null;
}

function errorNote(totals: Totals | undefined, failed: number): string | null {
  if (!totals?.calls) return null;
  const parts = [failed ? s.failed(short(failed)) : s.noErrors];
  if (totals.rate_limited) parts.push(s.rateLimited(short(totals.rate_limited)));
  return parts.join(" · ");
}

/** What changed against the equal window before, when there is enough to compare. */
function withDelta(text: string, totals: Totals | undefined, previous: Totals | undefined, of: (totals: Totals) => number): string {
  const before = previous ? of(previous) : 0;
  if (!totals || before < 10) return text;
  const change = of(totals) / before - 1;
  if (Math.abs(change) < 0.01) return text;
  return `${text} · ${change > 0 ? "↑" : "↓"} ${change > 9.99 ? "> 10×" : percent(Math.abs(change))}`;
}
