// The gateway's JSON API: one function per verb, errors as ApiError, and the shapes of what it answers.
//
// Paths are relative to `/-/`: get<List<Call>>("calls", {limit: 50}).

import { useSignal, useSignalEffect, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

export type Status = "queued" | "running" | "succeeded" | "failed" | "cancelled" | "expired";
export type WaitReason = "slot" | "backoff" | "paused" | "rate" | "scheduled" | "key_limit";
export type Outcome = "answered" | "timed_out" | "unreachable" | "broken" | "cancelled" | "interrupted";

export interface Failure {
  code: string;
  message: string;
}

export interface Attempt {
  number: number;
  upstream: string;
  started_at: string;
  first_byte_at: string | null;
  finished_at: string | null;
  outcome: Outcome | null;
  status: number | null;
  error: Failure | null;
  retry_after_s: number | null;
  backoff_s: number | null;
  ambiguous: boolean;
  headers?: Record<string, string | string[]>;
  bytes?: number;
  content_type?: string | null;
  complete?: boolean;
  sha256?: string | null;
}

export interface Body {
  content_type: string | null;
  bytes: number;
  sha256?: string | null;
  headers?: Record<string, string | string[]>;
}

export interface Usage {
  input_tokens: number | null;
  output_tokens: number | null;
  total_tokens: number | null;
}

/** A call. Lists leave out `attempts`, headers and hashes, and add `preview`. */
export interface Call {
  object: "call";
  id: string;
  status: Status;
  wait_reason: WaitReason | null;
  queue_position: number | null;
  eta_s: number | null;
  method: string;
  path: string;
  query: string;
  model: string | null;
  stream: boolean;
  upstream: string;
  key: string | null;
  priority: number;
  tags: Record<string, string>;
  created_at: string;
  started_at: string | null;
  first_byte_at: string | null;
  finished_at: string | null;
  deadline_at: string | null;
  queued_ms: number | null;
  duration_ms: number | null;
  attempts?: Attempt[];
  attempts_count?: number;
  request: Body;
  response: (Body & { status: number; complete: boolean }) | null;
  usage: Usage | null;
  cost_usd: number | null;
  error: Failure | null;
  replay_of: string | null;
  replays?: string[];
  idempotency_key: string | null;
  fairness_key: string | null;
  webhook: { url: string; status: string; attempts: number; next_at: string | null; last_status: number | null } | null;
  client_waited: boolean;
  client_gone: boolean;
  survives_restart: boolean;
  preview?: { request: string; answer: string } | null;
}

/** What `call` events carry when a call was deleted. */
export interface DeletedCall {
  object: "call";
  id: string;
  deleted: true;
}

export interface List<T> {
  object: "list";
  data: T[];
  first_id: string | null;
  last_id: string | null;
  has_more: boolean;
  searched_back_to?: string | null;
  next_cursor?: string | null;
}

export interface Upstream {
  object: "upstream";
  name: string;
  base_url: string;
  dialect: string;
  models: string[];
  max_in_flight: number;
  configured_max_in_flight: number;
  in_flight: number;
  queued: number;
  queued_detached: number;
  retries_in_flight: number;
  open_calls: number;
  paused: boolean;
  breaker: { state: "closed" | "open" | "half_open" | "recovering" } | null;
}

export interface Distribution {
  count: number;
  mean: number | null;
  p50: number | null;
  p95: number | null;
  p99: number | null;
  max: number | null;
}

export interface Totals {
  calls: number;
  succeeded: number;
  failed: number;
  cancelled: number;
  expired: number;
  attempts: number;
  retried: number;
  rate_limited: number;
  errors: Record<string, number>;
  duration_ms: Distribution;
  queued_ms: Distribution;
  first_byte_ms: Distribution;
  input_tokens: number;
  output_tokens: number;
  total_tokens: number;
  cost_usd: number | null;
}

export interface Step extends Totals {
  at: string;
  in_flight: number;
  in_flight_max: number;
  queued: number;
  queued_max: number;
  limit: number;
}

/** `GET /-/stats`; older gateways answer only the first part. */
export interface Stats {
  object: "stats";
  at?: string;
  in_flight: number;
  queued: number;
  queued_detached: number;
  open_calls: number;
  recovered: { queued: number; retried: number; failed: number };
  window_s?: number;
  step_s?: number;
  since?: string;
  until?: string;
  totals?: Totals;
  previous?: Totals;
  upstreams?: Record<string, Totals>;
  series?: Step[];
}

/** The `stats` event, once a second. */
export interface LiveStats {
  at: string;
  in_flight: number;
  queued: number;
  queued_detached: number;
  open_calls: number;
  finished_per_s: number;
  failed_per_s: number;
  oldest_queued_s: number | null;
  loop_lag_ms: number;
  journal_pending: number;
  upstreams: Pick<Upstream, "name" | "in_flight" | "max_in_flight" | "queued" | "queued_detached" | "paused">[];
}

export interface Setting {
  key: string;
  value: unknown;
  default: unknown;
  source: "default" | "file" | "environment" | "live";
}

export interface Config {
  object: "config";
  path: string;
  values: Setting[];
}

export interface Journal {
  object: "journal";
  path: string;
  file_bytes: number;
  wal_bytes: number;
  free_bytes: number;
  calls: number | null;
  oldest_at: string | null;
  newest_at: string | null;
  open_calls: number;
  keep_bodies_days: number;
  keep_calls_days: number;
  durability: string;
  pending_posts: number;
  pending_bytes: number;
  last_commit_ms: number | null;
  unsearched: number | null;
  integrity: string;
}

export interface Ready {
  ok: boolean;
  checks: { name: string; ok: boolean; detail?: string }[];
}

export interface Bulk {
  object: "bulk";
  matched: number;
  done: number;
  refused: { id: string; code: string }[];
}

/** A refusal or failure of the gateway's API (problem details), or of the network: status 0. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly position: number | null = null,
    readonly hint: string | null = null,
    readonly errors: string[] = [],
  ) {
    super(message);
  }
}

export type Query = Record<string, string | number | boolean | null | undefined> | URLSearchParams;

/** The URL of one of the gateway's own paths: apiUrl("calls/call_…/request"). */
export function apiUrl(path: string, params?: Query): string {
  const url = new URL(`../${path}`, document.baseURI);
  const pairs = params instanceof URLSearchParams ? [...params] : Object.entries(params ?? {});
  for (const [name, value] of pairs) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.append(name, String(value));
  }
  return url.href;
}

