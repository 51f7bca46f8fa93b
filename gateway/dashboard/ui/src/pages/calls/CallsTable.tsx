// The list itself: a table, on a phone a list of cards, made of the same rows.

import { useSignal, type Signal } from "@preact/signals";
import { useCallback, useEffect, useMemo, useRef } from "preact/hooks";
import type { Call } from "../../api";
import { Menu } from "../../components/menu";
import { href, navigate } from "../../router";
import { strings } from "../../strings/calls";
import { COLUMNS, type CallColumn, type Context } from "./columns";
import { sought } from "./marks";
import { memo } from "./memo";
import type { Selection } from "./selection";
import { term } from "./terms";

interface Props {
  rows: readonly Call[];
  columns: readonly CallColumn[];
  /** The query that they answer. */
  q: string;
  gone: ReadonlySet<string>;
  selection: Selection;
  /** The row that keys act on. */
  cursor: Signal<string | null>;
  /** The call beside the list. */
  open: string;
  busy: boolean;
  onOpen: (id: string) => void;
  onFilter: (field: string, value: string, negated: boolean) => void;
  /** To the next row, or the one before. */
  onStep: (by: number) => void;
  /** Somebody points at the rows, or stands in them. */
  onReading: (reading: boolean) => void;
}

const wide = matchMedia("(min-width: 720px)");

export function CallsTable({ rows, columns, q, gone, selection, cursor, open, busy, onOpen, onFilter, onStep, onReading }: Props) {
  const s = strings.table;
  const body = useRef<HTMLTableSectionElement>(null);
  const hot = useSignal<string | null>(null);
  const over = useRef(false);
  const within = useRef(false);
  const ids = rows.map(({ id }) => id);
  const shown = useRef(ids);
  shown.current = ids;
  const longestMs = useMemo(() => Math.max(1000, ...rows.map(({ duration_ms }) => duration_ms ?? 0)), [rows]);
  const context = useMemo(() => ({ longestMs, sought: sought(q) }), [longestMs, q]);
  const tell = () => onReading(over.current || within.current);

  const point = (event: PointerEvent) => {
    if (event.pointerType !== "mouse") return;
    over.current = true;
    tell();
    if (body.current?.querySelector(".menu:popover-open")) return;
    hot.value = rowId(event.target);
  };
  const leave = () => {
    over.current = false;
    if (!body.current?.querySelector(".menu:popover-open")) hot.value = null;
    tell();
  };
  const focus = (event: FocusEvent) => {
    within.current = true;
    const id = rowId(event.target);
    if (id) cursor.value = id;
    tell();
  };
  const blur = (event: FocusEvent) => {
    if (body.current?.contains(event.relatedTarget as Node | null)) return;
    within.current = false;
    tell();
  };
  const click = (event: MouseEvent) => {
    if ((event.target as Element).closest("a, button, input, label, .menu")) return;
    if (getSelection()?.toString()) return;
    const id = rowId(event.target);
    if (!id) return;
    cursor.value = id;
    if (wide.matches) onOpen(id);
    else navigate(href(["calls", id]));
  };
  const arrows = (event: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by === undefined || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    onStep(by);
  };
  const toggle = useCallback((id: string, through: boolean) => { selection.toggle(id, shown.current, through); }, [selection]);
  useEffect(() => () => onReading(false), []);

  const chosen = ids.filter((id) => selection.has(id)).length;
  const wideTable = columns.some(({ key }) => key === "id") || columns.length > 10;
  return (
    <div class={wideTable ? "calls-scroll wide" : "calls-scroll"} aria-busy={busy}>
      <table class="table calls-table">
        <caption class="visually-hidden">{strings.caption}</caption>
        <colgroup>
          <col style={{ width: "40px" }} />
          {columns.map(({ key, width }) => <col key={key} class={`c-${key}`} style={width ? { width } : {}} />)}
        </colgroup>
        <thead>
          <tr>
            <th scope="col" class="c-select">
              <input
                type="checkbox" aria-label={s.selectAll} title={s.selectAll} checked={rows.length > 0 && chosen === rows.length}
                ref={(box) => { if (box) box.indeterminate = chosen > 0 && chosen < rows.length; }}
                onClick={() => { if (chosen === rows.length) selection.clear(); else selection.all(ids); }}
              />
            </th>
            {columns.map(({ key, end, finalOnly }) => (
              <th key={key} scope="col" class={`c-${key}${end ? " end" : ""}`} title={(strings.about as Record<string, string>)[key] ?? (finalOnly ? strings.about.finalOnly : undefined)}>{strings.columns[key]}</th>
            ))}
          </tr>
        </thead>
        <tbody ref={body} onPointerOver={point} onPointerLeave={leave} onFocusIn={focus} onFocusOut={blur} onClick={click} onKeyDown={arrows}>
          {rows.map((call) => (
            <Row
              key={call.id} call={call} columns={columns} context={context} gone={gone.has(call.id)} selected={selection.has(call.id)}
              current={cursor.value === call.id} isOpen={open === call.id} hot={hot.value === call.id} toggle={toggle} onFilter={onFilter}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const rowId = (target: EventTarget | null) => (target as Element | null)?.closest?.("tr[data-id]")?.getAttribute("data-id") ?? null;

interface RowProps {
  call: Call;
  columns: readonly CallColumn[];
  context: Context;
  gone: boolean;
  selected: boolean;
  current: boolean;
  isOpen: boolean;
  hot: boolean;
  toggle: (id: string, through: boolean) => void;
  onFilter: Props["onFilter"];
}

/** Drawn again only when something of it changed. */
const Row = memo(function Row({ call, columns, context, gone, selected, current, isOpen, hot, toggle, onFilter }: RowProps) {
  const classes = [call.status, selected && "is-selected", current && "is-current", isOpen && "is-open", gone && "is-gone"].filter(Boolean).join(" ");
  return (
    <tr data-id={call.id} class={`call-row ${classes}`} title={gone ? strings.table.deleted : undefined}>
      <td class="c-select">
        <label><input type="checkbox" checked={selected} aria-label={strings.table.select(call.id)} onClick={(event) => toggle(call.id, event.shiftKey)} /></label>
      </td>
      {columns.map((column) => (
        <td key={column.key} class={`c-${column.key}${column.end ? " end" : ""}`} data-label={strings.columns[column.key]}>
          <span class="cell">{column.render(call, context)}</span>
          {hot && <CellFilter column={column} call={call} onFilter={onFilter} />}
        </td>
      ))}
    </tr>
  );
});

function CellFilter({ column, call, onFilter }: { column: CallColumn; call: Call; onFilter: Props["onFilter"] }) {
  const found = column.filter?.(call);
  if (!found) return null;
  const { field, value } = found;
  const s = strings.table;
  return (
    <span class="cell-filter">
      <Menu
        kind="ghost" icon="filter" label={s.filterBy(COLUMNS.get(column.key) ? strings.columns[column.key] : field)}
        items={[
          { label: s.onlyThis(term(field, value)), icon: "filter", run: () => onFilter(field, value, false) },
          { label: s.notThis(term(field, value)), icon: "close", run: () => onFilter(field, value, true) },
        ]}
      />
    </span>
  );
}
