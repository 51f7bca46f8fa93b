// Compare: two calls, their figures, and what differs between their answers or requests.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError, type Call } from "../api";
import { Button, ButtonLink } from "../components/button";
import { Card } from "../components/card";
import { Empty, Failed, Loading } from "../components/empty";
import { Page } from "../components/page";
import { useShortcuts } from "../keys";
import { href, navigate, query, setQuery } from "../router";
import { strings } from "../strings/compare";
import { Choose } from "./compare/Choose";
import { warmUp } from "./compare/differ";
import { Differences } from "./compare/Differences";
import { Metrics } from "./compare/Metrics";
import { PARTS, readCall, readSide, type PartName, type Side } from "./compare/sides";

type Pair<T> = readonly [T, T];

export default function Compare() {
  const a = query.value.get("a") ?? "";
  const b = query.value.get("b") ?? "";
  const part: PartName = PARTS.find((each) => each === query.value.get("part")) ?? "answer";
  const as = query.value.get("as") === "json" ? "json" : "text";
  const calls = useSignal<Pair<Call> | null>(null);
  const error = useSignal<ApiError | null>(null);
  const again = useSignal(0);
  const sides = useSignal<{ part: PartName; pair: Pair<Side> } | null>(null);

  useEffect(() => {
    calls.value = null;
    sides.value = null;
    error.value = null;
    if (!a || !b) return undefined;
    let wanted = true;
    Promise.all([readCall(a), readCall(b)]).then(
      (pair) => { if (wanted) calls.value = pair; },
      (reason: unknown) => { if (wanted) error.value = reason instanceof ApiError ? reason : new ApiError(0, "internal", String(reason)); },
    );
    return () => { wanted = false; };
  }, [a, b, again.value]);

  useEffect(() => {
    const pair = calls.value;
    if (!pair) return undefined;
    let wanted = true;
    void Promise.all([readSide(pair[0], part), readSide(pair[1], part)]).then((read) => { if (wanted) sides.value = { part, pair: read }; });
    return () => { wanted = false; };
  }, [calls.value, part]);

  useEffect(() => { if (a && b) warmUp(); }, []);

  const shown = useComputed(() => sides.value);
  const swap = () => navigate(href("compare", { ...Object.fromEntries(query.value), a: b, b: a }), { replace: true, keepScroll: true });
  useShortcuts(strings.title, [{ keys: "s", label: strings.shortcuts.swap, run: () => { if (a && b) swap(); } }]);

  if (!a || !b) {
    return (
      <Page title={strings.title}>
        <Card><Choose a={a} b={b} /></Card>
      </Page>
    );
  }
  const ready = shown.value?.part === part ? shown.value.pair : null;
  return (
    <Page title={strings.title} class="compare-page" actions={<Button icon="compare" onClick={swap}>{strings.swap}</Button>}>
      {error.value && <Failed error={error.value} retry={() => { again.value++; }} />}
      {!error.value && !calls.value && <Loading rows={6} />}
      {calls.value && <Card flush><Metrics a={calls.value[0]} b={calls.value[1]} /></Card>}
      {calls.value && (
        <Card flush class="compare-card">
          <div class="compare-bar">
            <nav class="segments" aria-label={strings.partsLabel}>
              {PARTS.map((each) => (
                <button key={each} type="button" aria-pressed={each === part} onClick={() => setQuery({ part: each === "answer" ? null : each })}>{strings.parts[each]}</button>
              ))}
            </nav>
            <div class="segments" role="group" aria-label={strings.as.label}>
              {(["text", "json"] as const).map((each) => (
                <button key={each} type="button" aria-pressed={each === as} disabled={each === "json" && ready !== null && ready.some(({ json }) => json === null)} onClick={() => setQuery({ as: each === "text" ? null : each })}>{strings.as[each]}</button>
              ))}
            </div>
          </div>
          {!ready ? <div class="calls-loading"><Loading rows={5} /></div> : <Body a={ready[0]} b={ready[1]} part={part} as={as} />}
        </Card>
      )}
    </Page>
  );
}

function Body({ a, b, part, as }: { a: Side; b: Side; part: PartName; as: "text" | "json" }) {
  const missing = [[strings.a, a], [strings.b, b]].flatMap(([name, side]) => {
    const { why } = side as Side;
    if (!why) return [];
    return [strings.side(name as string, why === "none" ? strings.why.none[part] : strings.why[why])];
  });
  if (missing.length) {
    return (
      <Empty title={missing.join(" ")} actions={<>{[a, b].map(({ call }) => <ButtonLink key={call.id} href={href(["calls", call.id])}>{call === a.call ? strings.a : strings.b}</ButtonLink>)}</>} />
    );
  }
  const json = as === "json" && a.json !== null && b.json !== null;
  return <Differences key={`${a.call.id} ${b.call.id} ${part} ${json}`} kind={json ? "json" : "text"} a={(json ? a.json : a.text) ?? ""} b={(json ? b.json : b.text) ?? ""} calls={[a.call, b.call]} part={part} />;
}
