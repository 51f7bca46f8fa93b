// A chart of a time series: uPlot draws it, this makes it usable.
//
// Beside the picture there is always its summary in words, a table of the same numbers on demand, and a
// cursor that arrow keys move; charts of one group share it. The numbers at the cursor stand in the legend.

import { signal, useSignal, type Signal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import uPlot from "uplot";
import { clock, dayAndTime } from "../format";
import { t } from "../strings";
import { isDark, systemDark } from "../theme";
import { Button } from "./button";

export interface Line {
  label: string;
  values: (number | null)[];
  /** A token of tokens.css: "--fill-failed". */
  color: string;
  /** Bars stand on the ones before them; areas and lines each on the ground. */
  draw?: "bars" | "area" | "line" | "dashes";
}

interface Props {
  title: string;
  /** What it shows, in a sentence with numbers. */
  summary: string;
  /** The start of each step, s since the epoch. */
  times: number[];
  stepS: number;
  lines: Line[];
  format: (value: number) => string;
  /** The same shorter, for the axis. */
  axis?: (value: number) => string;
  /** The values are ms. */
  durations?: boolean;
  /** Where the axis ends at least. */
  atLeast?: number;
  actions?: preact.ComponentChildren;
  /** A stretch was selected by dragging. */
  onZoom?: (fromS: number, toS: number) => void;
  /** A step was clicked, or Enter pressed on it. */
  onPick?: (fromS: number, toS: number) => void;
}

/** Which step the pointer or the arrow keys are at; shared by all charts on the page. */
const cursor: Signal<number | null> = signal(null);

export function Chart(props: Props) {
  const { title, summary, times, lines, format, actions } = props;
  const asTable = useSignal(false);
  const id = useId();
  const at = cursor.value;
  const pick = at !== null && at < times.length ? at : null;
  return (
    <figure class="chart card" aria-labelledby={`${id}-title`}>
      <figcaption class="chart-head">
        <h2 id={`${id}-title`}>{title}</h2>
        <div class="card-actions">
          {actions}
          <Button kind="ghost" small icon={asTable.value ? "chart" : "table"} label={asTable.value ? t.chart.asChart(title) : t.chart.asTable(title)} onClick={() => { asTable.value = !asTable.value; }} />
        </div>
        <p class="visually-hidden" id={`${id}-summary`}>{summary}</p>
      </figcaption>
      {asTable.value ? <Twin {...props} /> : (
        <>
          <Canvas {...props} describedBy={`${id}-summary`} />
          <ul class="chart-legend">
            {lines.map((line) => (
              <li key={line.label}>
                <i class={`swatch-${line.draw ?? "line"}`} style={{ "--c": `var(${line.color})` }} />
                <span>{line.label}</span>
                <b>{pick === null ? "" : valueAt(line, pick, format)}</b>
              </li>
            ))}
            <li class="chart-when">{pick === null ? "" : stepLabel(times[pick] as number, props.stepS)}</li>
          </ul>
        </>
      )}
    </figure>
  );
}

const valueAt = (line: Line, at: number, format: (value: number) => string): string => {
  const value = line.values[at];
  return value === null || value === undefined ? "–" : format(value);
};

const stepLabel = (from: number, stepS: number): string => (stepS >= 3600 ? dayAndTime(from * 1000) : clock(from * 1000));

/** The same numbers as a table, newest first. */
function Twin({ title, times, stepS, lines, format }: Props) {
  const order = times.map((_, at) => at).reverse();
  return (
    <div class="chart-table table-scroll" tabIndex={0} role="region" aria-label={title}>
      <table class="table">
        <caption class="visually-hidden">{title}</caption>
        <thead><tr><th scope="col">{t.chart.time}</th>{lines.map((line) => <th scope="col" class="end" key={line.label}>{line.label}</th>)}</tr></thead>
        <tbody>
          {order.map((at) => (
            <tr key={at}><th scope="row">{stepLabel(times[at] as number, stepS)}</th>{lines.map((line) => <td class="end" key={line.label}>{valueAt(line, at, format)}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Canvas({ describedBy, ...props }: Props & { describedBy: string }) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const dark = isDark();
  systemDark.value; // drawn again when the system changes its mind
  const shape = props.lines.map((line) => `${line.label} ${line.color} ${line.draw}`).join("|");

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = (plot.current = make(element, latest));
    const resized = new ResizeObserver(() => made.setSize(sizeOf(element)));
    resized.observe(element);
    const unsubscribe = cursor.subscribe((at) => {
      if (at === null) { made.setCursor({ left: -10, top: -10 }, false); return; }
      const time = latest.current.times[at];
      if (time !== undefined) made.setCursor({ left: made.valToPos(middle(time, latest.current.stepS), "x"), top: 4 }, false);
    });
    return () => { unsubscribe(); resized.disconnect(); made.destroy(); plot.current = null; };
  }, [shape, dark, props.format]);

  useEffect(() => { plot.current?.setData(toData(props)); }, [props.times, props.lines, props.atLeast]);

  const move = (event: KeyboardEvent) => {
    const last = props.times.length - 1;
    const at = cursor.value ?? last + 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      cursor.value = Math.max(0, Math.min(last, to));
    } else if (event.key === "Enter" && cursor.value !== null) {
      const time = props.times[cursor.value];
      if (time !== undefined) props.onPick?.(time, time + props.stepS);
    } else if (event.key === "Escape") {
      cursor.value = null;
    }
  };
  const at = cursor.value;
  const time = at === null ? undefined : props.times[at];
  return (
    <div
      class="chart-canvas" ref={host} tabIndex={0} role="slider" aria-label={t.chart.cursor(props.title)} aria-describedby={describedBy}
      aria-valuemin={0} aria-valuemax={Math.max(0, props.times.length - 1)} aria-valuenow={at ?? props.times.length - 1}
      aria-valuetext={time === undefined || at === null ? props.summary : `${stepLabel(time, props.stepS)}: ${props.lines.map((line) => `${line.label} ${valueAt(line, at, props.format)}`).join(", ")}`}
      onKeyDown={move} onBlur={() => { cursor.value = null; }}
    />
  );
}

const middle = (from: number, stepS: number) => from + stepS / 2;
const sizeOf = (element: HTMLElement) => ({ width: Math.max(120, element.clientWidth), height: element.clientHeight });

/** uPlot's columns: times in the middle of their step, bars stacked from the bottom up. */
function toData({ times, stepS, lines }: Props): uPlot.AlignedData {
  const xs = times.map((from) => middle(from, stepS));
  const below = new Array<number>(times.length).fill(0);
  const columns = lines.map((line) => {
    if (line.draw !== "bars") return line.values;
    return line.values.map((value, at) => (below[at] = (below[at] ?? 0) + (value ?? 0)));
  });
  // The tallest of a stack is drawn first, so that each lower one covers its part of it.
  return [xs, ...columns.reverse()] as uPlot.AlignedData;
}

function make(element: HTMLElement, latest: { current: Props }): uPlot {
  const { lines } = latest.current;
  const paint = (token: string, share = 100): string => colour(element, share === 100 ? `var(${token})` : `color-mix(in srgb, var(${token}) ${share}%, transparent)`);
  const text = paint("--text-muted");
  const grid = { stroke: paint("--line"), width: 1 };
  let dragged = false;
  const series: uPlot.Series[] = lines.map((line) => {
    const stroke = paint(line.color);
    const shared = { label: line.label, points: { show: false, size: 5, fill: stroke, filter: lonely } };
    switch (line.draw) {
      case "bars": return { ...shared, points: { show: false }, fill: stroke, width: 0, paths: uPlot.paths.bars!({ size: [0.72, 26], radius: 0 }) };
      case "area": return { ...shared, stroke, fill: paint(line.color, 16), width: 1.5 };
      case "dashes": return { ...shared, stroke, width: 1.25, dash: [5, 4] };
      default: return { ...shared, stroke, width: 1.5 };
    }
  });
  const font = `11px ${getComputedStyle(element).fontFamily}`;
  const plot = new uPlot(
    {
      ...sizeOf(element),
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { show: false } },
      scales: {
        x: { time: true, range: () => xRange(latest.current) },
        y: { range: (_, __, max) => [0, nice(Math.max(max ?? 0, latest.current.atLeast ?? 0))] },
      },
      axes: [
        { stroke: text, font, grid: { show: false }, ticks: { show: false }, size: 26, gap: 6, space: 70, values: (_, ticks, __, ___, step) => ticks.map((tick) => axisTime(tick, step)) },
        { stroke: text, font, grid, ticks: { show: false }, size: (_, values) => Math.max(28, ...(values ?? []).map((value) => value.length * 6.6 + 10)), gap: 6, space: 36, ...(latest.current.durations ? { incrs: DURATIONS } : {}), values: (_, ticks) => ticks.map((tick) => (latest.current.axis ?? latest.current.format)(tick)) },
      ],
      series: [{}, ...series.reverse()],
      hooks: {
        setCursor: [(chart) => {
          const { left, idx } = chart.cursor;
          cursor.value = left === undefined || left < 0 || idx === undefined || idx === null ? null : idx;
        }],
        setSelect: [(chart) => {
          const { left, width } = chart.select;
          if (width < 4) return;
          dragged = true;
          const { stepS, onZoom } = latest.current;
          const snap = (value: number) => Math.floor(value / stepS) * stepS;
          onZoom?.(snap(chart.posToVal(left, "x")), snap(chart.posToVal(left + width, "x")) + stepS);
          chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
      },
    },
    toData(latest.current),
    element,
  );
  plot.over.addEventListener("click", () => {
    const wasDrag = dragged;
    dragged = false;
    const time = latest.current.times[plot.cursor.idx ?? -1];
    if (!wasDrag && time !== undefined) latest.current.onPick?.(time, time + latest.current.stepS);
  });
  return plot;
}

function xRange({ times, stepS }: Props): uPlot.Range.MinMax {
  const first = times[0] ?? 0;
  return [first, (times[times.length - 1] ?? first) + stepS];
}

/** Values that have no neighbour to be joined to by a line: alone they are drawn as points. */
function lonely(plot: uPlot, series: number): number[] | null {
  const values = plot.data[series] as (number | null | undefined)[];
  const alone = values.flatMap((value, at) => (value != null && values[at - 1] == null && values[at + 1] == null ? [at] : []));
  return alone.length ? alone : null;
}

/** Steps of an axis in ms that read well as ms, s, min and h. */
const DURATIONS = [1, 1e3].flatMap((unit) => [1, 2, 5, 10, 20, 50, 100, 200, 500].slice(0, unit === 1 ? 9 : 4).map((n) => n * unit))
  .concat([15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400].map((s) => s * 1000));

/** The next number above *max* that reads well on an axis. */
function nice(max: number): number {
  if (max <= 0) return 1;
  const size = 10 ** Math.floor(Math.log10(max));
  return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * size).find((each) => each >= max * 1.04) ?? max;
}

const axisTime = (at: number, step: number): string =>
  step >= 86_400 ? dayAndTime(at * 1000).split(",")[0] as string : clock(at * 1000).slice(0, step < 60 ? 8 : 5);

/** What a CSS colour is on this element, as canvases understand it. */
function colour(element: HTMLElement, css: string): string {
  const probe = document.createElement("i");
  probe.hidden = true;
  probe.style.color = css;
  element.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
