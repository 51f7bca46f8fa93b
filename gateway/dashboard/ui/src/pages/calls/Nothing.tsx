// Where no call is shown: what was asked, where there would be some, and how to begin.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { gatewayUrl, get, type Call, type List } from "../../api";
import { Button } from "../../components/button";
import { CodeBlock } from "../../components/copy";
import { Empty } from "../../components/empty";
import { count, span } from "../../format";
import { strings } from "../../strings/calls";
import type { Count } from "./list";
import { rangeLabel } from "./RangePicker";
import { unknownFields } from "./terms";
import { filtersOf, RANGES, seconds, show, type Where } from "./where";

/** An empty journal: how the first call is made. */
function NoCalls() {
  const s = strings.empty;
  const curl = [
    `curl ${gatewayUrl()}/v1/chat/completions \\`,
    "  -H 'Content-Type: application/json' \\",
    `  -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}'`,
  ].join("\n");
  return (
    <Empty icon="calls" title={s.journal}>
      <p>{s.journalBody}</p>
      <div class="first-call"><p class="muted">{s.tryThis}</p><CodeBlock text={curl} label={s.tryThis} /></div>
    </Empty>
  );
}

export function Nothing({ where }: { where: Where }) {
  const s = strings.empty;
  const journalEmpty = useSignal<boolean | null>(null);
  const wider = useSignal<{ range: string; count: Count }[]>([]);
  const filtered = Boolean(where.q || where.range || where.from || where.to);
  useEffect(() => {
    const abort = new AbortController();
    const signal = abort.signal;
    get<List<Call>>("calls", { limit: 1 }, { signal }).then((page) => { journalEmpty.value = !page.data.length; }, () => undefined);
    wider.value = [];
    const back = seconds(where.range);
    const ranges = back === null ? (where.from || where.to ? [""] : []) : [...RANGES.filter((each) => (seconds(each) ?? 0) > back).filter((each) => ["24h", "30d"].includes(each)), ""];
    void Promise.allSettled(ranges.map(async (range) => {
      const found = await get<Count>("calls/count", filtersOf({ ...where, range, from: "", to: "" }), { signal });
      return { range, count: found };
    })).then((all) => {
      if (!signal.aborted) wider.value = all.flatMap((each) => (each.status === "fulfilled" && each.value.count.count > 0 ? [each.value] : []));
    });
    return () => abort.abort();
  }, [where.q, where.range, where.from, where.to]);

  if (!filtered || journalEmpty.value) return journalEmpty.value === false ? <Empty icon="search" title={s.nothing} /> : <NoCalls />;
  const name = (range: string) => (range ? strings.range.last(span(seconds(range) ?? 0)) : strings.range.all).toLowerCase();
  const [first] = wider.value;
  return (
    <Empty
      icon="search" title={s.nothing}
      actions={
        <>
          {first && <Button onClick={() => show({ range: first.range, from: null, to: null })}>{s.widen(name(first.range))}</Button>}
          {where.q && <Button onClick={() => show({ q: null })}>{s.clear}</Button>}
        </>
      }
    >
      {where.q && <p>{s.query} <code>{where.q}</code></p>}
      {unknownFields(where.q).map((name) => <p key={name}>{s.noField(name)}</p>)}
      {(where.range || where.from || where.to) && <p>{rangeLabel(where)}{wider.value.map(({ range, count: found }) => ` · ${s.elsewhere(count(found.count) + (found.capped ? "+" : ""), name(range))}`)}</p>}
    </Empty>
  );
}
