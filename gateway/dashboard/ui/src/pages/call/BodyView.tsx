// One recorded body: what it is, why it is not here or not whole, and its bytes as text, picture or hex.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Call } from "../../api";
import { Button } from "../../components/button";
import { CopyButton } from "../../components/copy";
import { Loading } from "../../components/empty";
import { bytes, count, exactBytes } from "../../format";
import { Icon } from "../../icons";
import { useShortcuts } from "../../keys";
import { preference } from "../../preferences";
import { strings as t } from "../../strings/call";
import { asText, bodyUrl, codingOf, decoded, SLICE_BYTES, useBody, type Held } from "./bodies";
import { Code, useFind } from "./Code";
import { looksLikeJson, pretty } from "./json";
import { Media } from "./Media";

const wraps = preference("body-wrap", true);

export interface Source {
  call: Call;
  /** 0: the request. */
  attempt: number;
  label: string;
  contentType: string | null;
  sha256: string | null;
  headers: Call["request"]["headers"] | null;
  /** More may come. */
  live: boolean;
  /** Why there is none, or not all of it. */
  absent: string | null;
}

/** *asIs*: never indented, nothing folded. */
export function BodyView({ source, asIs = false }: { source: Source; asIs?: boolean }) {
  const { call, attempt, live, absent } = source;
  const body = useBody(call.id, absent && !source.contentType ? null : attempt, live);
  const held = body.held.value;
  const coding = codingOf(source.headers);
  const clear = useDecoded(held, coding);
  const error = body.error.value;
  if (error) return <><Head source={source} held={null} coding={coding} /><Nothing text={error.code === "gone" ? t.body.purged : error.status === 404 ? (absent ?? t.body.none) : error.message} /></>;
  if (!held) return absent ? <Nothing text={absent} /> : <Loading />;
  if (!held.size) return <><Head source={source} held={held} coding={coding} /><Nothing text={live ? t.body.pending : (absent ?? t.body.empty)} /></>;
  return (
    <div class="body-view">
      <Head source={source} held={held} coding={coding} />
      {coding && clear === null && held.data.length === held.size ? <p class="notice warn"><Icon name="info" /><span>{t.body.coded(coding)}</span></p> : null}
      <Content source={source} data={clear ?? held.data} asIs={asIs} />
      {held.data.length < held.size && (
        <p class="body-more" role="status">
          <span>{t.body.loaded(bytes(held.data.length), bytes(held.size))}</span>
          <Button small disabled={body.loading.value} onClick={() => body.upTo(held.data.length + SLICE_BYTES)}>{t.body.more(bytes(Math.min(SLICE_BYTES, held.size - held.data.length)))}</Button>
          <Button small disabled={body.loading.value} onClick={() => body.upTo(held.size)}>{t.body.all}</Button>
        </p>
      )}
    </div>
  );
}

/** The bytes without their content coding; null while, or where, that cannot be had. */
export function useDecoded(held: Held | null, coding: string | null): Uint8Array | null {
  const clear = useSignal<Uint8Array | null>(null);
  useEffect(() => {
    let wanted = true;
    if (held && coding) void decoded(held.data, coding).then((data) => { if (wanted) clear.value = data; });
    else clear.value = null;
    return () => { wanted = false; };
  }, [held, coding]);
  return coding ? clear.value : null;
}

function Head({ source, held, coding }: { source: Source; held: Held | null; coding: string | null }) {
  const { call, attempt, contentType, sha256 } = source;
  const partial = held && !held.complete && !source.live;
  return (
    <div class="body-head">
      <span class="mono">{contentType ?? t.body.untyped}</span>
      {held && <span title={exactBytes(held.size)}>{exactBytes(held.size)}</span>}
      {coding && <span class="chip">{t.body.encoding(coding)}</span>}
      {source.live && <span class="chip warn">{t.body.arriving}</span>}
      {partial && <span class="chip bad" title={source.absent ?? ""}>{t.body.partial}</span>}
      {sha256 && <span class="body-hash"><abbr title={t.body.hash}>sha256</abbr> <code title={sha256}>{sha256.slice(0, 12)}…</code><CopyButton text={sha256} label={t.body.copyHash} /></span>}
      <span class="grow" />
      {held && held.size > 0 && <a class="button small" href={bodyUrl(call.id, attempt)} download><Icon name="download" />{t.body.download}</a>}
    </div>
  );
}

