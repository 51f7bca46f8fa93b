// Recorded bodies, read slice by slice: exactly the bytes that went over the wire.
//
// The first 256 KiB come with the page, the rest when it is asked for. An answer that is still arriving
// is read on as it grows; reading it that way takes nothing from its client and changes no retry.

import { signal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError, apiUrl, signedIn, type Call } from "../../api";

export const FIRST_BYTES = 262_144;
export const SLICE_BYTES = 1_000_000;
const LIVE_MS = 250;

export interface Held {
  /** What is loaded, from the beginning. */
  data: Uint8Array;
  /** How many bytes the gateway holds. */
  size: number;
  /** The body is here as its sender meant it, to its proper end. */
  complete: boolean;
}

/** Where a body is to be had, for links that download it. */
export const bodyUrl = (id: string, attempt: number): string => apiUrl(`calls/${encodeURIComponent(id)}/body`, { attempt });

interface Slice {
  data: Uint8Array;
  size: number;
  complete: boolean;
}

/** Bytes *from* … *to* (exclusive) of a body; fewer where there are no more. */
export async function readSlice(id: string, attempt: number, from: number, to: number | null, abort?: AbortSignal): Promise<Slice> {
  const params = { attempt, offset: from || null, limit: to === null ? null : to - from };
  const answer = await signedIn(await fetch(apiUrl(`calls/${encodeURIComponent(id)}/body`, params), abort ? { signal: abort } : {}));
  const size = Number(answer.headers.get("x-gateway-body-bytes") ?? 0);
  const complete = answer.headers.get("x-gateway-body-complete") === "true";
  if (!answer.ok) {
    const told = (await answer.json().catch(() => ({}))) as { code?: string; detail?: string };
    throw new ApiError(answer.status, told.code ?? `http_${answer.status}`, told.detail ?? `HTTP ${answer.status}`);
  }
  return { data: new Uint8Array(await answer.arrayBuffer()), size, complete };
}

export const readWhole = async (id: string, attempt: number): Promise<Uint8Array> => (await readSlice(id, attempt, 0, null)).data;

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (!a.length) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

export interface Body {
  held: ReadonlySignal<Held | null>;
  error: ReadonlySignal<ApiError | null>;
  loading: ReadonlySignal<boolean>;
  /** Load as far as *bytes* from the beginning. */
  upTo: (bytes: number) => void;
}

const kept = new Map<string, Held>(); // what never changes any more and was read whole

/** The body of *attempt* of a call (0: its request); null where there is none to read. *live*: it may still grow. */
export function useBody(id: string, attempt: number | null, live: boolean): Body {
  const body = useMemo(() => new Loader(id, attempt), [id, attempt]);
  useEffect(() => {
    body.start();
    return () => body.stop();
  }, [body]);
  useEffect(() => {
    body.refresh();
    if (!live || attempt === null) return undefined;
    const timer = setInterval(() => { if (!document.hidden) body.refresh(); }, LIVE_MS);
    return () => clearInterval(timer);
  }, [body, live]);
  return body;
}

class Loader implements Body {
  readonly held;
  readonly error = signal<ApiError | null>(null);
  readonly loading = signal(false);
  private wanted = FIRST_BYTES;
  private abort = new AbortController();

  constructor(private readonly id: string, private readonly attempt: number | null) {
    this.held = signal<Held | null>(kept.get(this.key) ?? null);
  }

  private get key(): string {
    return `${this.id}/${this.attempt}`;
  }

  start(): void {
    this.abort = new AbortController();
  }

  stop(): void {
    this.abort.abort();
  }

  upTo(bytes: number): void {
    this.wanted = Math.max(this.wanted, bytes);
    void this.load();
  }

  refresh(): void {
    void this.load();
  }

  private async load(): Promise<void> {
    if (this.attempt === null || this.loading.value) return;
    const known = this.held.value;
    if (known?.complete && known.data.length >= Math.min(this.wanted, known.size)) return;
    this.loading.value = true;
    try {
      let now = this.held.value;
      do {
        const from = now?.data.length ?? 0;
        const to = Math.min(this.wanted, from + 4 * SLICE_BYTES);
        if (to <= from) break;
        const slice = await readSlice(this.id, this.attempt, from, to, this.abort.signal);
        if (!slice.data.length && now && now.size === slice.size && now.complete === slice.complete) break;
        now = { data: joined(now?.data ?? new Uint8Array(), slice.data), size: slice.size, complete: slice.complete };
        this.held.value = now;
        if (!slice.data.length) break;
      } while (now.data.length < Math.min(this.wanted, now.size));
      this.error.value = null;
      if (now?.complete && now.data.length === now.size && now.size <= SLICE_BYTES) {
        kept.set(this.key, now);
        if (kept.size > 20) kept.delete(kept.keys().next().value as string);
      }
    } catch (error) {
      if (this.abort.signal.aborted) return;
      this.error.value = error instanceof ApiError ? error : new ApiError(0, "unreachable", String(error));
    } finally {
      this.loading.value = false;
    }
  }
}

/** The header *name* of a message, whatever its case. */
export function headerOf(headers: Record<string, string | string[]> | null | undefined, name: string): string | null {
  for (const [key, value] of Object.entries(headers ?? {})) {
    if (key.toLowerCase() === name) return Array.isArray(value) ? value.join(", ") : value;
  }
  return null;
}

/** The coding a body is in, null where it is as it is. */
export function codingOf(headers: Call["request"]["headers"] | null): string | null {
  const coding = headerOf(headers ?? undefined, "content-encoding")?.trim().toLowerCase();
  return !coding || coding === "identity" ? null : coding;
}

/** Undo *coding*, as far as the bytes go; null where this browser cannot. */
export async function decoded(data: Uint8Array, coding: string): Promise<Uint8Array | null> {
  const format = { gzip: "gzip", "x-gzip": "gzip", deflate: "deflate", br: "brotli", zstd: "zstd" }[coding];
  if (!format) return null;
  let stream: DecompressionStream;
  try {
    stream = new DecompressionStream(format as CompressionFormat);
  } catch {
    return null;
  }
  const writer = stream.writable.getWriter();
  void writer.write(data.slice()).catch(() => undefined);
  void writer.close().catch(() => undefined);
  const pieces: Uint8Array[] = [];
  const reader = stream.readable.getReader();
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) pieces.push(piece.value as Uint8Array);
  } catch {
    // cut short: what came out until then is what there is
  }
  const whole = new Uint8Array(pieces.reduce((n, piece) => n + piece.length, 0));
  let at = 0;
  for (const piece of pieces) { whole.set(piece, at); at += piece.length; }
  return whole;
}

/** Bytes as text; null where they are none. A character cut at the end is left out. */
export function asText(data: Uint8Array): string | null {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(data, { stream: true });
  const sample = data.subarray(0, 8192);
  if (sample.includes(0)) return null;
  const damaged = text.slice(0, 8192).split("\uFFFD").length - 1;
  return damaged > sample.length / 50 + 1 ? null : text;
}
