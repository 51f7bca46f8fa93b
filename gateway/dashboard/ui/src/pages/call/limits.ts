// A provider's rate-limit headers, whatever it calls them: how much there is, how much is left, until when.

import { count, duration } from "../../format";

export interface Limit {
  name: string;
  limit: string | null;
  remaining: string | null;
  reset: string | null;
  /** How much is left, 0 … 1. */
  share: number | null;
}

/** Reads `x-ratelimit-{limit,remaining,reset}-NAME`, `anthropic-ratelimit-NAME-{…}`, `RateLimit` and `Retry-After`. *at*: when they were told. */
export function rateLimits(headers: Record<string, string | string[]>, at: string): Limit[] {
  const found = new Map<string, Limit>();
  const of = (name: string) => {
    const known = found.get(name) ?? { name, limit: null, remaining: null, reset: null, share: null };
    found.set(name, known);
    return known;
  };
  for (const [key, given] of Object.entries(headers)) {
    const name = key.toLowerCase();
    const value = Array.isArray(given) ? given.join(", ") : given;
    const openai = /^x-ratelimit-(limit|remaining|reset)(?:-(.+))?$/.exec(name);
    const anthropic = /^anthropic-ratelimit-(.+)-(limit|remaining|reset)$/.exec(name);
    const what = openai?.[1] ?? anthropic?.[2];
    if (what) {
      const one = of((openai ? openai[2] : anthropic?.[1])?.replaceAll("-", " ") ?? "requests");
      if (what === "reset") one.reset = resetIn(value, at);
      else one[what as "limit" | "remaining"] = number(value);
    } else if (name === "ratelimit") {
      for (const part of value.split(",")) {
        const policy = /^\s*"?([^";]*)"?/.exec(part)?.[1] || "limit";
        const one = of(policy);
        const r = /;\s*r=(\d+)/.exec(part)?.[1], s = /;\s*t=(\d+)/.exec(part)?.[1];
        if (r) one.remaining = number(r);
        if (s) one.reset = duration(Number(s) * 1000);
      }
    } else if (name === "retry-after" || name === "retry-after-ms") {
      const one = of("retry after");
      const n = Number(value);
      one.remaining = Number.isFinite(n) ? duration(name.endsWith("ms") ? n : n * 1000) : value;
    }
  }
  for (const one of found.values()) {
    const [left, all] = [one.remaining, one.limit].map((text) => Number(text?.replaceAll(",", "")));
    if (all && Number.isFinite(left)) one.share = Math.min(1, (left as number) / all);
  }
  return [...found.values()];
}

const number = (text: string) => (/^\d+$/.test(text) ? count(Number(text)) : text);

/** "6m0s", seconds, a unix time or a date: how long from *at*. */
function resetIn(text: string, at: string): string {
  if (/^[\d.]+(ms|s|m|h|d)/.test(text)) return text;
  const n = Number(text);
  const from = Date.parse(at);
  if (Number.isFinite(n)) {
    if (n > 1e12) return duration(Math.max(0, n - from));
    return duration(n > 1e9 ? Math.max(0, n * 1000 - from) : n * 1000);
  }
  const time = Date.parse(text);
  return Number.isNaN(time) ? text : duration(Math.max(0, time - from));
}
