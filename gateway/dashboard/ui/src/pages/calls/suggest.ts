// What can be typed next: fields while a word begins, values behind `field:`.

import { strings } from "../../strings/calls";
import { FIELDS } from "./fields";
import { quoted, termAt } from "./terms";

/** Values met on this page, by field. */
export type Seen = Readonly<Record<string, readonly string[]>>;

export interface Suggestion {
  label: string;
  about?: string;
  /** The whole text once it is taken, and where the caret stands then. */
  text: string;
  caret: number;
  /** The term is finished: it can be asked at once. */
  complete: boolean;
}

const MOST = 9;

export function suggest(text: string, caret: number, seen: Seen): Suggestion[] {
  const current = termAt(text, caret);
  if (current?.kind === "field") return values(text, current.valueFrom, current.to, current.field, seen);
  const from = current ? current.from + (current.negated ? 1 : 0) : caret;
  const to = current ? current.to : caret;
  const typed = text.slice(from, caret).toLowerCase();
  if (current && /["*]/.test(typed)) return [];
  return FIELDS.filter(({ name }) => name.startsWith(typed)).slice(0, typed ? MOST : 8).map(({ name }) => ({
    label: `${name}:`,
    about: strings.fields[name],
    ...put(text, from, to, `${name}:`),
    complete: false,
  }));
}

/** Behind `field:`; after a comma the next of several. */
function values(text: string, from: number, to: number, field: string, seen: Seen): Suggestion[] {
  const begun = from + text.slice(from, to).lastIndexOf(",") + 1;
  const typed = text.slice(begun, to).replace(/"/g, "").toLowerCase();
  const possible = new Set([...(FIELDS.find(({ name }) => name === field)?.values ?? []), ...(seen[field] ?? [])]);
  const matching = [...possible].filter((value) => value.toLowerCase().includes(typed));
  if (matching.length === 1 && matching[0]?.toLowerCase() === typed) return [];
  return matching
    .sort((a, b) => Number(b.toLowerCase().startsWith(typed)) - Number(a.toLowerCase().startsWith(typed)))
    .slice(0, MOST)
    .map((value) => ({ label: value, ...put(text, begun, to, /[<>]/.test(value) || value.endsWith("*") ? value : quoted(value)), complete: true }));
}

function put(text: string, from: number, to: number, what: string): { text: string; caret: number } {
  return { text: text.slice(0, from) + what + text.slice(to), caret: from + what.length };
}
