// The waterfall: where a call's time went, attempt by attempt, growing while it runs.
//
// Bars stand by custom properties, set through CSSOM; chunk ticks are one path. The cursor gives exact
// times under the pointer and to arrow keys; the same as a table on demand.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { get, type Attempt, type Call } from "../../api";
import { serverNow } from "../../clock";
import { Button } from "../../components/button";
import { count, duration } from "../../format";
import { strings as t } from "../../strings/call";
import { longestGap, rows as toRows, scale as toScale, type Chunk, type Row, type Stretch } from "./stretches";

const DRAWN_TICKS = 3000;

/** When the pieces of each attempt's answer came; empty while unknown. */
export function useChunks(call: Call): ReadonlyMap<number, Chunk[]> {
  const chunks = useSignal<ReadonlyMap<number, Chunk[]>>(new Map());
  const wanted = (call.attempts ?? []).filter(({ first_byte_at }) => first_byte_at).map(({ number, finished_at }) => `${number}:${finished_at ?? "open"}`).join();
  useEffect(() => {
    let mounted = true;
    const load = () => {
      for (const attempt of call.attempts ?? []) {
        if (!attempt.first_byte_at) continue;
        get<{ data: Chunk[] }>(`calls/${encodeURIComponent(call.id)}/chunks`, { attempt: attempt.number }).then(
          ({ data }) => { if (mounted) chunks.value = new Map(chunks.value).set(attempt.number, data); },
          () => undefined,
        );
      }
    };
    load();
    if (!wanted.includes("open")) return () => { mounted = false; };
    const timer = setInterval(() => { if (!document.hidden) load(); }, 1000);
    return () => { mounted = false; clearInterval(timer); };
  }, [call.id, wanted]);
  return chunks.value;
}

interface Props {
  call: Call;
  chunks: ReadonlyMap<number, Chunk[]>;
  selected: number | null;
  onSelect: (attempt: number) => void;
}

export function Timeline({ call, chunks, selected, onSelect }: Props) {
  const open = call.finished_at === null;
  const now = useNow(open);
  const asTable = useSignal(false);
  const full = useSignal(false);
  const cursor = useSignal<number | null>(null);
  const { rows, total } = useMemo(() => toRows(call, now), [call, now]);
  const drawn = toScale(rows, total, full.value);
  const left = call.deadline_at && open ? Date.parse(call.deadline_at) - now : null;
  const marks = useMemo(() => toMarks(rows, chunks), [rows, chunks]);
  const step = (event: KeyboardEvent) => {
    const at = cursor.value;
    const to = event.key === "ArrowRight" ? marks.find((each) => at === null || each > at + 0.01)
      : event.key === "ArrowLeft" ? marks.findLast((each) => at === null || each < at - 0.01)
      : event.key === "Home" ? 0 : event.key === "End" ? total : undefined;
    if (event.key === "Escape") cursor.value = null;
    if (to === undefined) return;
    event.preventDefault();
    cursor.value = to;
  };
  const point = (event: PointerEvent) => {
    const track = (event.currentTarget as HTMLElement).querySelector<HTMLElement>(".lane-track");
    if (!track) return;
    const { left: from, width } = track.getBoundingClientRect();
    const share = (event.clientX - from) / width;
    cursor.value = share >= 0 && share <= 1 ? drawn.ms(share) : null;
  };
  return (
    <section class="timeline card" aria-label={t.timeline.title}>
      <header class="card-head">
        <h2>{t.timeline.title}</h2>
        <p class="timeline-said" role="status">
          {cursor.value !== null ? describe(cursor.value, rows, chunks) : left !== null ? t.timeline.deadline(duration(Math.max(0, left))) : ""}
        </p>
        <div class="card-actions">
          {(drawn.breaks.length > 0 || full.value) && <Button small kind="ghost" aria-pressed={full.value} onClick={() => { full.value = !full.value; }}>{t.timeline.toScale}</Button>}
          <Button small kind="ghost" icon="table" aria-pressed={asTable.value} label={t.timeline.asTable} onClick={() => { asTable.value = !asTable.value; }} />
        </div>
      </header>
      {asTable.value ? <Twin call={call} rows={rows} chunks={chunks} /> : (
        <div
          class="lanes" role="slider" tabIndex={0} aria-label={t.timeline.cursor} aria-valuemin={0} aria-valuemax={Math.round(total)}
          aria-valuenow={Math.round(cursor.value ?? total)} aria-valuetext={cursor.value === null ? summary(rows, total) : describe(cursor.value, rows, chunks)}
          onKeyDown={step} onPointerMove={point} onPointerLeave={() => { cursor.value = null; }} onBlur={() => { cursor.value = null; }}
        >
          {rows.map((row) => <Lane key={row.key} row={row} drawn={drawn} chunks={row.attempt ? (chunks.get(row.attempt.number) ?? []) : []} selected={selected !== null && row.attempt?.number === selected} onSelect={onSelect} />)}
          <div class="lane-axis" aria-hidden="true"><span /><span class="axis-track">{ticks(total, drawn).map(([at, ms]) => <i key={ms} style={{ "--at": String(at) }}>{duration(ms)}</i>)}</span><span /></div>
          {cursor.value !== null && <div class="lane-cursor" aria-hidden="true"><i style={{ "--at": String(drawn.at(cursor.value)) }} /></div>}
        </div>
      )}
    </section>
  );
}

