// The time range of the overview, as the URL says it: ?range=1h, and &from=&to= inside it when zoomed.

import { computed } from "@preact/signals";
import type { Stats, Step } from "../../api";
import { chosenRange, RANGES } from "../../components/ranges";
import { navigate, query, withQuery } from "../../router";

export const range = computed(() => chosenRange());
export const rangeS = computed(() => RANGES[range.value] as number);

/** The stretch that charts are zoomed to, s since the epoch; null when they show it all. */
export const zoom = computed(() => {
  const from = Date.parse(query.value.get("from") ?? "") / 1000;
  const to = Date.parse(query.value.get("to") ?? "") / 1000;
  return from < to ? { from, to } : null;
});

export const toIso = (s: number): string => new Date(s * 1000).toISOString().replace(".000Z", "Z");

export function setZoom(from: number, to: number): void {
  navigate(withQuery({ from: toIso(from), to: toIso(to) }), { keepScroll: true });
}

/** How often figures of a window are asked for again, ms. */
export const refreshMs = (windowS: number): number => (windowS <= 3600 ? 5000 : windowS <= 21_600 ? 10_000 : 30_000);

/** The steps to draw: those of the zoom, and never the one that has only just begun. */
export function steps(stats: Stats): Step[] {
  const all = stats.series ?? [];
  const stepMs = (stats.step_s ?? 60) * 1000;
  const now = Date.parse(stats.at ?? "");
  const begun = all.filter((step, at) => at < all.length - 1 || now - Date.parse(step.at) >= stepMs / 3);
  const only = zoom.value;
  if (!only) return begun;
  return begun.filter((step) => { const at = Date.parse(step.at) / 1000; return at >= only.from && at < only.to; });
}
