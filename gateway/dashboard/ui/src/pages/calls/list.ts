// The calls on the page, and how they change while somebody reads.
//
// Invariants: a row that is shown changes in place and stays where it is while the reader holds the list;
// what would be new waits and is counted. Nothing is cut silently: `hasMore`, `searchedBackTo` and `count`
// say what is not shown. At most MAX_ROWS rows; at most one request for the newest page at a time.

import { batch, computed, signal, type ReadonlySignal } from "@preact/signals";
import { ApiError, get, type Call, type DeletedCall, type List } from "../../api";
import { serverNow } from "../../clock";
import { wantsLive } from "../../live";
import { canGrow, filtersOf, PAGE, type Filters, type Where } from "./where";

const MAX_ROWS = 500;
const FLUSH_MS = 250;
const PREVIEW_WITHIN_MS = 8000; // by then what was said is known, or there is nothing to show
const REFRESH_MS = 2000; // between two looks at the newest page, and ten times what the last one took

export interface Count {
  count: number;
  capped: boolean;
}

const known = new Map<string, { page: List<Call>; filters: Filters }>(); // drawn at once when Back is pressed

export class CallList {
  readonly rows = signal<readonly Call[]>([]);
  readonly loaded = signal(false);
  readonly loading = signal(false);
  readonly error = signal<ApiError | null>(null);
  readonly hasMore = signal(false);
  /** Reached from behind, this is the first page. */
  readonly atStart = signal(false);
  readonly searchedBackTo = signal<string | null>(null);
  readonly cursor = signal<string | null>(null);
  readonly searching = signal(false);
  readonly count = signal<Count | null>(null);
  /** Deleted meanwhile, still shown while the list is held. */
  readonly gone = signal<ReadonlySet<string>>(new Set());
  /** Accepted meanwhile, not shown while the list is held. */
  readonly waiting = signal<readonly Call[]>([]);
  readonly isNewest: ReadonlySignal<boolean>;

  /** What was asked with: the same for the count and for what is done with all that match. */
  filters: Filters = { q: "", since: "", until: "" };

  private readonly where = signal<Where | null>(null);
  private abort = new AbortController();
  private held = false;
  private changes = new Map<string, Call | DeletedCall>();
  private flushing: ReturnType<typeof setTimeout> | undefined;
  private refreshing: ReturnType<typeof setTimeout> | undefined;
  private asking = false;
  private notBefore = 0;

  constructor() {
    this.isNewest = computed(() => this.where.value !== null && canGrow(this.where.value));
  }

  /** Show the page that *where* names; what was known of it at once. */
  async load(where: Where): Promise<void> {
    this.stop();
    const { signal: aborted } = (this.abort = new AbortController());
    const key = JSON.stringify(where);
    const kept = known.get(key);
    const sameFilters = this.where.value !== null && filterKey(this.where.value) === filterKey(where);
    this.filters = sameFilters && !canGrow(where) ? this.filters : filtersOf(where);
    batch(() => {
      this.where.value = where;
      this.waiting.value = [];
      this.gone.value = new Set();
      this.error.value = null;
      this.loading.value = true;
      if (!sameFilters) this.count.value = null;
      if (kept) this.take(kept.page);
    });
    try {
      const page = await this.ask(where, aborted);
      known.set(key, { page, filters: this.filters });
      if (known.size > 20) known.delete(known.keys().next().value as string);
      batch(() => { this.take(page); this.loading.value = false; });
      this.awaitPreviews();
      if (!sameFilters || canGrow(where)) void this.countAll(aborted);
    } catch (error) {
      if (aborted.aborted) return;
      batch(() => {
        this.error.value = error instanceof ApiError ? error : new ApiError(0, "internal", String(error));
        this.loading.value = false;
        this.loaded.value = true;
        this.rows.value = [];
        this.hasMore.value = false;
        this.searchedBackTo.value = null;
      });
    }
  }

