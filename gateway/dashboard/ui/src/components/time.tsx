import { tick } from "../clock";
import { ago, elapsed, exactClock, iso } from "../format";

/** How long ago, ticking; the exact time in the tooltip. */
export function Time({ at }: { at: string | null | undefined }) {
  if (!at) return <span class="muted">–</span>;
  return <time dateTime={at} title={`${exactClock(at)} · ${iso(at)}`}>{ago(Date.parse(at), tick.value)}</time>;
}

/** How long it has been going on, ticking. */
export function Elapsed({ since }: { since: string }) {
  return <span class="elapsed">{elapsed(tick.value - Date.parse(since))}</span>;
}
