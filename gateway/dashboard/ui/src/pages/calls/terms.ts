// The query language as the box needs it: where each term stands, so that chips can mirror it, a term
// can be added or taken out, and what is being typed can be completed.
//
// The server reads the language and says what is wrong; nothing here refuses anything. Invariant: every
// character of the text belongs to at most one term, and changing one leaves all others as they were typed.

import { FIELDS } from "./fields";

export interface Term {
  kind: "text" | "field" | "or" | "open" | "close";
  /** Where it stands: [from, to) */
  from: number;
  to: number;
  negated: boolean;
  /** Lower case; "" of text. */
  field: string;
  /** Without quotes. */
  value: string;
  /** Where the value begins. */
  valueFrom: number;
}

const known: ReadonlySet<string> = new Set(FIELDS.map(({ name }) => name));

/** The terms of *text*, in order. */
export function terms(text: string): Term[] {
  const found: Term[] = [];
  let at = 0;
  while (at < text.length) {
    const from = at;
    const character = text[at] as string;
    if (/\s/.test(character)) { at++; continue; }
    if (character === "(" || character === ")") {
      at++;
      found.push({ kind: character === "(" ? "open" : "close", from, to: at, negated: false, field: "", value: character, valueFrom: from });
      continue;
    }
    const negated = character === "-" && at + 1 < text.length && !/\s/.test(text[at + 1] as string);
    if (negated) at++;
    if (negated && text[at] === "(") {
      found.push({ kind: "open", from, to: ++at, negated, field: "", value: "-(", valueFrom: from });
      continue;
    }
    const field = /^([a-z_]+):/i.exec(text.slice(at))?.[1]?.toLowerCase() ?? "";
    const isField = known.has(field);
    if (isField) at += field.length + 1;
    const valueFrom = at;
    at = endOfValue(text, at);
    const raw = text.slice(valueFrom, at);
    const or = !negated && !isField && raw === "OR";
    found.push({ kind: or ? "or" : isField ? "field" : "text", from, to: at, negated, field: isField ? field : "", value: unquoted(raw), valueFrom });
  }
  return found;
}

/** What looks like `field:` but is none, and so is text; a URL looks like one and is left out. */
export function unknownFields(text: string): string[] {
  return [...new Set(terms(text).flatMap(({ kind, valueFrom }) => {
    const name = kind === "text" ? /^([a-z_]+):(?!\/\/)[^\s]/i.exec(text.slice(valueFrom))?.[1] : undefined;
    return name ? [name] : [];
  }))];
}

function endOfValue(text: string, at: number): number {
  while (at < text.length && !/[\s()]/.test(text[at] as string)) {
    if (text[at] !== '"') { at++; continue; }
    const closing = text.indexOf('"', at + 1);
    if (closing === -1) return text.length;
    at = closing + 1;
  }
  return at;
}

const unquoted = (raw: string) => raw.replace(/"/g, "");

/** A value as it must be written behind `field:`. */
export const quoted = (value: string): string => (/^[^\s()",*:]+$/.test(value) ? value : `"${value.replace(/"/g, "")}"`);

/** `field:value`, or `-field:value`. */
export const term = (field: string, value: string, negated = false): string => `${negated ? "-" : ""}${field}:${quoted(value)}`;

/** *text* with one more term; what contradicts it (the same field and value the other way round) goes. */
export function withTerm(text: string, field: string, value: string, negated: boolean): string {
  const same = terms(text).filter((each) => each.field === field && each.value === value);
  if (same.some((each) => each.negated === negated)) return text;
  const rest = same.reduceRight((left, each) => without(left, each), text);
  return `${/\bOR\b/.test(rest) ? `(${rest})` : rest} ${term(field, value, negated)}`.trim();
}

/** *text* with *gone* taken out, and an OR that would stand alone. */
export function without(text: string, gone: Term): string {
  const left = `${text.slice(0, gone.from)} ${text.slice(gone.to)}`;
  return left.replace(/\s+/g, " ").replace(/^(OR )+|( OR)+$/g, "").replace(/\bOR( OR)+\b/g, "OR").replace(/-?\( ?\)/g, "").trim();
}

/** The term that ends at *caret*, or stands around it: what is being typed. */
export function termAt(text: string, caret: number): Term | null {
  return terms(text).find((each) => each.from < caret && caret <= each.to && (each.kind === "text" || each.kind === "field")) ?? null;
}
