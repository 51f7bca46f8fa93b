// What differs, as the worker found it: line by line with the words marked, or path by path.
//
// Everything recorded is written as text nodes. At most ROWS_AT_ONCE lines are drawn until more are asked for.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { apiUrl, type Call } from "../../api";
import { Button, ButtonLink } from "../../components/button";
import { Empty } from "../../components/empty";
import { count } from "../../format";
import { Icon } from "../../icons";
import { useShortcuts } from "../../keys";
import { preference } from "../../preferences";
import { strings } from "../../strings/compare";
import type { DiffRow, PathDiff, Segment, TextDiff } from "../../diff.worker";
import { comparePaths, compareTexts, stop } from "./differ";
import type { PartName } from "./sides";

const ROWS_AT_ONCE = 1500;
const CONTEXT = 3; // unchanged lines left around a change
const FOLD_FROM = 4;

const layout = preference<"split" | "inline">("compare.layout", "split");

interface Props {
  kind: "text" | "json";
  a: string;
  b: string;
  calls: readonly [Call, Call];
  part: PartName;
}

export function Differences({ kind, a, b, calls, part }: Props) {
  const found = useSignal<TextDiff | PathDiff | null | undefined>(undefined);
  const element = useRef<HTMLDivElement>(null);
  const at = useSignal(-1);
  useEffect(() => {
    let wanted = true;
    void (kind === "text" ? compareTexts(a, b) : comparePaths(a, b)).then((answer) => { if (wanted) found.value = answer; });
    return () => { wanted = false; if (found.value === undefined) stop(); };
  }, []);

  const move = (by: number) => {
    const changes = [...(element.current?.querySelectorAll<HTMLElement>("[data-change]") ?? [])];
    if (!changes.length) return;
    at.value = (Math.max(at.value, by > 0 ? -1 : 0) + by + changes.length) % changes.length;
    const target = changes[at.value];
    for (const each of changes) each.classList.toggle("is-here", each === target);
    target?.scrollIntoView({ block: "center" });
  };
  const s = strings.shortcuts;
  useShortcuts(strings.title, [
    { keys: "n", label: s.next, run: () => move(1) },
    { keys: "p", label: s.previous, run: () => move(-1) },
  ]);

  const answer = found.value;
  if (answer === undefined) return <p class="compare-note muted" role="status">{strings.comparing}</p>;
  if (answer === null) return <TooDifferent calls={calls} part={part} json={kind === "json"} />;
  const changes = "rows" in answer ? answer.rows.filter((row, index) => row.kind !== "same" && (answer.rows[index - 1]?.kind ?? "same") === "same").length : answer.changes.length;
  return (
    <>
      <div class="compare-tools">
        <span class="grow" role="status">{changes === 0 ? <><Icon name="check" size={14} /> {strings.identical}</> : strings.changes(changes)}</span>
        {changes > 0 && <Button small kind="ghost" icon="up" label={strings.previousChange} onClick={() => move(-1)} />}
        {changes > 0 && <Button small kind="ghost" icon="down" label={strings.nextChange} onClick={() => move(1)} />}
        {"rows" in answer && (
          <div class="segments compare-layout" role="group" aria-label={strings.layout.label}>
            {(["split", "inline"] as const).map((each) => <button key={each} type="button" aria-pressed={layout.value === each} onClick={() => { layout.value = each; }}>{strings.layout[each]}</button>)}
          </div>
        )}
      </div>
      {"rows" in answer && answer.linesOnly && <p class="compare-note"><Icon name="info" size={14} /> {strings.linesOnly}</p>}
      <div ref={element}>{"rows" in answer ? <Lines rows={answer.rows} split={layout.value === "split"} /> : changes > 0 && <Paths found={answer} />}</div>
    </>
  );
}

type Piece = { kind: "rows"; rows: DiffRow[]; first: number } | { kind: "fold"; rows: DiffRow[]; first: number };

/** Rows in order, long runs of unchanged ones folded. */
function pieces(rows: readonly DiffRow[], open: ReadonlySet<number>): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  while (at < rows.length) {
    const same = rows[at]?.kind === "same";
    let end = at;
    while (end < rows.length && (rows[end]?.kind === "same") === same) end++;
    const from = same && at > 0 ? at + CONTEXT : at;
    const to = same && end < rows.length ? end - CONTEXT : end;
    if (same && !open.has(at) && to - from >= FOLD_FROM) {
      found.push({ kind: "rows", rows: rows.slice(at, from), first: at }, { kind: "fold", rows: rows.slice(from, to), first: at }, { kind: "rows", rows: rows.slice(to, end), first: to });
    } else {
      found.push({ kind: "rows", rows: rows.slice(at, end), first: at });
    }
    at = end;
  }
  return found.filter((piece) => piece.rows.length > 0);
}

