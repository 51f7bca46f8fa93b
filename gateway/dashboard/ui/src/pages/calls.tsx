// Calls: search them, watch them, choose some and act on them. What is shown is in the URL.

import { useSignal } from "@preact/signals";
import { useCallback, useEffect, useMemo } from "preact/hooks";
import type { Call, DeletedCall } from "../api";
import { Button } from "../components/button";
import { Failed, Loading } from "../components/empty";
import { Menu } from "../components/menu";
import { Page } from "../components/page";
import { count, dayAndTime } from "../format";
import { Icon } from "../icons";
import { useShortcuts } from "../keys";
import { liveUpstreams, resyncs, useCallEvents, wantsLive } from "../live";
import { href, navigate, query, setQuery } from "../router";
import { strings } from "../strings/calls";
import { CallsTable } from "./calls/CallsTable";
import { Chips } from "./calls/Chips";
import { filtersOfCall, shownColumns } from "./calls/columns";
import { ColumnsDialog } from "./calls/ColumnsDialog";
import { VIEWS } from "./calls/fields";
import { CallList } from "./calls/list";
import { Nothing } from "./calls/Nothing";
import { CallPanel } from "./calls/Panel";
import { QueryBox } from "./calls/QueryBox";
import { RangePicker } from "./calls/RangePicker";
import { Selection } from "./calls/selection";
import { pair, SelectionBar } from "./calls/SelectionBar";
import { SyntaxHelp } from "./calls/SyntaxHelp";
import { withTerm } from "./calls/terms";
import { FilterDialog } from "./calls/FilterDialog";
import { Fresh, useHolding } from "./calls/holding";
import { exportCalls } from "./calls/bulk";
import { foldParameters, isFirstPage, readWhere, show, type Where } from "./calls/where";

export default function Calls() {
  const list = useMemo(() => new CallList(), []);
  const selection = useMemo(() => new Selection(), []);
  const cursor = useSignal<string | null>(null);
  const dialog = useSignal<"columns" | "syntax" | "filter" | null>(null);
  const reading = useSignal(false);

  const where = readWhere();
  const open = query.value.get("open") ?? "";
  const key = JSON.stringify(where);
  useEffect(() => {
    if (foldParameters()) return;
    selection.clear();
    void list.load(where);
  }, [key]);
  useEffect(() => () => list.stop(), []);
  useEffect(() => { if (resyncs.value) list.refresh(); }, [resyncs.value]);
  useCallEvents(useCallback((call: Call | DeletedCall) => { if (wantsLive.value) list.hear(call); }, [list]));
  useHolding(list, reading.value || selection.some.value || open !== "");

  const rows = list.rows.value;
  const columns = shownColumns(rows);
  const ask = (q: string) => { if (q === where.q && list.error.value) void list.load(where); else show({ q }); };
  const onFilter = useCallback((field: string, value: string, negated: boolean) => show({ q: withTerm(readWhere().q, field, value, negated) }), []);
  const openBeside = useCallback((id: string) => setQuery({ open: id }, { replace: query.value.has("open") }), []);
  const closePanel = () => setQuery({ open: null });
  const step = (by: number) => {
    const at = rows.findIndex(({ id }) => id === (open || cursor.value));
    const next = rows[at === -1 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))];
    if (!next) return;
    cursor.value = next.id;
    focusRow(next.id, !open);
    if (open) openBeside(next.id);
  };
  const turn = (changes: Partial<Record<"after" | "before" | "cursor", string>>) => {
    navigate(href("calls", { ...Object.fromEntries(query.value), after: "", before: "", cursor: "", open: "", ...changes }));
    window.scrollTo(0, 0);
  };
  const older = () => {
    if (!list.hasMore.value) return;
    turn(list.cursor.value ? { cursor: list.cursor.value } : { after: rows.at(-1)?.id ?? "" });
  };
  const newer = () => { if (!isFirstPage(where)) turn(rows[0] ? { before: rows[0].id } : {}); };
  const current = () => rows.find(({ id }) => id === cursor.value);
  useEffect(() => { // a page that reaches the top is the first page
    if (where.before && list.atStart.value) {
      navigate(href("calls", { ...Object.fromEntries(query.value), before: "" }), { replace: true, keepScroll: true });
    }
  }, [where.before, list.atStart.value]);

  const s = strings.shortcuts;
  useShortcuts(s.title, [
    { keys: "j", label: s.next, run: () => step(1) },
    { keys: "k", label: s.previous, run: () => step(-1) },
    { keys: "o", label: s.open, run: () => { if (cursor.value) openBeside(cursor.value); } },
    { keys: "x", label: s.select, run: () => { if (cursor.value) selection.toggle(cursor.value, rows.map(({ id }) => id)); } },
    { keys: "f", label: s.filter, run: () => { if (current()) dialog.value = "filter"; } },
    { keys: "d", label: s.compare, run: () => { if (selection.ids.value.size === 2) navigate(href("compare", pair([...selection.ids.value]))); } },
    { keys: "[", label: s.newer, run: newer },
    { keys: "]", label: s.older, run: older },
    { keys: "Escape", run: () => { if (document.querySelector(":popover-open")) return; if (open) closePanel(); else selection.clear(); } },
  ]);

  const error = list.error.value;
  const badQuery = error?.status === 400 ? error : null;
  return (
    <Page
      title={strings.title} class={open ? "calls-page has-panel" : "calls-page"} subtitle={<Counted list={list} where={where} />}
      actions={
        <>
          <Menu
            icon="more" label={strings.select.more}
            items={[
              { label: strings.table.columnsTitle, icon: "columns", run: () => { dialog.value = "columns"; } },
              { label: where.ascending ? strings.table.newestFirst : strings.table.oldestFirst, icon: where.ascending ? "down" : "up", run: () => show({ order: where.ascending ? null : "asc" }) },
              { label: strings.bulk.export, icon: "download", run: () => void exportCalls({ filters: list.filters }), disabled: !rows.length },
            ]}
          />
          <RangePicker where={where} />
        </>
      }
    >
      <div class="calls-query">
        <QueryBox value={where.q} error={badQuery} seen={seenIn(rows)} onAsk={ask} onHelp={() => { dialog.value = "syntax"; }} />
        <div class="calls-views">
          <nav class="segments" aria-label={strings.views.label}>
            {VIEWS.map(({ name, q }) => <a key={name} href={href("calls", { q, range: where.range, from: where.from, to: where.to })} {...(where.q === q ? { "aria-current": "true" as const } : {})}>{strings.views[name]}</a>)}
          </nav>
          <Chips q={where.q} onAsk={ask} />
        </div>
      </div>
      <div class="card flush calls-card" hidden={badQuery !== null}>
        <Fresh list={list} />
        {!list.loaded.value && <div class="calls-loading"><Loading rows={8} /></div>}
        {list.loaded.value && error && !badQuery && <Failed error={error} retry={() => void list.load(where)} />}
        {list.loaded.value && !error && rows.length === 0 && list.searchedBackTo.value === null && <Nothing where={where} />}
        {rows.length > 0 && (
          <CallsTable
            rows={rows} columns={columns} q={where.q} gone={list.gone.value} selection={selection} cursor={cursor} open={open} busy={list.loading.value}
            onOpen={openBeside} onFilter={onFilter} onStep={step} onReading={(now) => { reading.value = now; }}
          />
        )}
        <Searched list={list} />
        <SelectionBar list={list} selection={selection} />
        {list.loaded.value && (rows.length > 0 || !isFirstPage(where)) && (
          <footer class="calls-foot">
            <span class="muted">{strings.table.shown(count(rows.length))}</span>
            <Button small icon="left" disabled={isFirstPage(where)} onClick={newer}>{where.ascending ? strings.table.older : strings.table.newer}</Button>
            <Button small disabled={!list.hasMore.value} onClick={older}>{where.ascending ? strings.table.newer : strings.table.older}<Icon name="right" /></Button>
          </footer>
        )}
      </div>
      {open && <CallPanel id={open} onClose={closePanel} onStep={step} />}
      {dialog.value === "columns" && <ColumnsDialog onClose={() => { dialog.value = null; }} />}
      {dialog.value === "syntax" && <SyntaxHelp onClose={() => { dialog.value = null; }} />}
      {dialog.value === "filter" && current() && <FilterDialog found={filtersOfCall(current() as Call)} onFilter={onFilter} onClose={() => { dialog.value = null; }} />}
    </Page>
  );
}

