// How an answer arrived: every piece with its time, the silence before it, its size and its text.

import { useSignal } from "@preact/signals";
import { Button } from "../../components/button";
import { Loading } from "../../components/empty";
import { bytes, count, duration } from "../../format";
import { strings as t } from "../../strings/call";
import { codingOf, useBody } from "./bodies";
import type { Source } from "./BodyView";
import { longestGap, type Chunk } from "./stretches";
import { exact } from "./Timeline";

const PAGE = 200;
const SHOWN_BYTES = 2000;

export function Stream({ source, chunks }: { source: Source; chunks: readonly Chunk[] }) {
  const body = useBody(source.call.id, source.attempt, source.live);
  const most = useSignal(PAGE);
  const held = body.held.value;
  const coded = codingOf(source.headers) !== null;
  if (!held && !body.error.value) return <Loading />;
  if (!chunks.length) return <p class="body-nothing">{source.live ? t.stream.none : (source.absent ?? t.stream.none)}</p>;
  const gap = longestGap(chunks);
  const last = chunks.at(-1) as Chunk;
  const first = chunks[0] as Chunk;
  const total = chunks.reduce((sum, each) => sum + each.bytes, 0);
  const streamed = last.at_ms - first.at_ms;
  const shown = chunks.slice(0, most.value);
  const widest = Math.max(1, ...shown.map((each, at) => (at ? each.at_ms - (shown[at - 1] as Chunk).at_ms : 0)));
  return (
    <>
      <p class="stream-said">
        {t.stream.summary(count(chunks.length), bytes(total), duration(streamed))}
        {gap && <> · {t.stream.gap(duration(gap.to - gap.from), duration(gap.from))}</>}
        {streamed > 0 && chunks.length > 2 && <> · {t.stream.rate((chunks.length - 1) / (streamed / 1000))}</>}
      </p>
      <div class="card table-scroll">
        <table class="table stream-table">
          <caption class="visually-hidden">{t.stream.caption}</caption>
          <thead><tr><th scope="col" class="end">{t.stream.number}</th><th scope="col" class="end">{t.stream.at}</th><th scope="col" class="end">{t.stream.before}</th><th scope="col" class="end">{t.stream.bytes}</th><th scope="col">{t.stream.text}</th></tr></thead>
          <tbody>
            {shown.map((each, at) => {
              const silence = at ? each.at_ms - (chunks[at - 1] as Chunk).at_ms : 0;
              const longest = gap !== null && each.at_ms === gap.to && silence === gap.to - gap.from;
              return (
                <tr key={at} class={longest ? "longest" : ""}>
                  <th scope="row" class="end">{at + 1}</th>
                  <td class="end">{exact(each.at_ms)}</td>
                  <td class="end gap-cell"><i style={{ "--share": String(silence / widest) }} />{at ? `+${count(silence)}` : "–"}</td>
                  <td class="end">{count(each.bytes)}</td>
                  <td class="stream-text"><code>{coded ? t.stream.coded : textOf(held?.data, each)}</code></td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {chunks.length > most.value && <p class="body-more"><span>{t.stream.left(count(chunks.length - most.value))}</span><Button small onClick={() => { most.value += 1000; body.upTo(chunks[Math.min(most.value, chunks.length) - 1]?.offset ?? 0); }}>{t.stream.more}</Button></p>}
    </>
  );
}

function textOf(data: Uint8Array | undefined, { offset, bytes: size }: Chunk): string {
  if (!data || offset >= data.length) return "…";
  const text = new TextDecoder().decode(data.subarray(offset, Math.min(offset + size, offset + SHOWN_BYTES)));
  return `${text.replaceAll("\r", "␍").replaceAll("\n", "␊")}${size > SHOWN_BYTES ? "…" : ""}`;
}