/** The gateway's time, four times a second while *running*. */
function useNow(running: boolean): number {
  const now = useSignal(serverNow());
  useEffect(() => {
    now.value = serverNow();
    if (!running) return undefined;
    const timer = setInterval(() => { if (!document.hidden) now.value = serverNow(); }, 250);
    return () => clearInterval(timer);
  }, [running]);
  return now.value;
}

function Lane({ row, drawn, chunks, selected, onSelect }: { row: Row; drawn: ReturnType<typeof toScale>; chunks: Chunk[]; selected: boolean; onSelect: (attempt: number) => void }) {
  const first = row.stretches[0] as Stretch;
  const to = row.stretches.at(-1)?.to ?? first.to;
  const label = row.attempt ? t.timeline.attempt(row.attempt.number) : first.kind === "queue" ? t.timeline.queue : t.timeline.backoff;
  return (
    <div class={["lane", row.attempt ? "of-attempt" : "of-wait", selected && "selected"].filter(Boolean).join(" ")} {...(row.attempt ? { onClick: () => onSelect((row.attempt as Attempt).number) } : {})}>
      <span class="lane-label"><span>{label}</span>{row.attempt && <AttemptMark attempt={row.attempt} />}</span>
      <span class="lane-track">
        {row.stretches.map((each) => (
          <span
            key={each.kind} class={["bar", each.kind, each.open && "open", drawn.breaks.includes(each) && "broken", each.attempt && row.attempt ? tone(each.attempt) : ""].filter(Boolean).join(" ")}
            style={{ "--from": String(drawn.at(each.from)), "--to": String(drawn.at(each.to)) }} title={`${stretchLabel(each)} ${exact(each.to - each.from)}`}
          >
            {drawn.breaks.includes(each) && <span class="break">{duration(each.to - each.from)}</span>}
          </span>
        ))}
        {row.attempt && chunks.length > 1 && <Ticks chunks={chunks} from={first.from} drawn={drawn} />}
      </span>
      <span class="lane-time" title={exact(to - first.from)}>{duration(to - first.from)}</span>
      {!row.attempt && first.attempt && <span class="lane-why">{why(first.attempt)}</span>}
      {row.attempt?.error && <span class="lane-why bad">{row.attempt.error.message}</span>}
    </div>
  );
}

function AttemptMark({ attempt }: { attempt: Attempt }) {
  const text = outcome(attempt) ?? (attempt.status === null ? t.timeline.running : String(attempt.status));
  return <span class={`mark-${tone(attempt)}`}>{text}{attempt.upstream ? <span class="muted"> {attempt.upstream}</span> : null}</span>;
}

/** How it ended where that was not with an answer: a 200 that broke off is no 200. */
const outcome = ({ outcome, status }: Attempt) => (outcome === null || (outcome === "answered" && status !== null) ? null : ((t.outcomes as Record<string, string>)[outcome] ?? outcome));

const tone = ({ outcome, status }: Attempt) => (outcome === null ? "running" : outcome === "answered" && status !== null && status < 400 ? "good" : outcome === "cancelled" ? "cancelled" : "bad");

function Ticks({ chunks, from, drawn }: { chunks: Chunk[]; from: number; drawn: ReturnType<typeof toScale> }) {
  const every = Math.ceil(chunks.length / DRAWN_TICKS);
  const path = chunks.filter((_, at) => at % every === 0).map(({ at_ms }) => `M${(drawn.at(from + at_ms) * 10_000).toFixed(0)} 0v10`).join("");
  const gap = longestGap(chunks);
  return (
    <>
      <svg class="chunk-ticks" viewBox="0 0 10000 10" preserveAspectRatio="none" aria-hidden="true"><path d={path} /></svg>
      {gap && <span class="gap" style={{ "--from": String(drawn.at(from + gap.from)), "--to": String(drawn.at(from + gap.to)) }} title={t.timeline.gap(exact(gap.to - gap.from))} />}
    </>
  );
}