/** The address that clients give their SDK: scheme, host, port and any prefix, no slash at the end. */
export function gatewayUrl(): string {
  return new URL("../../", document.baseURI).href.replace(/\/$/, "");
}

let signedOut: () => void = () => undefined;

/** What to do once the gateway does not know us any more. */
export function onSignedOut(run: () => void): void {
  signedOut = run;
}

/** Any answer of the gateway; where it says that our session is over there is nothing to wait for. */
export async function signedIn(answer: Response): Promise<Response> {
  if (answer.status !== 401) return answer;
  signedOut();
  return new Promise(() => undefined); // the page is left; it must not show an error first
}

interface Options {
  signal?: AbortSignal | undefined;
  /** Statuses that are an answer, not an error: a 503 of `/-/ready`. */
  accept?: number[];
}

async function ask<T>(method: string, url: string, body: unknown, options: Options): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(url, {
      method,
      headers: {
        Accept: "application/json",
        ...(method === "GET" ? {} : { "x-gateway-csrf": "1" }), // no page of another origin can send it
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The gateway does not answer.");
  }
  await signedIn(answer);
  if (!answer.ok && !options.accept?.includes(answer.status)) throw await problem(answer);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

async function problem(answer: Response): Promise<ApiError> {
  const told = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
  const text = (name: string) => (typeof told[name] === "string" ? (told[name] as string) : null);
  return new ApiError(
    answer.status,
    text("code") ?? `http_${answer.status}`,
    text("detail") ?? text("title") ?? `HTTP ${answer.status}`,
    typeof told["position"] === "number" ? told["position"] : null,
    text("hint"),
    Array.isArray(told["errors"]) ? told["errors"].map(String) : [],
  );
}

export const get = <T,>(path: string, params?: Query, options: Options = {}): Promise<T> =>
  ask<T>("GET", apiUrl(path, params), undefined, options);
export const post = <T,>(path: string, body?: unknown, params?: Query): Promise<T> =>
  ask<T>("POST", apiUrl(path, params), body, {});
export const patch = <T,>(path: string, body: unknown): Promise<T> => ask<T>("PATCH", apiUrl(path), body, {});
export const remove = (path: string): Promise<void> => ask<void>("DELETE", apiUrl(path), undefined, {});

export interface Loaded<T> {
  data: ReadonlySignal<T | undefined>;
  error: ReadonlySignal<ApiError | undefined>;
  /** A request is under way; `data` still shows what was known before. */
  loading: ReadonlySignal<boolean>;
  reload: () => void;
}

const known = new Map<string, unknown>(); // by URL: drawn at once when a page is opened again

/** Load *path* now and whenever it or *params* change; draws from what was loaded before meanwhile. */
export function useGet<T>(path: string | null, params?: Query, options: Pick<Options, "accept"> = {}): Loaded<T> {
  const url = path === null ? null : apiUrl(path, params);
  const wanted = useSignal(url);
  wanted.value = url;
  const again = useSignal(0);
  const data = useSignal<T | undefined>(url === null ? undefined : (known.get(url) as T | undefined));
  const error = useSignal<ApiError | undefined>(undefined);
  const loading = useSignal(url !== null);
  useSignalEffect(() => {
    const target = wanted.value;
    again.value;
    if (target === null) return;
    const abort = new AbortController();
    if (known.has(target)) data.value = known.get(target) as T;
    loading.value = true;
    ask<T>("GET", target, undefined, { ...options, signal: abort.signal }).then(
      (answer) => {
        known.set(target, answer);
        if (known.size > 50) known.delete(known.keys().next().value as string);
        data.value = answer;
        error.value = undefined;
        loading.value = false;
      },
      (reason: unknown) => {
        if (abort.signal.aborted) return;
        error.value = reason instanceof ApiError ? reason : new ApiError(0, "internal", String(reason));
        loading.value = false;
      },
    );
    return () => abort.abort();
  });
  return useMemo(() => ({ data, error, loading, reload: () => again.value++ }), []);
}

/** Call *run* every *everyMs* while the tab is visible. */
export function useEvery(everyMs: number, run: () => void): void {
  useEffect(() => {
    const timer = setInterval(() => { if (!document.hidden) run(); }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs, run]);
}

