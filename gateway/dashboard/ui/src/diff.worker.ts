// Compares two texts, or two JSON documents, off the page's own thread.
//
// Every answer comes within some LIMIT_MS: words inside changed lines where there is time, else lines
// alone, else `null`, which means too different. Invariant: the pieces of a side, joined, are its text.

import { diffLines, diffWordsWithSpace } from "diff";

const LIMIT_MS = 3000;
const MOST_PATHS = 2000;

export interface Segment {
  text: string;
  changed: boolean;
}

/** A line: on both sides, or on one. */
export interface DiffRow {
  kind: "same" | "changed" | "added" | "removed";
  a: Segment[] | null;
  b: Segment[] | null;
  lineA: number | null;
  lineB: number | null;
}

export interface TextDiff {
  rows: DiffRow[];
  /** Time ran out: changed lines are not marked word by word. */
  linesOnly: boolean;
}

export interface PathChange {
  path: string;
  a: string | null;
  b: string | null;
}

export interface PathDiff {
  changes: PathChange[];
  /** There are more than are listed. */
  cut: boolean;
}

export type Asked = { id: number; kind: "text" | "json"; a: string; b: string };
export type Answered = { id: number; text?: TextDiff | null; json?: PathDiff | null };

function compareTexts(a: string, b: string): TextDiff | null {
  const until = performance.now() + LIMIT_MS;
  const changes = diffLines(a, b, { timeout: LIMIT_MS });
  if (!changes) return null;
  const rows: DiffRow[] = [];
  let lineA = 1;
  let lineB = 1;
  let linesOnly = false;
  const left = (lines: Segment[][]) => lines.map((segments): DiffRow => ({ kind: "removed", a: segments, b: null, lineA: lineA++, lineB: null }));
  const right = (lines: Segment[][]) => lines.map((segments): DiffRow => ({ kind: "added", a: null, b: segments, lineA: null, lineB: lineB++ }));
  for (let at = 0; at < changes.length; at++) {
    const change = changes[at]!;
    const next = changes[at + 1];
    if (!change.added && !change.removed) {
      for (const line of lines([{ text: change.value, changed: false }])) rows.push({ kind: "same", a: line, b: line, lineA: lineA++, lineB: lineB++ });
    } else if (next && (next.added || next.removed)) {
      const [removed, added] = change.removed ? [change.value, next.value] : [next.value, change.value];
      const time = until - performance.now();
      const words = time > 0 ? diffWordsWithSpace(removed, added, { timeout: time }) : undefined;
      linesOnly ||= !words;
      const ofA = lines(words ? words.filter((each) => !each.added).map(({ value, removed: gone }) => ({ text: value, changed: gone })) : [{ text: removed, changed: false }]);
      const ofB = lines(words ? words.filter((each) => !each.removed).map(({ value, added: fresh }) => ({ text: value, changed: fresh })) : [{ text: added, changed: false }]);
      for (let line = 0; line < Math.max(ofA.length, ofB.length); line++) {
        const [one, other] = [ofA[line], ofB[line]];
        if (one && other) rows.push({ kind: "changed", a: one, b: other, lineA: lineA++, lineB: lineB++ });
        else rows.push(...(one ? left([one]) : right([other!])));
      }
      at++;
    } else {
      const whole = lines([{ text: change.value, changed: false }]);
      rows.push(...(change.removed ? left(whole) : right(whole)));
    }
  }
  return { rows, linesOnly };
}

/** *segments* cut at line ends; the last line's end makes no line of its own. */
function lines(segments: Segment[]): Segment[][] {
  const found: Segment[][] = [[]];
  for (const { text, changed } of segments) {
    text.split("\n").forEach((part, at) => {
      if (at) found.push([]);
      if (part) found.at(-1)!.push({ text: part, changed });
    });
  }
  if (found.length > 1 && !found.at(-1)!.length) found.pop();
  return found;
}

/** A number as it was written, where a computer's would be another. */
class Exact {
  constructor(readonly source: string) {}
}

type Reviver = (this: unknown, key: string, value: unknown, context?: { source?: string }) => unknown;

function read(text: string): unknown {
  const exact: Reviver = (_, value, context) => (typeof value === "number" && context?.source !== undefined && String(value) !== context.source ? new Exact(context.source) : value);
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown);
}

const write = (value: unknown): string => (value instanceof Exact ? value.source : JSON.stringify(value, (_, each: unknown) => (each instanceof Exact ? each.source : each)));
const isParent = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !(value instanceof Exact);
const step = (path: string, key: string, inArray: boolean) => (inArray ? `${path}[${key}]` : /^[A-Za-z_$][\w$]*$/.test(key) ? `${path}${path && "."}${key}` : `${path}[${JSON.stringify(key)}]`);

/** Every place in which two documents differ, in the order of the first one's keys. */
function comparePaths(a: unknown, b: unknown): PathDiff {
  const changes: PathChange[] = [];
  const walk = (one: unknown, other: unknown, path: string, hasA: boolean, hasB: boolean): void => {
    if (changes.length > MOST_PATHS) return;
    if (hasA && hasB && isParent(one) && isParent(other) && Array.isArray(one) === Array.isArray(other)) {
      for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
        walk(one[key], other[key], step(path, key, Array.isArray(one)), Object.hasOwn(one, key), Object.hasOwn(other, key));
      }
      return;
    }
    const [left, right] = [hasA ? write(one) : null, hasB ? write(other) : null];
    if (left !== right) changes.push({ path: path || "$", a: left, b: right });
  };
  walk(a, b, "", true, true);
  const cut = changes.length > MOST_PATHS;
  return { changes: changes.slice(0, MOST_PATHS), cut };
}

addEventListener("message", ({ data }: MessageEvent<Asked>) => {
  const answer: Answered = { id: data.id };
  if (data.kind === "text") {
    answer.text = compareTexts(data.a, data.b);
  } else {
    try {
      answer.json = comparePaths(read(data.a), read(data.b));
    } catch {
      answer.json = null; // one of them is no JSON
    }
  }
  postMessage(answer);
});