/** What stands at an axis: a few round times. */
function ticks(total: number, drawn: ReturnType<typeof toScale>): [number, number][] {
  const size = 10 ** Math.floor(Math.log10(total / 4));
  const step = ([1, 2, 5, 10].map((each) => each * size).find((each) => total / each <= 6) ?? total);
  const found: [number, number][] = [];
  let last = -1;
  for (let ms = 0; ms <= total; ms += step) {
    const at = drawn.at(ms);
    if (at - last >= 0.09 && at <= 0.93) { found.push([at, ms]); last = at; }
  }
  return found;
}

export const exact = (ms: number): string => t.timeline.ms(count(Math.round(ms * 10) / 10));

/** Why it waited before trying again. */
export function why(attempt: Attempt): string {
  const cause = outcome(attempt) ?? (attempt.status === null ? "" : `HTTP ${attempt.status}`);
  const asked = attempt.retry_after_s !== null ? t.timeline.retryAfter(attempt.retry_after_s) : attempt.backoff_s !== null ? t.timeline.computed(duration(attempt.backoff_s * 1000)) : "";
  return [cause, asked].filter(Boolean).join(", ");
}

const stretchLabel = ({ kind }: Stretch) => t.timeline.kinds[kind];

function summary(rows: Row[], total: number): string {
  return `${rows.flatMap(({ stretches, attempt }) => stretches.map((each) => `${attempt ? `${t.timeline.attempt(attempt.number)} ` : ""}${stretchLabel(each)} ${duration(each.to - each.from)}`)).join("; ")}; ${t.timeline.total(duration(total))}`;
}

function toMarks(rows: Row[], chunks: ReadonlyMap<number, Chunk[]>): number[] {
  const marks = rows.flatMap(({ stretches, attempt }) => [...stretches.flatMap(({ from, to }) => [from, to]), ...(attempt ? (chunks.get(attempt.number) ?? []).map(({ at_ms }) => (stretches[0] as Stretch).from + at_ms) : [])]);
  return [...new Set(marks.map((each) => Math.round(each * 10) / 10))].sort((a, b) => a - b);
}

/** What was going on at a moment. */
function describe(at: number, rows: Row[], chunks: ReadonlyMap<number, Chunk[]>): string {
  const row = rows.findLast(({ stretches }) => (stretches[0] as Stretch).from <= at + 0.05) ?? rows[0];
  const stretch = row?.stretches.findLast(({ from }) => from <= at + 0.05);
  const parts = [exact(at)];
  if (row && stretch) {
    parts.push(`${row.attempt ? `${t.timeline.attempt(row.attempt.number)}: ` : ""}${stretchLabel(stretch)} ${exact(stretch.to - stretch.from)}`);
    if (row.attempt && stretch.kind === "stream") {
      const since = at - (row.stretches[0] as Stretch).from;
      const came = (chunks.get(row.attempt.number) ?? []).filter(({ at_ms }) => at_ms <= since + 0.05);
      if (came.length) parts.push(t.timeline.chunks(came.length));
    }
  }
  return parts.join(" · ");
}

function Twin({ call, rows, chunks }: { call: Call; rows: Row[]; chunks: ReadonlyMap<number, Chunk[]> }) {
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label={t.timeline.title}>
      <table class="table">
        <caption class="visually-hidden">{t.timeline.title}</caption>
        <thead><tr><th scope="col">{t.timeline.what}</th><th scope="col" class="end">{t.timeline.from}</th><th scope="col" class="end">{t.timeline.to}</th><th scope="col" class="end">{t.timeline.took}</th><th scope="col">{t.timeline.note}</th></tr></thead>
        <tbody>
          {rows.flatMap((row) => row.stretches.map((each) => (
            <tr key={`${row.key} ${each.kind}`}>
              <th scope="row">{row.attempt ? `${t.timeline.attempt(row.attempt.number)}: ` : ""}{stretchLabel(each)}</th>
              <td class="end">{exact(each.from)}</td><td class="end">{each.open ? t.timeline.running : exact(each.to)}</td><td class="end">{exact(each.to - each.from)}</td>
              <td>{!row.attempt && each.attempt ? why(each.attempt) : each.kind === "stream" && row.attempt ? t.timeline.chunks((chunks.get(row.attempt.number) ?? []).length) : ""}</td>
            </tr>
          )))}
          <tr><th scope="row">{t.timeline.whole}</th><td class="end">{exact(0)}</td><td class="end" /><td class="end">{call.duration_ms === null ? t.timeline.running : exact(call.duration_ms)}</td><td /></tr>
        </tbody>
      </table>
    </div>
  );
}