  /** The same page once more, whoever holds it. */
  async reload(): Promise<void> {
    if (this.where.value) await this.load(this.where.value);
  }

  /** Search further back, slice by slice, until a page more was found, all was searched or *stop*. */
  async goOn(): Promise<void> {
    const { signal: aborted } = this.abort;
    const enough = Math.min(MAX_ROWS, this.rows.value.length + PAGE);
    this.searching.value = true;
    try {
      while (this.searching.value && this.cursor.value && this.rows.value.length < enough) {
        const page = await get<List<Call>>("calls", { ...this.filters, limit: PAGE, cursor: this.cursor.value, order: this.where.value?.ascending ? "asc" : "" }, { signal: aborted });
        batch(() => {
          const shown = new Set(this.rows.value.map(({ id }) => id));
          this.rows.value = [...this.rows.value, ...page.data.filter(({ id }) => !shown.has(id))];
          this.hasMore.value = page.has_more;
          this.searchedBackTo.value = page.searched_back_to ?? null;
          this.cursor.value = page.next_cursor ?? null;
        });
        if (page.searched_back_to == null) break;
      }
    } catch (error) {
      if (!aborted.aborted && error instanceof ApiError) this.error.value = error;
    } finally {
      this.searching.value = false;
    }
  }

  stop(): void {
    this.searching.value = false;
    this.abort.abort();
    clearTimeout(this.refreshing);
    this.refreshing = undefined;
  }

  pause(): void {
    this.searching.value = false;
  }

  /** A call changed: take it in with the others of this moment. */
  hear(call: Call | DeletedCall): void {
    this.changes.set(call.id, call);
    this.flushing ??= setTimeout(() => { this.flushing = undefined; this.flush(); }, FLUSH_MS);
  }

  /** Whether somebody reads, so that rows must stay where they are. */
  hold(held: boolean): void {
    this.held = held;
    if (!held) this.release();
  }

  /** Show what waited. */
  release(): void {
    batch(() => {
      if (this.gone.value.size) {
        this.rows.value = this.rows.value.filter(({ id }) => !this.gone.value.has(id));
        this.gone.value = new Set();
      }
      if (this.waiting.value.length) {
        this.add(this.waiting.value);
        this.waiting.value = [];
      }
    });
  }

  /** What is shown may be out of date. */
  refresh(): void {
    if (!this.loaded.value || this.loading.value || !this.where.value || this.refreshing !== undefined) return;
    this.refreshing = setTimeout(() => { this.refreshing = undefined; void this.look(); }, Math.max(0, this.notBefore - performance.now()));
  }

  private async look(): Promise<void> {
    const where = this.where.value;
    if (!where || this.asking || document.hidden) return;
    this.asking = true;
    const began = performance.now();
    const { signal: aborted } = this.abort;
    try {
      const page = await this.ask(where, aborted);
      batch(() => this.compare(page));
      if (canGrow(where)) await this.countAll(aborted);
    } catch {
      // The list says so when it is asked for the next time.
    } finally {
      this.asking = false;
      const took = performance.now() - began;
      this.notBefore = performance.now() + Math.max(REFRESH_MS, 10 * took);
      this.awaitPreviews();
    }
  }

  /** A preview is made a moment after the last event of its call: look once more where one is due. */
  private awaitPreviews(): void {
    if (wantsLive.value && this.rows.value.some(awaitsPreview)) this.refresh();
  }

  /** The page once more: as it is now when nobody holds the list, else only what changed in its rows. */
  private compare(page: List<Call>): void {
    const shown = new Map(this.rows.value.map((call) => [call.id, call]));
    if (!this.held && shown.size <= PAGE) {
      this.take(page);
      return;
    }
    const told = new Map(page.data.map((call) => [call.id, call]));
    this.rows.value = this.rows.value.map((call) => told.get(call.id) ?? call);
    if (!this.isNewest.value) return;
    const newest = this.rows.value[0]?.id ?? "";
    const fresh = page.data.filter(({ id }) => !shown.has(id) && id > newest);
    if (this.held) this.waiting.value = fresh;
    else this.add(fresh);
  }

