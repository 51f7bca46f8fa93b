// How far back the figures of a page go: one choice, one look, and one word in the address, ?range=6h.

import { span } from "../format";
import { query, withQuery } from "../router";
import { t } from "../strings";

/** In seconds. */
export const RANGES: Readonly<Record<string, number>> = { "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000 };
export const DEFAULT_RANGE = "1h";

/** The range in the address. */
export function chosenRange(otherwise = DEFAULT_RANGE): string {
  const asked = query.value.get("range");
  return asked && asked in RANGES ? asked : otherwise;
}

/** *also*: what of the address another range makes meaningless. */
export function Ranges({ otherwise = DEFAULT_RANGE, also = {} }: { otherwise?: string; also?: Record<string, null> }) {
  const now = chosenRange(otherwise);
  return (
    <nav class="segments" aria-label={t.range}>
      {Object.entries(RANGES).map(([each, seconds]) => (
        <a key={each} href={withQuery({ ...also, range: each === otherwise ? null : each })} title={span(seconds)} {...(each === now ? { "aria-current": "true" as const } : {})}>{each}</a>
      ))}
    </nav>
  );
}
