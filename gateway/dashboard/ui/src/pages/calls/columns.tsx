// What a row can show of a call. Which columns, and in what order, is a preference of the reader.

import type { ComponentChildren } from "preact";
import type { Call } from "../../api";
import { serverNow, tick } from "../../clock";
import { State, phase } from "../../components/state";
import { bytes, clock, count, dayAndTime, duration, elapsed, exactBytes, exactClock, iso, rate, short } from "../../format";
import { preference } from "../../preferences";
import { href } from "../../router";
import { strings } from "../../strings/calls";
import { Bar } from "./bar";
import { marked } from "./marks";

export type ColumnKey = keyof typeof strings.columns;

export interface CallColumn {
  key: ColumnKey;
  /** CSS width; the preview takes what is left. */
  width?: string;
  end?: boolean;
  /** Empty until the call is final. */
  finalOnly?: boolean;
  /** What a click on the funnel filters by: field and value; null where this call has none. */
  filter?: (call: Call) => { field: string; value: string } | null;
  render: (call: Call, context: Context) => ComponentChildren;
}

export interface Context {
  /** The longest call on the page, in ms: bars are drawn in proportion. */
  longestMs: number;
  /** What the query looks for in texts. */
  sought: RegExp | null;
}

const none = <span class="faint">–</span>;
const by = (field: string, value: string | number | null | undefined) => (value === null || value === undefined || value === "" ? null : { field, value: String(value) });

const columns: readonly CallColumn[] = [
  { key: "time", width: "84px", render: (call) => <Clock at={call.created_at} /> },
  { key: "state", width: "180px", filter: (call) => by("status", call.status), render: (call) => <State status={call.status} detail={shortPhase(call)} /> },
  { key: "model", width: "150px", filter: (call) => by("model", call.model), render: (call) => <Title call={call} /> },
  { key: "upstream", width: "88px", filter: (call) => by("upstream", call.upstream), render: (call) => call.upstream },
  { key: "key", width: "96px", filter: (call) => by("key", call.key), render: (call) => call.key ? <span class="mono" title={call.key}>{call.key}</span> : none },
  { key: "duration", width: "144px", render: (call, context) => <Duration call={call} context={context} /> },
  { key: "attempts", width: "50px", end: true, render: (call) => <Attempts call={call} /> },
  { key: "tokens", width: "96px", end: true, finalOnly: true, render: (call) => <Tokens call={call} /> },
  { key: "preview", render: (call, { sought }) => <Preview call={call} sought={sought} /> },
  { key: "http", width: "60px", end: true, filter: (call) => by("http", call.response?.status), render: (call) => call.response?.status ?? none },
  { key: "first_byte", width: "96px", end: true, render: (call) => call.first_byte_at ? duration(Date.parse(call.first_byte_at) - Date.parse(call.created_at)) : none },
  { key: "queued", width: "84px", end: true, render: (call) => duration(call.queued_ms) },
  { key: "speed", width: "92px", end: true, finalOnly: true, render: (call) => speed(call) ?? none },
  { key: "size", width: "128px", end: true, render: (call) => <span title={`${exactBytes(call.request.bytes)} → ${call.response ? exactBytes(call.response.bytes) : "–"}`}>{bytes(call.request.bytes)} <Arrow /> {call.response ? bytes(call.response.bytes) : "–"}</span> },
  { key: "tags", width: "148px", filter: (call) => { const first = Object.entries(call.tags)[0]; return first ? by("tag", `${first[0]}=${first[1]}`) : null; }, render: (call) => <Tags call={call} /> },
  { key: "error", width: "148px", finalOnly: true, filter: (call) => by("error", call.error?.code), render: (call) => call.error ? <span title={call.error.message}>{call.error.code}</span> : none },
  { key: "path", width: "176px", filter: (call) => by("path", call.path), render: (call) => <span class="mono" title={call.path}>{call.method} {call.path}</span> },
  { key: "priority", width: "60px", end: true, filter: (call) => by("priority", call.priority), render: (call) => call.priority },
  { key: "cost", width: "80px", end: true, finalOnly: true, render: (call) => call.cost_usd === null ? none : `$${call.cost_usd.toPrecision(3)}` },
  { key: "id", width: "252px", render: (call) => <span class="mono">{call.id}</span> },
];

export const COLUMNS: ReadonlyMap<ColumnKey, CallColumn> = new Map(columns.map((each) => [each.key, each]));
export const DEFAULT_COLUMNS: readonly ColumnKey[] = ["time", "state", "model", "upstream", "key", "duration", "attempts", "tokens", "preview"];

