// The words of a search, marked in the text that a row shows: what the server found them by, as far as
// that can be told here - case and accents do not matter, words are whole unless the query says `word*`.
//
// Invariant: what was recorded becomes text nodes and nothing else.

import type { ComponentChildren } from "preact";
import { terms } from "./terms";

const LETTER = "[\\p{L}\\p{N}]";
/** Scripts that set no blanks between words: found wherever they stand. */
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}]/u;

/** What *query* seeks in texts; null where it asks for fields only. */
export function sought(query: string): RegExp | null {
  const patterns = terms(query).filter(({ kind, negated }) => kind === "text" && !negated).map(({ value }) => pattern(value)).filter(Boolean);
  return patterns.length ? new RegExp(patterns.join("|"), "gu") : null;
}

/** *text* with what is *sought* in marks. */
export function marked(text: string, sought: RegExp | null): ComponentChildren {
  if (!sought) return text;
  const pieces: ComponentChildren[] = [];
  let at = 0;
  for (const { 0: found, index } of folded(text).matchAll(sought)) {
    pieces.push(text.slice(at, index), <mark>{text.slice(index, index + found.length)}</mark>);
    at = index + found.length;
  }
  return [...pieces, text.slice(at)];
}

function pattern(value: string): string {
  const words = folded(value).match(/[\p{L}\p{N}]+/gu) ?? [];
  if (!words.length) return "";
  const phrase = words.join("[^\\p{L}\\p{N}]+");
  if (UNSPACED.test(value)) return phrase;
  return `(?<!${LETTER})${phrase}${value.endsWith("*") ? `${LETTER}*` : `(?!${LETTER})`}`;
}

/** *text* without case and accents, every character where it was. */
function folded(text: string): string {
  return Array.from(text, (character) => {
    const plain = character.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
    return plain.length === character.length ? plain : character;
  }).join("");
}
