// Where a call's time went: its stretches, and where on a line each stands.

import type { Attempt, Call } from "../../api";

export interface Chunk {
  at_ms: number;
  offset: number;
  bytes: number;
}

export type StretchKind = "queue" | "backoff" | "wait" | "stream";

/** A stretch of time, in ms since the call was accepted. */
export interface Stretch {
  kind: StretchKind;
  from: number;
  to: number;
  /** Of the attempt it belongs to, or follows. */
  attempt: Attempt | null;
  open: boolean;
}

export interface Row {
  key: string;
  attempt: Attempt | null;
  stretches: Stretch[];
}

/** The rows of the waterfall: waiting and each attempt, in order. *now* in ms since the epoch. */
export function rows(call: Call, now: number): { rows: Row[]; total: number } {
  const begin = Date.parse(call.created_at);
  const since = (at: string | null) => (at === null ? null : Math.max(0, Date.parse(at) - begin));
  const end = since(call.finished_at) ?? Math.max(0, now - begin);
  const found: Row[] = [];
  let last = 0;
  let before: Attempt | null = null;
  for (const attempt of call.attempts ?? []) {
    const from = since(attempt.started_at) ?? last;
    if (from - last >= 1 || !before) found.push(waiting(before, last, from, false));
    const to = since(attempt.finished_at) ?? Math.max(end, from);
    const first = since(attempt.first_byte_at);
    const open = attempt.finished_at === null;
    const stretches: Stretch[] = [{ kind: "wait", from, to: first ?? to, attempt, open: open && first === null }];
    if (first !== null) stretches.push({ kind: "stream", from: first, to, attempt, open });
    found.push({ key: `attempt-${attempt.number}`, attempt, stretches });
    last = to;
    before = attempt;
  }
  if (call.status === "queued" || !before) found.push(waiting(before, last, Math.max(end, last), call.finished_at === null));
  return { rows: found, total: Math.max(end, last, 0.001) };
}

function waiting(after: Attempt | null, from: number, to: number, open: boolean): Row {
  const kind = after ? "backoff" : "queue";
  return { key: after ? `backoff-${after.number}` : "queue", attempt: null, stretches: [{ kind, from, to, attempt: after, open }] };
}

const COLLAPSE_SHARE = 0.4; // of the whole, spent waiting in one stretch
const COLLAPSED_TO = 0.14;

export interface Scale {
  /** Where a moment stands, 0 … 1. */
  at: (ms: number) => number;
  /** The moment at a place. */
  ms: (share: number) => number;
  /** Stretches drawn shorter than they were. */
  breaks: Stretch[];
}

/** A line on which idle stretches that would fill it are drawn short; *full*: true to scale. */
export function scale(found: Row[], total: number, full = false): Scale {
  const breaks = full ? [] : found.flatMap(({ stretches }) => stretches).filter((each) => each.kind !== "wait" && each.kind !== "stream" && (each.to - each.from) / total > COLLAPSE_SHARE);
  const idle = breaks.reduce((sum, each) => sum + each.to - each.from, 0);
  const busy = total - idle;
  if (!breaks.length || busy <= 0) return { at: (ms) => ms / total, ms: (share) => share * total, breaks: [] };
  const perMs = (1 - breaks.length * COLLAPSED_TO) / busy;
  const knots: [ms: number, at: number][] = [[0, 0]];
  for (const each of breaks) {
    const [ms, at] = knots.at(-1)!;
    const start = at + (each.from - ms) * perMs;
    knots.push([each.from, start], [each.to, start + COLLAPSED_TO]);
  }
  knots.push([total, 1]);
  const between = (value: number, x: 0 | 1, y: 0 | 1) => {
    for (let n = 1; n < knots.length; n++) {
      const a = knots[n - 1]!, b = knots[n]!;
      if (value <= b[x] || n === knots.length - 1) return b[x] === a[x] ? b[y] : a[y] + ((value - a[x]) / (b[x] - a[x])) * (b[y] - a[y]);
    }
    return 0;
  };
  return { at: (ms) => between(ms, 0, 1), ms: (share) => between(share, 1, 0), breaks };
}

/** The longest silence between two chunks, where there are at least three; null where none stands out. */
export function longestGap(chunks: readonly Chunk[]): { from: number; to: number } | null {
  if (chunks.length < 3) return null;
  let best = { from: 0, to: 0 };
  let sum = 0;
  for (let n = 1; n < chunks.length; n++) {
    const from = chunks[n - 1]!.at_ms, to = chunks[n]!.at_ms;
    sum += to - from;
    if (to - from > best.to - best.from) best = { from, to };
  }
  return best.to - best.from > (2 * sum) / (chunks.length - 1) ? best : null;
}