/** The columns that were chosen, in their order; empty: the default ones. */
export const chosen = preference<ColumnKey[]>("calls.columns", []);

/** What is shown of *calls*: by default nobody needs an empty column of keys. */
export function shownColumns(calls: readonly Call[]): CallColumn[] {
  const names = chosen.value.filter((key) => COLUMNS.has(key));
  const wanted = names.length ? names : DEFAULT_COLUMNS.filter((key) => key !== "key" || calls.some((call) => call.key));
  return wanted.map((key) => COLUMNS.get(key) as CallColumn);
}

/** Every column of *call* that can be filtered by, for the menu of a row. */
export const filtersOfCall = (call: Call) => columns.flatMap((column) => column.filter?.(call) ?? []);

export const attemptsOf = (call: Call): number | null => call.attempts_count ?? call.attempts?.length ?? null;

function Clock({ at }: { at: string }) {
  const today = serverNow() - Date.parse(at) < 16 * 3_600_000;
  return <time dateTime={at} title={`${exactClock(at)} · ${iso(at)}`}>{today ? clock(at) : dayAndTime(at)}</time>;
}

/** Beside the state, in fewer words than a page of its own has room for. */
function shortPhase(call: Call): string | null {
  if (call.status === "queued") return call.wait_reason && (strings.waits[call.wait_reason] ?? phase(call));
  if (call.status === "running") return call.first_byte_at ? strings.waits.streaming : strings.waits.answer;
  return phase(call);
}

/** What was asked, and of whom: the link to the call's own page. */
function Title({ call }: { call: Call }) {
  const path = call.path.replace(/^\/v1(beta)?\//, "");
  return (
    <>
      <a class="row-link" href={href(["calls", call.id])} title={`${call.method} ${call.path}`}>{call.model ?? `${call.method} ${call.path}`}</a>
      {call.model && <span class="faint row-path"> {path}</span>}
    </>
  );
}

function Duration({ call, context }: { call: Call; context: Context }) {
  const open = call.duration_ms === null;
  const ms = call.duration_ms ?? Math.max(0, tick.value - Date.parse(call.created_at));
  return (
    <span class="duration">
      <Bar call={call} ms={ms} longestMs={context.longestMs} />
      <span class={open ? "duration-open" : ""}>{open ? elapsed(ms) : duration(ms)}</span>
    </span>
  );
}

function Attempts({ call }: { call: Call }) {
  const made = attemptsOf(call);
  return made === null ? none : <span class={made > 1 ? "retried" : "faint"}>{made}</span>;
}

const Arrow = () => <span class="faint" aria-label={strings.arrow} role="img">→</span>;

function Tokens({ call }: { call: Call }) {
  if (!call.usage) return none;
  const { input_tokens, output_tokens } = call.usage;
  const [sent, got] = [input_tokens, output_tokens].map((n) => (n === null ? "–" : short(n)));
  const title = [input_tokens, output_tokens].map((n) => (n === null ? "–" : count(n))).join(" → ");
  return <span title={title}>{sent} <Arrow /> {got}</span>;
}

function speed(call: Call): string | null {
  const tokens = call.usage?.output_tokens;
  if (!tokens || !call.first_byte_at || !call.finished_at || !call.stream) return null;
  const ms = Date.parse(call.finished_at) - Date.parse(call.first_byte_at);
  return ms > 0 ? rate((tokens * 1000) / ms) : null;
}

function Tags({ call }: { call: Call }) {
  const tags = Object.entries(call.tags);
  return tags.length ? <span title={tags.map(([name, value]) => `${name}=${value}`).join("\n")}>{tags.map(([name, value]) => <span class="chip" key={name}>{name}={value}</span>)}</span> : none;
}

/** The last that was asked and what came back; of a call that failed, why. */
function Preview({ call, sought }: { call: Call; sought: RegExp | null }) {
  const { request, answer } = call.preview ?? { request: "", answer: "" };
  const failed = call.status === "failed" || call.status === "expired";
  if (!request && !answer && !call.error) return none;
  return (
    <span class="preview">
      {request && <span>{marked(request, sought)}</span>}
      {answer && <span class="preview-answer">{marked(answer, sought)}</span>}
      {failed && call.error && !answer && <span class="preview-error">{marked(call.error.message, sought)}</span>}
    </span>
  );
}
