// The same to many calls. The server does it; here they are named: by their ids, or by the filters of the list.
//
// Ids travel in the query, which may be 1,024 characters long, so many of them go in a few requests one
// after the other.

import { serverNow } from "../../clock";
import { ApiError, apiUrl, post, remove, signedIn, type Bulk, type Call } from "../../api";
import type { Filters } from "./where";

export type Verb = "cancel" | "replay" | "replayTo" | "delete";
export type Target = { ids: readonly string[] } | { filters: Filters };

export interface Changes {
  upstream?: string;
  model?: string;
}

const IDS_AT_ONCE = 30; // of 31 characters and a comma: a query has at most 1,024

export const byIds = (ids: readonly string[]): string => `id:${ids.join(",")}`;

const FINAL = "succeeded,failed,cancelled,expired";
/** What a verb can be done to: the others among the chosen would be counted, and then refused. */
const MEANT: Partial<Record<Verb, { status: string }>> = { cancel: { status: "queued,running" }, replay: { status: FINAL }, replayTo: { status: FINAL } };

/** *target*, as far as *verb* can be done to it, as queries, one for each request. Calls accepted from now on are not meant. */
export function queries(target: Target, verb?: Verb): Record<string, string>[] {
  const meant = verb && MEANT[verb];
  if ("filters" in target) return [{ ...target.filters, ...meant, until: target.filters.until || new Date(serverNow()).toISOString() }];
  const found: Record<string, string>[] = [];
  for (let at = 0; at < target.ids.length; at += IDS_AT_ONCE) found.push({ q: byIds(target.ids.slice(at, at + IDS_AT_ONCE)), ...meant });
  return found;
}

const route = (verb: Verb) => (verb === "cancel" ? "calls/cancel" : "calls/replay");

/** How many calls *verb* would concern; what deletes goes one by one, see `removeEach`. */
export async function dryRun(verb: Verb, asked: readonly Record<string, string>[], changes: Changes): Promise<number> {
  let matched = 0;
  for (const query of asked) matched += (await post<Bulk>(route(verb), bodyOf(verb, changes), { ...query, dry_run: "true" })).matched;
  return matched;
}

/** Do it; *tell* hears how far it is. What is refused is named and stops nothing. */
export async function run(verb: Verb, asked: readonly Record<string, string>[], changes: Changes, tell: (done: number) => void): Promise<Bulk> {
  const all: Bulk = { object: "bulk", matched: 0, done: 0, refused: [] };
  for (const query of asked) {
    const part = await post<Bulk>(route(verb), bodyOf(verb, changes), query);
    all.matched += part.matched;
    all.done += part.done;
    all.refused.push(...part.refused);
    tell(all.matched);
  }
  return all;
}

const bodyOf = (verb: Verb, changes: Changes) => (verb === "replayTo" ? changes : undefined);

/** Delete one by one, four at a time: for what was chosen by hand. */
export async function removeEach(ids: readonly string[], tell: (done: number) => void): Promise<Bulk> {
  const all: Bulk = { object: "bulk", matched: ids.length, done: 0, refused: [] };
  const left = [...ids];
  const work = async () => {
    for (let id = left.shift(); id !== undefined; id = left.shift()) {
      try {
        await remove(`calls/${id}`);
        all.done++;
      } catch (error) {
        all.refused.push({ id, code: error instanceof ApiError ? error.code : "internal" });
      }
      tell(all.done + all.refused.length);
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  return all;
}

/** Save the calls with their bodies, one a line. The browser downloads what one request can name; more is put together here. */
export async function exportCalls(target: Target): Promise<void> {
  const asked = queries(target);
  const [only] = asked;
  if (asked.length === 1) {
    save(apiUrl("calls/export", only));
    return;
  }
  const parts: Blob[] = [];
  for (const query of asked) {
    const answer = await signedIn(await fetch(apiUrl("calls/export", query)));
    if (!answer.ok) throw new ApiError(answer.status, "internal", `HTTP ${answer.status}`);
    parts.push(await answer.blob());
  }
  const url = URL.createObjectURL(new Blob(parts, { type: "application/x-ndjson" }));
  save(url);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function save(url: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = "calls.jsonl";
  document.body.append(link);
  link.click();
  link.remove();
}

/** Words for some calls of a dry run. */
export const nameOf = (call: Call): string => call.model ?? `${call.method} ${call.path}`;
