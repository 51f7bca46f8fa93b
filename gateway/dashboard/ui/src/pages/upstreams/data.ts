// What the upstream pages read: the upstreams as they are this second, and their rates of a range.

import { useCallback, useEffect } from "preact/hooks";
import { patch, useEvery, useGet, type List, type Loaded, type Stats, type Upstream } from "../../api";
import { toast, toastError } from "../../components/toast";
import { liveState, liveUpstreams, resyncs } from "../../live";
import { strings as t } from "../../strings/upstreams";

/** The upstreams in the order of the configuration, as last told. */
export function useUpstreams(): { upstreams: Upstream[]; loaded: Loaded<List<Upstream>> } {
  const loaded = useGet<List<Upstream>>("upstreams");
  const reload = useCallback(() => { if (liveState.value !== "paused") loaded.reload(); }, []);
  useEvery(10_000, reload);
  useEffect(() => { if (resyncs.value) loaded.reload(); }, [resyncs.value]);
  const first = loaded.data.value?.data ?? [];
  const upstreams = first.length ? first.map((each) => liveUpstreams.value.get(each.name) ?? each) : [...liveUpstreams.value.values()];
  return { upstreams, loaded };
}

/** Rates of one upstream, or of all, renewed every 10 s. */
export function useRates(window: string, upstream?: string): Loaded<Stats> {
  const loaded = useGet<Stats>("stats", { window, upstream });
  const reload = useCallback(() => { if (liveState.value !== "paused") loaded.reload(); }, []);
  useEvery(10_000, reload);
  return loaded;
}

const tell = (upstream: Upstream) => { liveUpstreams.value = new Map(liveUpstreams.value).set(upstream.name, upstream); };

/** Let *name* start attempts or not, and offer to take that back. */
export async function setPaused(name: string, paused: boolean): Promise<void> {
  try {
    tell(await patch<Upstream>(`upstreams/${encodeURIComponent(name)}`, { paused }));
    toast(paused ? t.pausing.done(name) : t.pausing.undone(name), { action: { label: t.undo, run: () => void setPaused(name, !paused) } });
  } catch (error) {
    toastError(error);
  }
}

/** Give *name* another limit, and offer to take that back. */
export async function setLimit({ name, max_in_flight: before }: Upstream, after: number): Promise<void> {
  try {
    const changed = await patch<Upstream>(`upstreams/${encodeURIComponent(name)}`, { max_in_flight: after });
    tell(changed);
    toast(t.limit.set(name, before, after), { action: { label: t.undo, run: () => void setLimit(changed, before) } });
  } catch (error) {
    toastError(error);
  }
}

/** What a limit of *to* does at this moment, in words. */
export function effect(upstream: Upstream, to: number): string {
  const { in_flight: inFlight, max_in_flight: from, paused } = upstream;
  if (paused && to > from) return t.limit.paused;
  if (to > from) {
    const starts = Math.min(upstream.queued, Math.max(0, to - inFlight) - Math.max(0, from - inFlight));
    return starts > 0 ? t.limit.starts(starts) : t.limit.nothing;
  }
  return inFlight > to ? t.limit.waits(inFlight, to) : t.limit.nothing;
}