/** "4,213 calls" when it is known, "100+" at once. */
function Counted({ list, where }: { list: CallList; where: Where }) {
  if (!list.loaded.value || list.error.value) return <>&nbsp;</>;
  const known = list.count.value;
  const shown = list.rows.value.length;
  if (known) return <>{strings.calls(count(known.count) + (known.capped ? "+" : ""), known.count === 1 && !known.capped)}</>;
  const more = list.hasMore.value || !isFirstPage(where);
  return <>{strings.calls(count(shown) + (more ? "+" : ""), shown === 1 && !more)}</>;
}

/** How far back a slow search has looked, and how it goes on. */
function Searched({ list }: { list: CallList }) {
  const back = list.searchedBackTo.value;
  if (back === null) return null;
  const s = strings.search;
  const found = list.rows.value.length;
  return (
    <div class="calls-searched" role="status">
      <Icon name="search" size={14} />
      <span>{found ? s.back(s.matches(count(found), found === 1), dayAndTime(back)) : s.none(dayAndTime(back))}</span>
      {list.searching.value
        ? <><span class="muted">{s.searching}</span><Button small onClick={() => list.pause()}>{s.stop}</Button></>
        : list.cursor.value && <Button small onClick={() => void list.goOn()}>{s.goOn}</Button>}
    </div>
  );
}

/** Values to suggest: the configured upstreams, and what stands in the rows. */
function seenIn(rows: readonly Call[]): Record<string, string[]> {
  const unique = (values: (string | null | undefined)[]) => [...new Set(values.filter((value): value is string => Boolean(value)))];
  return {
    upstream: unique([...liveUpstreams.value.keys(), ...rows.map(({ upstream }) => upstream)]),
    model: unique([...rows.map(({ model }) => model), ...[...liveUpstreams.value.values()].flatMap(({ models }) => models)]),
    key: unique(rows.map(({ key }) => key)),
    path: unique(rows.map(({ path }) => path)),
    tag: unique(rows.flatMap(({ tags }) => Object.entries(tags).map(([name, value]) => `${name}=${value}`))),
    error: unique(rows.map(({ error }) => error?.code)),
    http: unique(rows.map(({ response }) => response && String(response.status))),
    id: [],
  };
}

function focusRow(id: string, grab: boolean): void {
  const row = document.querySelector<HTMLElement>(`tr[data-id="${CSS.escape(id)}"]`);
  row?.scrollIntoView({ block: "nearest" });
  if (grab) row?.querySelector<HTMLElement>("a.row-link")?.focus({ preventScroll: true });
}