function Nothing({ text }: { text: string }) {
  return <p class="body-nothing"><Icon name="info" /><span>{text}</span></p>;
}

function Content({ source, data, asIs }: { source: Source; data: Uint8Array; asIs: boolean }) {
  const type = (source.contentType ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
  const text = useMemo(() => asText(data), [data]);
  if (text !== null && !(type.startsWith("image/") && type !== "image/svg+xml")) return <TextContent source={source} text={text} type={type} asIs={asIs} />;
  return (
    <>
      {!asIs && type.startsWith("image/") && <div class="body-picture"><Media mediaType={type} raw={data} name={null} /></div>}
      <pre class="hex" tabIndex={0} role="region" aria-label={t.body.hex}>{hex(data)}</pre>
      {data.length > HEX_BYTES && <p class="muted">{t.body.hexCut(bytes(HEX_BYTES))}</p>}
    </>
  );
}

function TextContent({ source, text, type, asIs }: { source: Source; text: string; type: string; asIs: boolean }) {
  const isJson = !asIs && (/json/.test(type) && !/ndjson|jsonl/.test(type) ? true : looksLikeJson(text)) && looksLikeJson(text);
  const indented = useSignal(true);
  const wanted = useSignal("");
  const container = useRef<HTMLDivElement>(null);
  const inPretty = isJson && indented.value;
  const shown = useMemo(() => (inPretty ? pretty(text) : text), [text, inPretty]);
  const find = useFind(container, wanted.value, `${shown.length} ${wraps.value} ${inPretty}`);
  useShortcuts(t.shortcuts.title, [{ keys: "w", label: t.shortcuts.wrap, run: () => { wraps.value = !wraps.value; } }]);
  return (
    <>
      <div class="body-tools">
        {isJson && (
          <span class="segments">
            <button type="button" aria-pressed={indented.value} onClick={() => { indented.value = true; }}>{t.body.pretty}</button>
            <button type="button" aria-pressed={!indented.value} onClick={() => { indented.value = false; }}>{t.body.asSent}</button>
          </span>
        )}
        <Button small kind="ghost" aria-pressed={wraps.value} onClick={() => { wraps.value = !wraps.value; }}>{t.body.wrap}</Button>
        <label class="find">
          <span class="visually-hidden">{t.body.find(source.label)}</span>
          <Icon name="search" size={14} />
          <input
            type="search" placeholder={t.body.findHint} value={wanted.value} onInput={(event) => { wanted.value = event.currentTarget.value; }}
            onKeyDown={(event) => { if (event.key === "Enter") { event.preventDefault(); find.go(event.shiftKey ? -1 : 1); } }}
          />
        </label>
        {wanted.value && (
          <>
            <span class="muted" role="status">{find.count ? t.body.matches(find.at + 1, count(find.count) + (find.capped ? "+" : "")) : t.body.noMatch}</span>
            <Button small kind="ghost" icon="up" label={t.body.previous} onClick={() => find.go(-1)} />
            <Button small kind="ghost" icon="down" label={t.body.next} onClick={() => find.go(1)} />
          </>
        )}
        <span class="grow" />
        <CopyButton text={text} label={t.body.copy} />
      </div>
      <Code text={shown} label={source.label} json={inPretty} wrap={wraps.value} fold={inPretty} container={container} />
    </>
  );
}

const HEX_BYTES = 16_384;

/** Sixteen bytes a line: offset, hex, and what is printable. */
function hex(data: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < Math.min(data.length, HEX_BYTES); at += 16) {
    const row = [...data.subarray(at, at + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${digits.padEnd(47)}  ${text}`);
  }
  return lines.join("\n");
}
