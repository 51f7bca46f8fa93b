// The figures of both calls and what lies between them. Which way is better is left to the reader.

import type { ComponentChildren } from "preact";
import type { Call } from "../../api";
import { CallState } from "../../components/state";
import { bytes, count, dayAndTime, duration, percent } from "../../format";
import { href } from "../../router";
import { strings } from "../../strings/compare";

type Figure = { name: keyof typeof strings.metrics; of: (call: Call) => number | null; show: (n: number) => string };

const between = (from: string | null, to: string | null) => (from && to ? Math.max(0, Date.parse(to) - Date.parse(from)) : null);

const figures: readonly Figure[] = [
  { name: "total", of: (call) => call.duration_ms, show: duration },
  { name: "queued", of: (call) => call.queued_ms, show: duration },
  { name: "first_byte", of: (call) => between(call.started_at, call.first_byte_at), show: duration },
  { name: "answering", of: (call) => between(call.first_byte_at, call.finished_at), show: duration },
  { name: "attempts", of: (call) => call.attempts?.length ?? null, show: count },
  { name: "input", of: (call) => call.usage?.input_tokens ?? null, show: count },
  { name: "output", of: (call) => call.usage?.output_tokens ?? null, show: count },
  { name: "speed", of: (call) => speed(call), show: (n) => n.toFixed(1) },
  { name: "request_bytes", of: (call) => call.request.bytes, show: bytes },
  { name: "response_bytes", of: (call) => call.response?.bytes ?? null, show: bytes },
];

function speed(call: Call): number | null {
  const tokens = call.usage?.output_tokens;
  const ms = between(call.started_at, call.finished_at);
  return tokens && ms ? (tokens * 1000) / ms : null;
}

const words: readonly { name: keyof typeof strings.metrics; show: (call: Call) => ComponentChildren; of: (call: Call) => unknown }[] = [
  { name: "status", of: (call) => call.status, show: (call) => <CallState call={call} /> },
  { name: "upstream", of: (call) => call.upstream, show: (call) => call.upstream },
  { name: "model", of: (call) => call.model, show: (call) => call.model ?? strings.missing },
  { name: "http", of: (call) => call.response?.status, show: (call) => call.response?.status ?? strings.missing },
];

export function Metrics({ a, b }: { a: Call; b: Call }) {
  const s = strings.metrics;
  return (
    <div class="table-scroll" role="region" aria-label={strings.caption.metrics} tabIndex={0}>
      <table class="table compare-metrics">
        <caption class="visually-hidden">{strings.caption.metrics}</caption>
        <thead>
          <tr>
            <th scope="col">{s.name}</th>
            <th scope="col"><Head name={strings.a} call={a} /></th>
            <th scope="col"><Head name={strings.b} call={b} /></th>
            <th scope="col">{s.delta}</th>
          </tr>
        </thead>
        <tbody>
          {words.map(({ name, show, of }) => (
            <tr key={name}><th scope="row">{s[name]}</th><td>{show(a)}</td><td>{show(b)}</td><td>{of(a) === of(b) ? <span class="muted">{s.same}</span> : s.differs}</td></tr>
          ))}
          {figures.map(({ name, of, show }) => {
            const [one, other] = [of(a), of(b)];
            if (one === null && other === null) return null;
            return (
              <tr key={name}>
                <th scope="row">{s[name]}</th>
                <td>{one === null ? <span class="muted">{strings.missing}</span> : show(one)}</td>
                <td>{other === null ? <span class="muted">{strings.missing}</span> : show(other)}</td>
                <td><Delta a={one} b={other} show={show} /></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Head({ name, call }: { name: string; call: Call }) {
  return <span class="compare-head"><b class={`side-${name.toLowerCase()}`}>{name}</b><a class="mono" href={href(["calls", call.id])} title={call.id}>…{call.id.slice(-8)}</a><span class="muted">{dayAndTime(call.created_at)}</span></span>;
}

/** B less A, and how much that is of A. */
function Delta({ a, b, show }: { a: number | null; b: number | null; show: (n: number) => string }) {
  if (a === null || b === null) return <span class="muted">{strings.missing}</span>;
  const delta = b - a;
  if (show(a) === show(b)) return <span class="muted">{strings.metrics.same}</span>;
  const sign = delta > 0 ? "+" : "−";
  return <span class="compare-delta">{sign}{show(Math.abs(delta))}{a > 0 && <span class="muted"> {sign}{percent(Math.abs(delta) / a)}</span>}</span>;
}
