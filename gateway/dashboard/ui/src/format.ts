// Numbers, durations, sizes and times as people read them; always with a unit.

import { preference } from "./preferences";
import { t } from "./strings";

export const timeZone = preference<"local" | "utc">("time-zone", "local");

const integers = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const relative = new Intl.RelativeTimeFormat("en", { style: "narrow", numeric: "auto" });

/** 1,234,567 */
export const count = (n: number): string => integers.format(n);
/** 1.2M, for places where space is short; put `count` into the title. */
export const short = (n: number): string => (n < 10_000 ? integers.format(n) : compact.format(n));

/** 12.4 /s, 0.05 /s */
export const rate = (perSecond: number): string => `${significant(perSecond)} /s`;
/** A rate in the unit that gives it a readable number: 12.4 /s, 3.1 /min, 0.5 /h. */
export function significantRate(perSecond: number): { value: string; unit: string } {
  if (perSecond === 0 || perSecond >= 0.95) return { value: short(Number(significant(perSecond).replaceAll(",", ""))), unit: "/s" };
  if (perSecond * 60 >= 0.95) return { value: significant(perSecond * 60), unit: "/min" };
  return { value: significant(perSecond * 3600), unit: "/h" };
}
/** 3.2 %, 100 % */
export const percent = (share: number): string => `${share > 0 && share < 0.001 ? "< 0.1" : trim((share * 100).toFixed(share < 0.1 ? 1 : 0))} %`;
export const dollars = (usd: number): string => new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: usd < 1 ? 4 : 2 }).format(usd);

/** 812 B, 1.4 KB, 20 MB: powers of 1,000; `exactBytes` for the title. */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) { n /= 1000; at++; }
  return `${at === 0 ? n : significant(n)} ${units[at]}`;
}
export const exactBytes = (n: number): string => `${integers.format(n)} bytes`;

/** 12 ms, 1.24 s, 3 m 20 s, 2 h 05 m: what fits a table cell. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return ms <= 0 ? "0 ms" : "< 1 ms";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} m`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** For the axis of a chart: 500 ms, 40 s, 2.5 min, 3 h. */
export function axisDuration(ms: number): string {
  if (ms === 0) return "0";
  const [size, unit] = ms < 1000 ? [1, "ms"] : ms < 60_000 ? [1000, "s"] : ms < 3_600_000 ? [60_000, "min"] : [3_600_000, "h"];
  return `${trim((ms / Number(size)).toFixed(1))} ${unit}`;
}

/** The same counting up, without jumping digits: 4.2 s, 1 m 03 s. */
export const elapsed = (ms: number): string => (ms < 60_000 ? `${(Math.max(0, ms) / 1000).toFixed(1)} s` : duration(ms));

/** 5 minutes, 1 hour: a time range in words. */
export function span(seconds: number): string {
  const [n, unit] = seconds % 86_400 === 0 ? [seconds / 86_400, t.units.day] : seconds % 3600 === 0 ? [seconds / 3600, t.units.hour] : seconds % 60 === 0 ? [seconds / 60, t.units.minute] : [seconds, t.units.second];
  return `${n} ${unit}${n === 1 ? "" : "s"}`;
}

/** now, 5s ago, 3m ago, 2h ago, 4d ago; a date when it is long past. */
export function ago(at: number, now: number): string {
  const s = Math.round((at - now) / 1000);
  const size = Math.abs(s);
  if (size < 1) return t.time.now;
  if (size < 60) return relative.format(s, "second");
  if (size < 3600) return relative.format(Math.trunc(s / 60), "minute");
  if (size < 86_400) return relative.format(Math.trunc(s / 3600), "hour");
  if (size < 86_400 * 14) return relative.format(Math.trunc(s / 86_400), "day");
  return date(at);
}

const zone = () => (timeZone.value === "utc" ? "UTC" : undefined);

/** 14:03:27 */
export const clock = (at: number | string): string => format(at, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
/** 14:03:27.123 */
export const exactClock = (at: number | string): string => format(at, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
/** 14 Nov 2026 */
export const date = (at: number | string): string => format(at, { day: "numeric", month: "short", year: "numeric" });
/** 14 Nov, 14:03 */
export const dayAndTime = (at: number | string): string => format(at, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
/** 2026-11-14T14:03:27.123Z: exact, for titles. */
export const iso = (at: number | string): string => new Date(at).toISOString();

function format(at: number | string, options: Intl.DateTimeFormatOptions): string {
  return formatter({ ...options, timeZone: zone() }).format(new Date(at));
}

const formatters = new Map<string, Intl.DateTimeFormat>(); // making one takes longer than using it a thousand times
function formatter(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = JSON.stringify(options);
  let made = formatters.get(key);
  if (!made) formatters.set(key, (made = new Intl.DateTimeFormat("en-GB", options)));
  return made;
}

/** Three significant digits, no more. */
function significant(n: number): string {
  if (n === 0) return "0";
  if (n >= 100) return integers.format(Math.round(n));
  return trim(n.toFixed(n >= 10 ? 1 : 2));
}

const trim = (text: string) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
const two = (n: number) => String(n).padStart(2, "0");
