// One box for every question: it completes fields and values, marks what the server could not read, and
// hands over the raw text. What is typed is only asked for with Enter, so that every question is one step Back.

import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import type { ApiError } from "../../api";
import { Button } from "../../components/button";
import { Icon } from "../../icons";
import { strings } from "../../strings/calls";
import { suggest, type Seen, type Suggestion } from "./suggest";
import { terms } from "./terms";

interface Props {
  value: string;
  /** Of the question that *value* was, when the server refused it. */
  error: ApiError | null;
  seen: Seen;
  onAsk: (text: string) => void;
  onHelp: () => void;
}

export function QueryBox({ value, error, seen, onAsk, onHelp }: Props) {
  const s = strings.query;
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const mirror = useRef<HTMLDivElement>(null);
  const text = useSignal(value);
  const caret = useSignal(value.length);
  const open = useSignal(false);
  const active = useSignal(-1);

  useEffect(() => { text.value = value; }, [value]);
  const offered = open.value ? suggest(text.value, caret.value, seen) : [];
  const at = active.value < offered.length ? active.value : -1;
  const position = error && text.value === value ? error.position : null;

  const look = () => { caret.value = input.current?.selectionStart ?? 0; };
  const scroll = () => { if (mirror.current && input.current) mirror.current.scrollLeft = input.current.scrollLeft; };
  const ask = (asked: string) => { open.value = false; active.value = -1; onAsk(asked.trim()); };
  const take = (suggestion: Suggestion) => {
    const box = input.current;
    if (!box) return;
    text.value = suggestion.text;
    box.value = suggestion.text;
    box.focus();
    box.setSelectionRange(suggestion.caret, suggestion.caret);
    caret.value = suggestion.caret;
    active.value = -1;
    open.value = !suggestion.complete;
    scroll();
    if (suggestion.complete) ask(suggestion.text);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!open.value) open.value = true;
      else if (offered.length) active.value = (at + (event.key === "ArrowDown" ? 1 : -1) + offered.length + (at === -1 && event.key === "ArrowUp" ? 1 : 0)) % offered.length;
    } else if (event.key === "Enter") {
      const chosen = offered[at];
      if (chosen) take(chosen);
      else ask(text.value);
    } else if (event.key === "Escape") {
      if (!open.value) { input.current?.blur(); return; }
      open.value = false;
      active.value = -1;
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <form class="query" role="search" onSubmit={(event) => { event.preventDefault(); ask(text.value); }}>
      <div class={error ? "query-box bad" : "query-box"}>
        <Icon name="search" />
        <div class="query-text">
          <div class="query-mirror" ref={mirror} aria-hidden="true"><Marked text={text.value} position={position} /></div>
          <input
            ref={input} id="search" type="text" role="combobox" value={text.value} placeholder={s.placeholder} aria-label={s.label}
            autocomplete="off" autocapitalize="off" spellcheck={false} enterkeyhint="search"
            aria-autocomplete="list" aria-expanded={offered.length > 0} aria-controls={`${id}-list`}
            aria-activedescendant={at >= 0 ? `${id}-${at}` : undefined}
            aria-invalid={error ? true : undefined} aria-describedby={error ? `${id}-error` : undefined}
            onInput={(event) => { text.value = event.currentTarget.value; look(); active.value = -1; open.value = true; scroll(); }}
            onKeyDown={onKeyDown} onKeyUp={look} onScroll={scroll}
            onClick={() => { look(); open.value = true; }}
            onBlur={() => { open.value = false; active.value = -1; }}
          />
        </div>
        {text.value && <Button kind="ghost" small icon="close" label={s.clear} onClick={() => { text.value = ""; ask(""); input.current?.focus(); }} />}
        <Button kind="ghost" small icon="info" label={s.help} onClick={onHelp} />
      </div>
      <ul id={`${id}-list`} class="suggestions" role="listbox" aria-label={s.suggestions} hidden={!offered.length}>
        {offered.map((each, index) => (
          <li
            key={each.label} id={`${id}-${index}`} role="option" aria-selected={index === at}
            onMouseDown={(event) => { event.preventDefault(); take(each); }} onMouseEnter={() => { active.value = index; }}
          >
            <span class="mono">{each.label}</span>
            {each.about && <span class="muted">{each.about}</span>}
          </li>
        ))}
      </ul>
      {error && <p id={`${id}-error`} class="query-error" role="alert"><Icon name="warning" size={14} /><span><b>{error.message.replace(/^q: /, "")}</b>{error.hint && <> · {s.hint} <code>{error.hint}</code></>}</span></p>}
    </form>
  );
}

/** The text again, under the box: fields tinted, what was not understood underlined. */
function Marked({ text, position }: { text: string; position: number | null }) {
  const found = terms(text);
  const bad = position === null ? null : (found.find(({ from, to }) => from <= position && position < to) ?? { from: Math.min(position, Math.max(0, text.length - 1)), to: text.length });
  const cuts = new Set([0, text.length]);
  for (const each of found) if (each.kind === "field") { cuts.add(each.from); cuts.add(each.to); }
  if (bad) { cuts.add(Math.max(bad.from, Math.min(position ?? 0, bad.to - 1))); cuts.add(bad.to); }
  const edges = [...cuts].sort((a, b) => a - b);
  return (
    <>
      {edges.slice(0, -1).map((from, index) => {
        const to = edges[index + 1] as number;
        const field = found.some((each) => each.kind === "field" && each.from <= from && to <= each.to);
        const wrong = bad !== null && from >= Math.min(position ?? 0, bad.to - 1) && to <= bad.to;
        return <span key={from} class={[field && "is-field", wrong && "is-wrong"].filter(Boolean).join(" ")}>{text.slice(from, to)}</span>;
      })}
    </>
  );
}
