// The query once more as chips, each of which goes at a click.

import { Icon } from "../../icons";
import { strings } from "../../strings/calls";
import { terms, without } from "./terms";

export function Chips({ q, onAsk }: { q: string; onAsk: (text: string) => void }) {
  const found = terms(q);
  if (!found.length) return null;
  const s = strings.query;
  return (
    <ul class="chips" aria-label={s.terms}>
      {found.map((each) => {
        if (each.kind === "or") return <li key={each.from} class="chip-word">{s.or}</li>;
        if (each.kind === "open" || each.kind === "close") return <li key={each.from} class="chip-word">{each.value}</li>;
        const what = q.slice(each.from, each.to);
        return (
          <li key={each.from} class={each.negated ? "chip term negated" : "chip term"}>
            {each.negated && <b>{s.not}</b>}
            {each.field && <span class="term-field">{each.field}</span>}
            <span class="term-value">{each.value || "…"}</span>
            <button type="button" aria-label={s.remove(what)} title={s.remove(what)} onClick={() => onAsk(without(q, each))}><Icon name="close" size={12} /></button>
          </li>
        );
      })}
    </ul>
  );
}
