// Text as it is, of any length: numbered lines, wrapped or not, searchable, data URIs folded.
//
// Up to some thousand lines every line is an element and JSON has colours; beyond that the text stands in
// blocks of 64 KiB that the browser lays out only when they come into view.

import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { Button } from "../../components/button";
import { bytes } from "../../format";
import { strings as t } from "../../strings/call";
import { tokens } from "./json";
import { Media } from "./Media";

const COLOURED_LINES = 4000;
const COLOURED_CHARS = 400_000;
const BLOCK_CHARS = 65_536;
const FOLD_CHARS = 2048;
const BLOB = /"(?:data:([\w/+.-]+)[^,"]{0,100},)?([A-Za-z0-9+/_-]{2048,}={0,2})"/g;

interface Props {
  text: string;
  label: string;
  json: boolean;
  wrap: boolean;
  /** Fold base64 and data URIs away. */
  fold: boolean;
  container: RefObject<HTMLDivElement | null>;
}

export function Code({ text, label, json, wrap, fold, container }: Props) {
  const few = text.length <= COLOURED_CHARS || (fold && json && text.length < 4_000_000);
  const lines = useMemo(() => (few ? text.split("\n", COLOURED_LINES + 1) : []), [text, few]);
  const coloured = few && lines.length <= COLOURED_LINES && lines.every((line) => line.length < BLOCK_CHARS || (fold && json));
  return (
    <div ref={container} class={["code", wrap ? "wrap" : "", coloured ? "lines" : "blocks"].join(" ")} tabIndex={0} role="region" aria-label={label} style={{ "--digits": String(digits(coloured ? lines.length : countLines(text))) }}>
      {coloured
        ? lines.map((line, at) => <div class="line" key={at}>{json ? <Line line={line} fold={fold} /> : line || "\u200b"}</div>)
        : <Blocks text={text} fold={fold && json} />}
    </div>
  );
}

const digits = (lines: number) => Math.max(2, String(lines).length);