  private flush(): void {
    const changes = this.changes;
    this.changes = new Map();
    if (!this.where.value || !this.loaded.value) return;
    const fresh: Call[] = [];
    const gone = new Set(this.gone.value);
    let mustLook = false;
    const shown = new Set(this.rows.value.map(({ id }) => id));
    const waiting = new Set(this.waiting.value.map(({ id }) => id));
    for (const [id, change] of changes) {
      if ("deleted" in change) gone.add(id);
      else if (!shown.has(id) && !waiting.has(id)) fresh.push(change);
      else if (!change.preview && change.finished_at) mustLook = true; // made a moment later, without an event
    }
    const patched = (call: Call): Call => {
      const change = changes.get(call.id);
      return change && !("deleted" in change) ? { ...change, preview: change.preview ?? call.preview ?? null } : call;
    };
    batch(() => {
      if ([...changes.keys()].some((id) => shown.has(id))) this.rows.value = this.rows.value.map(patched);
      if (waiting.size) this.waiting.value = this.waiting.value.map(patched).filter(({ id }) => !gone.has(id));
      if (gone.size) this.gone.value = new Set([...gone].filter((id) => shown.has(id)));
      if (!this.held && this.gone.value.size) this.release();
      const newest = this.rows.value[0]?.id ?? "";
      const accepted = fresh.filter(({ id }) => id > newest);
      if (!this.isNewest.value) return;
      if (this.filters.q) mustLook ||= fresh.length > 0; // whether it matches is for the server to say
      else if (this.held) this.waiting.value = sorted([...this.waiting.value, ...accepted]);
      else this.add(accepted);
    });
    if (mustLook || (fresh.length && this.isNewest.value)) this.refresh();
  }

  private add(calls: readonly Call[]): void {
    if (!calls.length) return;
    const added = new Set(calls.map(({ id }) => id));
    const rows = sorted([...calls, ...this.rows.value.filter(({ id }) => !added.has(id))]);
    const room = Math.max(PAGE, Math.min(MAX_ROWS, this.rows.value.length));
    this.rows.value = rows.slice(0, room);
    if (rows.length > room) {
      this.hasMore.value = true;
      this.cursor.value = null;
    }
  }

  private take(page: List<Call>): void {
    // A page asked for with `before` says whether there is more the other way; whence we came, there is.
    const back = Boolean(this.where.value?.before);
    this.rows.value = page.data;
    this.hasMore.value = back || page.has_more;
    this.atStart.value = back && !page.has_more;
    this.searchedBackTo.value = page.searched_back_to ?? null;
    this.cursor.value = page.next_cursor ?? null;
    this.waiting.value = [];
    this.loaded.value = true;
    this.error.value = null;
  }

  private async ask(where: Where, aborted: AbortSignal): Promise<List<Call>> {
    const { after, before, cursor } = where;
    return get<List<Call>>("calls", { ...this.filters, after, before, cursor, order: where.ascending ? "asc" : "", limit: PAGE }, { signal: aborted });
  }

  /** How many there are in all; arrives when it does, and is left out where it cannot be had. */
  private async countAll(aborted: AbortSignal): Promise<void> {
    try {
      this.count.value = await get<Count>("calls/count", this.filters, { signal: aborted });
    } catch {
      if (!aborted.aborted) this.count.value = null;
    }
  }
}

function awaitsPreview({ status, finished_at, created_at, preview }: Call): boolean {
  if (serverNow() - Date.parse(finished_at ?? created_at) > PREVIEW_WITHIN_MS) return false;
  return !(status === "succeeded" ? preview?.answer : preview);
}

const sorted = (calls: Call[]) => calls.sort((a, b) => (a.id < b.id ? 1 : -1));
const filterKey = ({ q, range, from, to, ascending }: Where) => JSON.stringify([q, range, from, to, ascending]);
