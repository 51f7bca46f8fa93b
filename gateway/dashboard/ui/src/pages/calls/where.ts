// Which calls the page shows, as its URL says: query, time range, order and place. Other pages link here
// with the API's own parameters (`calls?status=failed`); those become terms of the query.

import { serverNow } from "../../clock";
import { navigate, query, withQuery } from "../../router";
import { term } from "./terms";

export const PAGE = 100;
export const RANGES = ["15m", "1h", "6h", "24h", "7d", "30d"] as const;

/** What is shown: `key` changes when something else is. */
export interface Where {
  q: string;
  /** "1h": the last hour; "" with `from` and `to`, or for all times. */
  range: string;
  from: string;
  to: string;
  ascending: boolean;
  after: string;
  before: string;
  cursor: string;
}

const FOLDED: Readonly<Record<string, string>> = {
  status: "status", upstream: "upstream", model: "model", path: "path", key: "key", tag: "tag", http_status: "http", idempotency_key: "idempotency",
};

/** Read the URL; parameters of the API in it are moved into `q` first. */
export function readWhere(): Where {
  const params = query.value;
  return {
    q: params.get("q") ?? "",
    range: params.get("range") ?? params.get("window") ?? "",
    from: params.get("from") ?? params.get("since") ?? "",
    to: params.get("to") ?? params.get("until") ?? "",
    ascending: params.get("order") === "asc",
    after: params.get("after") ?? "",
    before: params.get("before") ?? "",
    cursor: params.get("cursor") ?? "",
  };
}

/** Put what a link said in the API's words into the query box; true when the URL changed. */
export function foldParameters(): boolean {
  const found = [...query.value].filter(([name]) => name in FOLDED);
  if (!found.length) return false;
  const added = found.map(([name, value]) => (name === "status" ? `status:${value}` : term(FOLDED[name] as string, value)));
  const gone = Object.fromEntries(found.map(([name]) => [name, null]));
  navigate(withQuery({ ...gone, q: [query.value.get("q"), ...added].filter(Boolean).join(" ") }), { replace: true, keepScroll: true });
  return true;
}

export const isFirstPage = (where: Where): boolean => !where.after && !where.before && !where.cursor;

/** Whether calls that are accepted from now on belong to it, at its top. */
export const canGrow = (where: Where): boolean => isFirstPage(where) && !where.ascending && !where.to;

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Seconds of "15m"; null when it is none. */
export function seconds(range: string): number | null {
  const [, n, unit] = /^(\d+)([smhd])$/.exec(range) ?? [];
  return n && unit ? Number(n) * (UNITS[unit] as number) : null;
}

export type Filters = { q: string; since: string; until: string };

/** The filters of *where* as every route takes them; a range counts back from now. */
export function filtersOf(where: Where): Filters {
  const back = seconds(where.range);
  const since = back === null ? where.from : new Date(serverNow() - back * 1000).toISOString();
  return { q: where.q, since, until: where.to };
}

/** Show something else: the first page of it, in a step that Back takes back. */
export function show(changes: Partial<Record<"q" | "range" | "from" | "to" | "order", string | null>>): void {
  navigate(withQuery({ ...changes, after: null, before: null, cursor: null, window: null, since: null, until: null }), { keepScroll: false });
}
