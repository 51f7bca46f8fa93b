// Which calls are chosen for something: some, one by one or as a range, or all that match.

import { batch, computed, signal } from "@preact/signals";

export class Selection {
  readonly ids = signal<ReadonlySet<string>>(new Set());
  /** All that match the query, shown or not. */
  readonly everything = signal(false);
  readonly some = computed(() => this.everything.value || this.ids.value.size > 0);
  private last: string | null = null;

  has(id: string): boolean {
    return this.everything.value || this.ids.value.has(id);
  }

  /** Choose *id* or not; *through*: with it all from the last one on, in the order of *shown*. */
  toggle(id: string, shown: readonly string[], through = false): void {
    const next = new Set(this.everything.value ? shown : this.ids.value);
    const wanted = !next.has(id);
    const [from, to] = [shown.indexOf(this.last ?? ""), shown.indexOf(id)];
    const range = through && from !== -1 ? shown.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const each of range) {
      if (wanted) next.add(each);
      else next.delete(each);
    }
    this.last = id;
    this.set(next);
  }

  all(shown: readonly string[]): void {
    this.set(new Set(shown));
  }

  choose(): void {
    batch(() => { this.everything.value = true; this.ids.value = new Set(); });
  }

  clear(): void {
    this.last = null;
    this.set(new Set());
  }

  private set(ids: ReadonlySet<string>): void {
    batch(() => { this.ids.value = ids; this.everything.value = false; });
  }
}
