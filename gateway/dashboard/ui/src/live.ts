// What the gateway tells by itself: one event stream per visible tab, stores that pages read, and asking
// every 5 seconds where a stream cannot be had.
//
// A hidden tab holds no connection (browsers allow six an origin); it resyncs when it is looked at again.
// Every change of `resyncs` means: what you loaded may be out of date, load it again.

import { batch, computed, effect, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { apiUrl, get, type Call, type DeletedCall, type List, type LiveStats, type Ready, type Stats, type Upstream } from "./api";
import { serverNow, setClock, tick } from "./clock";
import { may } from "./session";

export type LiveState = "connecting" | "live" | "polling" | "paused" | "offline";

const POLL_MS = 5000;
const GIVE_UP_AFTER = 2; // failed connections in a row before we ask instead

/** Whether the person wants updates at all. */
export const wantsLive = signal(true);
const connection = signal<Exclude<LiveState, "paused">>("connecting");
export const liveState = computed<LiveState>(() => (wantsLive.value ? connection.value : "paused"));

/** The newest `stats` event; null before the first, and while polling a gateway that has none. */
export const liveStats = signal<LiveStats | null>(null);
/** The newest of every upstream, by name, in the order of the config. */
export const liveUpstreams = signal<ReadonlyMap<string, Upstream>>(new Map());
/** Calls that are queued or running, as last told. */
export const openCalls = signal<ReadonlyMap<string, Call>>(new Map());
export const resyncs = signal(0);
export const version = signal<string | null>(null);
/** The gateway's dashboard files are newer than what runs here. */
export const newBuild = signal(false);
export const health = signal<Ready | null>(null);

type CallListener = (call: Call | DeletedCall) => void;
const listeners = new Set<CallListener>();

/** Hear of every change of a call, in order, while the component is mounted. */
export function useCallEvents(listener: CallListener): void {
  useEffect(() => {
    listeners.add(listener);
    return () => { listeners.delete(listener); };
  }, [listener]);
}

const isOpen = (call: Call) => call.status === "queued" || call.status === "running";

const SHOW_AFTER_MS = 100; // one copy of the open calls for all events of a tick
const FAILED_FOR_MS = 300_000;

let heldOpen: Map<string, Call> = new Map();
let showing: ReturnType<typeof setTimeout> | undefined;
let failedAt: number[] = [];

/** How many calls failed or expired in the last five minutes, of those we heard of. */
export const failedLately = signal(0);
effect(() => {
  const now = tick.value;
  failedAt = failedAt.filter((at) => now - at < FAILED_FOR_MS);
  failedLately.value = failedAt.length;
});

let heard = { ended: 0, failed: 0 };

/** How many calls ended, and how many of them badly, since this was last asked. */
export function takeHeard(): { ended: number; failed: number } {
  const taken = heard;
  heard = { ended: 0, failed: 0 };
  return taken;
}

function tellCall(call: Call | DeletedCall): void {
  if (!("deleted" in call) && isOpen(call)) heldOpen.set(call.id, call);
  else heldOpen.delete(call.id);
  if (!("deleted" in call) && !isOpen(call)) {
    heard.ended++;
    if (call.status === "failed" || call.status === "expired") {
      heard.failed++;
      failedAt.push(serverNow());
    }
  }
  showing ??= setTimeout(() => {
    showing = undefined;
    openCalls.value = new Map(heldOpen);
  }, SHOW_AFTER_MS);
  for (const listener of listeners) listener(call);
}

function tellUpstream(upstream: Upstream): void {
  liveUpstreams.value = new Map(liveUpstreams.value).set(upstream.name, upstream);
}

function tellStats(stats: LiveStats): void {
  setClock(stats.at);
  liveStats.value = stats;
  let next: Map<string, Upstream> | null = null;
  for (const each of stats.upstreams) {
    const known = liveUpstreams.value.get(each.name);
    if (known) (next ??= new Map(liveUpstreams.value)).set(each.name, { ...known, ...each });
  }
  if (next) liveUpstreams.value = next;
}

/** Load afresh what events only change: the upstreams and the open calls. */
async function resync(): Promise<void> {
  const [upstreams, running, queued] = await Promise.allSettled([
    may("read-all") ? get<List<Upstream>>("upstreams") : Promise.reject(),
    get<List<Call>>("calls", { status: "running", limit: 200 }),
    get<List<Call>>("calls", { status: "queued", limit: 200 }),
  ]);
  batch(() => {
    if (upstreams.status === "fulfilled") liveUpstreams.value = new Map(upstreams.value.data.map((each) => [each.name, each]));
    if (running.status === "fulfilled" && queued.status === "fulfilled") {
      heldOpen = new Map([...running.value.data, ...queued.value.data].map((call) => [call.id, call]));
      openCalls.value = new Map(heldOpen);
    }
    resyncs.value++;
  });
}

let source: EventSource | null = null;
let failures = 0;
let poller: ReturnType<typeof setInterval> | undefined;
let retrying: ReturnType<typeof setTimeout> | undefined;
let lastId = "";

function open(): void {
  if (source) return;
  const stream = (source = new EventSource(apiUrl("events", { topics: "call,stats,upstream", last_event_id: lastId })));
  const on = <T,>(name: string, tell: (data: T) => void) =>
    stream.addEventListener(name, (event) => {
      if (event.lastEventId) lastId = event.lastEventId;
      batch(() => tell(JSON.parse(event.data as string) as T));
    });
  on<{ at: string; version: string; build: string | null }>("hello", (hello) => {
    setClock(hello.at);
    version.value = hello.version;
    newBuild.value = hello.build !== null && hello.build !== ownBuild();
    stopPolling();
    failures = 0;
    connection.value = "live";
    if (!lastId) void resync();
  });
  on<LiveStats>("stats", tellStats);
  on<Call | DeletedCall>("call", tellCall);
  on<Upstream>("upstream", tellUpstream);
  on("resync", () => void resync());
  on("bye", () => { connection.value = "offline"; });
  stream.onerror = () => {
    if (stream.readyState === EventSource.CONNECTING) {
      connection.value = "connecting";
      if (++failures < GIVE_UP_AFTER) return;
    }
    close();
    startPolling();
    retrying = setTimeout(open, 30_000);
  };
}

function close(): void {
  source?.close();
  source = null;
  clearTimeout(retrying);
}

function startPolling(): void {
  if (poller !== undefined) return;
  void poll();
  poller = setInterval(() => void poll(), POLL_MS);
}

function stopPolling(): void {
  clearInterval(poller);
  poller = undefined;
}

async function poll(): Promise<void> {
  try {
    const stats = may("read-all") ? await get<Stats>("stats") : null;
    await resync();
    batch(() => {
      if (stats?.at) setClock(stats.at);
      connection.value = "polling";
      liveStats.value = null;
    });
  } catch {
    connection.value = "offline";
  }
}

async function checkHealth(): Promise<void> {
  health.value = await get<Ready>("ready", {}, { accept: [503] }).catch(() => null);
}

/** The build id in the address that this very file was loaded from: …/a/<build>/app.js. */
function ownBuild(): string | undefined {
  return import.meta.url.split("/a/")[1]?.split("/")[0];
}

export function startLive(): void {
  const visible = signal(!document.hidden);
  document.addEventListener("visibilitychange", () => { visible.value = !document.hidden; });
  addEventListener("pagehide", close);
  effect(() => {
    if (visible.value && wantsLive.value) {
      if (may("read-own")) open();
      void checkHealth();
      const timer = setInterval(() => void checkHealth(), 15_000);
      return () => clearInterval(timer);
    }
    close();
    stopPolling();
    return undefined;
  });
}