function countLines(text: string): number {
  let lines = 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

function Line({ line, fold }: { line: string; fold: boolean }) {
  if (!line) return <>{"\u200b"}</>;
  return (
    <>
      {tokens(line).map(({ kind, text }, at) => {
        if (kind === "other") return text;
        if (fold && kind === "string" && text.length > FOLD_CHARS) {
          BLOB.lastIndex = 0;
          const blob = BLOB.exec(text);
          if (blob && blob[0].length === text.length) return <Folded key={at} text={text} mediaType={blob[1] ?? null} data={blob[2] ?? ""} />;
        }
        return <span key={at} class={`j-${kind}`}>{text}</span>;
      })}
    </>
  );
}

/** A long run of base64 in a string, shown as what it is. */
function Folded({ text, mediaType, data }: { text: string; mediaType: string | null; data: string }) {
  const open = useSignal<"" | "text" | "media">("");
  return (
    <span class="folded">
      <span class="folded-chip">
        <span>{t.folded(mediaType, bytes(Math.floor((data.length * 3) / 4)))}</span>
        <Button small kind="ghost" onClick={() => { open.value = open.value === "media" ? "" : "media"; }}>{t.view}</Button>
        <Button small kind="ghost" onClick={() => { open.value = open.value === "text" ? "" : "text"; }}>{t.text}</Button>
      </span>
      {open.value === "text" && <span class="j-string">{text}</span>}
      {open.value === "media" && <Media mediaType={mediaType ?? "application/octet-stream"} data={data} name={null} />}
    </span>
  );
}

type Piece = { kind: "block"; text: string; first: number; lines: number } | { kind: "blob"; text: string; mediaType: string | null; data: string };

function Blocks({ text, fold }: { text: string; fold: boolean }) {
  const pieces = useMemo(() => cut(text, fold), [text, fold]);
  return (
    <>
      {pieces.map((piece, at) => piece.kind === "blob"
        ? <div class="block" key={at}><Folded text={piece.text} mediaType={piece.mediaType} data={piece.data} /></div>
        : <pre class="block" key={at} data-lines={numbers(piece.first, piece.lines)} style={{ "--lines": String(piece.lines) }}>{piece.text}</pre>)}
    </>
  );
}

const numbers = (first: number, lines: number) => Array.from({ length: lines }, (_, at) => first + at).join("\n");

/** The text in blocks of about 64 KiB, cut at line ends where there are some. */
function cut(text: string, fold: boolean): Piece[] {
  const pieces: Piece[] = [];
  let line = 1;
  const add = (from: number, to: number) => {
    while (from < to) {
      let end = Math.min(to, from + BLOCK_CHARS);
      if (end < to) {
        const at = text.lastIndexOf("\n", end);
        if (at > from) end = at + 1;
        else if (/[\uD800-\uDBFF]/.test(text[end - 1] ?? "")) end--; // never through a character
      }
      const block = text.slice(from, end);
      const ends = block.endsWith("\n");
      const shown = ends ? block.slice(0, -1) : block;
      const lines = countLines(shown);
      pieces.push({ kind: "block", text: shown, first: line, lines });
      line += ends ? lines : lines - 1;
      from = end;
    }
  };
  let done = 0;
  if (fold) {
    BLOB.lastIndex = 0;
    for (let match = BLOB.exec(text); match; match = BLOB.exec(text)) {
      add(done, match.index);
      pieces.push({ kind: "blob", text: match[0], mediaType: match[1] ?? null, data: match[2] ?? "" });
      done = match.index + match[0].length;
    }
  }
  add(done, text.length);
  return pieces;
}

const MOST_MATCHES = 2000;

/** Marks every place where *wanted* stands in *container*; `go` moves from one to the next. */
export function useFind(container: RefObject<HTMLDivElement | null>, wanted: string, shown: unknown) {
  const found = useSignal<Range[]>([]);
  const at = useSignal(0);
  useEffect(() => {
    const registry = CSS.highlights as HighlightRegistry | undefined;
    const ranges = wanted && container.current ? matches(container.current, wanted) : [];
    found.value = ranges;
    at.value = 0;
    registry?.set("found", new Highlight(...ranges));
    if (ranges[0]) show(ranges[0], registry);
    else registry?.delete("found-now");
    return () => { registry?.delete("found"); registry?.delete("found-now"); };
  }, [wanted, shown]);
  const go = (step: number) => {
    const count = found.value.length;
    if (!count) return;
    at.value = (at.value + step + count) % count;
    const range = found.value[at.value];
    if (range) show(range, CSS.highlights as HighlightRegistry | undefined);
  };
  return { count: found.value.length, capped: found.value.length >= MOST_MATCHES, at: at.value, go };
}

function show(range: Range, registry: HighlightRegistry | undefined): void {
  registry?.set("found-now", new Highlight(range));
  const box = range.getBoundingClientRect();
  const region = range.startContainer.parentElement?.closest<HTMLElement>(".code");
  if (!region) return;
  const frame = region.getBoundingClientRect();
  if (box.top < frame.top || box.bottom > frame.bottom) region.scrollTop += box.top - frame.top - frame.height / 2;
  if (box.left < frame.left || box.right > frame.right) region.scrollLeft += box.left - frame.left - frame.width / 2;
}

function matches(container: HTMLElement, wanted: string): Range[] {
  const needle = wanted.toLowerCase();
  const ranges: Range[] = [];
  for (const part of container.querySelectorAll<HTMLElement>(".line, .block")) {
    const texts: Text[] = [];
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) texts.push(walker.currentNode as Text);
    const whole = texts.map((each) => each.data).join("").toLowerCase();
    for (let at = whole.indexOf(needle); at >= 0 && ranges.length < MOST_MATCHES; at = whole.indexOf(needle, at + needle.length)) {
      const range = new Range();
      let from = 0;
      for (const node of texts) {
        const to = from + node.length;
        if (at >= from && at < to) range.setStart(node, at - from);
        if (at + needle.length > from && at + needle.length <= to) { range.setEnd(node, at + needle.length - from); break; }
        from = to;
      }
      ranges.push(range);
    }
    if (ranges.length >= MOST_MATCHES) break;
  }
  return ranges;
}
