// Which stretch of time: the last so much, between two times, or all.

import { useSignal } from "@preact/signals";
import { useId, useRef } from "preact/hooks";
import { Button } from "../../components/button";
import { dayAndTime, span } from "../../format";
import { Icon } from "../../icons";
import { strings } from "../../strings/calls";
import { RANGES, seconds, show, type Where } from "./where";

export function rangeLabel({ range, from, to }: Pick<Where, "range" | "from" | "to">): string {
  const s = strings.range;
  const back = seconds(range);
  if (back !== null) return s.last(span(back));
  if (from && to) return `${dayAndTime(from)} – ${dayAndTime(to)}`;
  if (from) return s.since(dayAndTime(from));
  return to ? s.until(dayAndTime(to)) : s.all;
}

export function RangePicker({ where }: { where: Where }) {
  const s = strings.range;
  const id = useId();
  const popover = useRef<HTMLDivElement>(null);
  const anchor = useRef<HTMLSpanElement>(null);
  const from = useSignal("");
  const to = useSignal("");
  const place = (event: ToggleEvent) => {
    if (event.newState !== "open" || !popover.current || !anchor.current) return;
    from.value = localTime(where.from);
    to.value = localTime(where.to);
    const { bottom, right, left } = anchor.current.getBoundingClientRect();
    const box = popover.current.style;
    box.setProperty("top", `${bottom + 4}px`);
    box.setProperty("left", right > innerWidth / 2 ? "auto" : `${left}px`);
    box.setProperty("right", right > innerWidth / 2 ? `${Math.max(12, innerWidth - right)}px` : "auto");
  };
  const choose = (range: string) => { popover.current?.hidePopover(); show({ range, from: null, to: null }); };
  const apply = (event: Event) => {
    event.preventDefault();
    popover.current?.hidePopover();
    show({ range: null, from: isoTime(from.value), to: isoTime(to.value) });
  };
  return (
    <span class="menu-anchor" ref={anchor}>
      <Button popovertarget={id} aria-haspopup="dialog" aria-label={`${s.label}: ${rangeLabel(where)}`}>{rangeLabel(where)}<Icon name="down" size={14} /></Button>
      <div id={id} ref={popover} popover="auto" class="menu range-menu" role="dialog" aria-label={s.label} onToggle={place as never}>
        <ul>
          <li><button type="button" aria-pressed={!where.range && !where.from && !where.to} onClick={() => choose("")}>{s.all}</button></li>
          {RANGES.map((range) => (
            <li key={range}><button type="button" aria-pressed={where.range === range} onClick={() => choose(range)}>{s.last(span(seconds(range) ?? 0))}</button></li>
          ))}
        </ul>
        <form onSubmit={apply}>
          <label class="field"><span>{s.from}</span><input type="datetime-local" step="1" value={from.value} onInput={(event) => { from.value = event.currentTarget.value; }} /></label>
          <label class="field"><span>{s.to}</span><input type="datetime-local" step="1" value={to.value} onInput={(event) => { to.value = event.currentTarget.value; }} /></label>
          <Button type="submit" kind="primary" disabled={!from.value && !to.value}>{s.apply}</Button>
        </form>
      </div>
    </span>
  );
}

function localTime(at: string): string {
  const time = Date.parse(at);
  return Number.isNaN(time) ? "" : new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function isoTime(local: string): string | null {
  const time = Date.parse(local);
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}