function Lines({ rows, split }: { rows: readonly DiffRow[]; split: boolean }) {
  const open = useSignal<ReadonlySet<number>>(new Set());
  const most = useSignal(ROWS_AT_ONCE);
  const allPieces = useMemo(() => pieces(rows, open.value), [rows, open.value]);
  const nothingChanged = rows.every(({ kind }) => kind === "same");
  let drawn = 0;
  const shown = allPieces.flatMap((piece): Piece[] => {
    if (piece.kind === "fold") return [piece];
    const room = most.value - drawn;
    drawn += piece.rows.length;
    return room > 0 ? [{ ...piece, rows: piece.rows.slice(0, room) }] : [];
  });
  const left = drawn - Math.min(drawn, most.value);
  return (
    <div class="diff-scroll" role="region" aria-label={strings.caption.text} tabIndex={0}>
      <table class={split ? "diff split" : "diff inline"}>
        <caption class="visually-hidden">{strings.caption.text}</caption>
        <colgroup><col class="diff-line" />{split && <col />}<col class="diff-line" /><col /></colgroup>
        <tbody>
          {shown.map((piece) => piece.kind === "fold" && !nothingChanged
            ? (
              <tr key={`fold${piece.first}`} class="diff-fold">
                <td colSpan={4}><button type="button" onClick={() => { open.value = new Set(open.value).add(piece.first); }}>{strings.unchanged(piece.rows.length)}</button></td>
              </tr>
            )
            : split
              ? piece.rows.map((row, index) => <SplitRow key={piece.first + index} row={row} begins={index === 0 && row.kind !== "same"} />)
              : <InlineRows key={piece.first} rows={piece.rows} />)}
        </tbody>
      </table>
      {left > 0 && <p class="compare-note"><Button small onClick={() => { most.value += ROWS_AT_ONCE; }}>{strings.moreRows(count(Math.min(left, ROWS_AT_ONCE)))}</Button></p>}
    </div>
  );
}

const mark = { same: "", changed: strings.changed, added: strings.added, removed: strings.removed };

function SplitRow({ row, begins }: { row: DiffRow; begins: boolean }) {
  return (
    <tr class={`diff-row ${row.kind}`} {...(begins ? { "data-change": "" } : {})}>
      <td class="diff-line">{row.lineA}</td>
      <td class={row.a === null ? "diff-none" : row.kind === "same" ? "diff-text" : "diff-text is-a"}>{row.a && <Pieces of={row.a} as="del" />}</td>
      <td class="diff-line">{row.lineB}</td>
      <td class={row.b === null ? "diff-none" : row.kind === "same" ? "diff-text" : "diff-text is-b"}>{row.b && <Pieces of={row.b} as="ins" />}{mark[row.kind] && <span class="visually-hidden"> {mark[row.kind]}</span>}</td>
    </tr>
  );
}

/** What went first, then what came. */
function InlineRows({ rows }: { rows: readonly DiffRow[] }) {
  const changed = rows[0]?.kind !== "same";
  const lines = changed
    ? [
      ...rows.flatMap((row) => (row.a ? [{ side: "a", line: row.lineA, other: null as number | null, text: row.a }] : [])),
      ...rows.flatMap((row) => (row.b ? [{ side: "b", line: null as number | null, other: row.lineB, text: row.b }] : [])),
    ]
    : rows.map((row) => ({ side: "", line: row.lineA, other: row.lineB, text: row.a ?? [] }));
  return (
    <>
      {lines.map(({ side, line, other, text }, index) => (
        <tr key={index} class={`diff-row ${changed ? "changed" : "same"}`} {...(changed && index === 0 ? { "data-change": "" } : {})}>
          <td class="diff-line">{line}</td>
          <td class="diff-line">{other}</td>
          <td class={side ? `diff-text is-${side}` : "diff-text"}>
            {side && <span class="visually-hidden">{side === "a" ? strings.removed : strings.added} </span>}
            <Pieces of={text} as={side === "b" ? "ins" : "del"} />
          </td>
        </tr>
      ))}
    </>
  );
}

function Pieces({ of, as: Tag }: { of: readonly Segment[]; as: "ins" | "del" }) {
  return <>{of.map(({ text, changed }, index) => (changed ? <Tag key={index}>{text}</Tag> : text))}</>;
}

function Paths({ found }: { found: PathDiff }) {
  return (
    <div class="diff-scroll" role="region" aria-label={strings.caption.json} tabIndex={0}>
      <table class="diff paths">
        <caption class="visually-hidden">{strings.caption.json}</caption>
        <thead><tr><th scope="col">{strings.columns.path}</th><th scope="col">{strings.a}</th><th scope="col">{strings.b}</th></tr></thead>
        <tbody>
          {found.changes.map(({ path, a, b }) => (
            <tr key={path} data-change="">
              <th scope="row">{path}</th>
              <td class={a === null ? "diff-none" : "diff-text is-a"}>{a ?? <span class="visually-hidden">{strings.added}</span>}</td>
              <td class={b === null ? "diff-none" : "diff-text is-b"}>{b ?? <span class="visually-hidden">{strings.removed}</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {found.cut && <p class="compare-note muted">{strings.cut(count(found.changes.length))}</p>}
    </div>
  );
}

function TooDifferent({ calls, part, json }: { calls: readonly [Call, Call]; part: PartName; json: boolean }) {
  const path = part === "request" ? "request" : "response";
  return (
    <Empty
      icon="compare" title={json ? strings.notJson : strings.tooDifferent}
      actions={<>{calls.map(({ id }, index) => <ButtonLink key={id} icon="download" href={apiUrl(`calls/${id}/${path}`)} download={`${id}.${path}`}>{strings.download(index ? strings.b : strings.a)}</ButtonLink>)}</>}
    >
      <p>{strings.downloadBoth}</p>
    </Empty>
  );
}
