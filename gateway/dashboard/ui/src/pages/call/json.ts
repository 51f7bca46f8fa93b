// JSON as its author wrote it, only indented: a lexer, never a parser.
//
// Numbers beyond 2^53, duplicate keys, the order of keys, escapes: every token stays the characters it
// was. Taking white space outside strings away from text and result leaves the same (fuzzed in
// tests/browser/test_call.py). Text that breaks off is laid out as far as it goes.

const QUOTE = 34, BACKSLASH = 92, COMMA = 44, COLON = 58;
const OPEN_BRACE = 123, CLOSE_BRACE = 125, OPEN_BRACKET = 91, CLOSE_BRACKET = 93;
const FILL_COLUMNS = 96; // arrays of numbers alone (embeddings) run on in lines of about this width
const NUMBERS = /[\s\d.eE+,-]*\]/y;

const isSpace = (code: number) => code === 32 || code === 10 || code === 13 || code === 9;

/** Whether *text* looks like JSON, or several JSON documents one after another. */
export function looksLikeJson(text: string): boolean {
  return /^\uFEFF?\s*[[{"]/.test(text.slice(0, 100));
}

/** Where the token that begins at *at* ends. */
function tokenEnd(text: string, at: number): number {
  if (text.charCodeAt(at) === QUOTE) {
    let end = at + 1;
    for (;;) {
      end = text.indexOf('"', end);
      if (end < 0) return text.length;
      let slashes = 0;
      while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
      if (slashes % 2 === 0) return end + 1;
      end++;
    }
  }
  let end = at + 1;
  for (; end < text.length; end++) {
    const code = text.charCodeAt(end);
    if (isSpace(code) || code === QUOTE || code === COMMA || code === COLON || code === OPEN_BRACE || code === CLOSE_BRACE || code === OPEN_BRACKET || code === CLOSE_BRACKET) break;
  }
  return end;
}

/** *text* with one member a line, indented by two spaces a level. */
export function pretty(text: string): string {
  const out: string[] = [];
  let depth = 0;
  let line = "";
  let fresh = true; // nothing on this line yet
  let afterToken = false; // what came last would run together with another token
  const newLine = () => { out.push(line); line = "  ".repeat(Math.max(0, depth)); fresh = true; afterToken = false; };
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (isSpace(code)) { at++; continue; }
    if (depth === 0 && !fresh && code !== COMMA && code !== COLON) newLine();
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      if (code === OPEN_BRACKET) {
        NUMBERS.lastIndex = at + 1;
        const numbers = NUMBERS.exec(text);
        if (numbers && numbers[0].length > 1) {
          line += filled(text.slice(at + 1, NUMBERS.lastIndex - 1), depth, line.length);
          fresh = afterToken = false;
          at = NUMBERS.lastIndex;
          continue;
        }
      }
      line += text[at];
      fresh = afterToken = false;
      at++;
      while (at < text.length && isSpace(text.charCodeAt(at))) at++;
      const close = code === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
      if (text.charCodeAt(at) === close) { line += text[at]; at++; continue; }
      depth++;
      newLine();
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      depth--;
      newLine();
      line += text[at];
      fresh = false;
      at++;
    } else if (code === COMMA) {
      line += ",";
      at++;
      newLine();
    } else if (code === COLON) {
      line += ": ";
      fresh = afterToken = false;
      at++;
    } else {
      const end = tokenEnd(text, at);
      if (afterToken) line += " ";
      line += text.slice(at, end);
      fresh = false;
      afterToken = true;
      at = end;
    }
  }
  out.push(line);
  return out.join("\n");
}

/** The inside of an array of numbers: on one line if it fits, else in full lines. */
function filled(inside: string, depth: number, column: number): string {
  const numbers = inside.split(",").map((each) => each.trim().replace(/\s+/g, " "));
  const flat = `[${numbers.join(", ")}]`;
  if (column + flat.length <= FILL_COLUMNS) return flat;
  const indent = `\n${"  ".repeat(depth + 1)}`;
  let text = "[";
  let line = "";
  numbers.forEach((number, at) => {
    const piece = at < numbers.length - 1 ? `${number}, ` : number;
    if (line && line.length + piece.length > FILL_COLUMNS) { text += indent + line.trimEnd(); line = ""; }
    line += piece;
  });
  return `${text}${indent}${line}\n${"  ".repeat(depth)}]`;
}

export type TokenKind = "key" | "string" | "number" | "word" | "other";

/** One line of `pretty` in tokens that can be coloured; joined they are the line. */
export function tokens(line: string): { kind: TokenKind; text: string }[] {
  const found: { kind: TokenKind; text: string }[] = [];
  let plain = "";
  const flush = () => { if (plain) found.push({ kind: "other", text: plain }); plain = ""; };
  for (let at = 0; at < line.length;) {
    const code = line.charCodeAt(at);
    if (isSpace(code) || code === COMMA || code === COLON || code === OPEN_BRACE || code === CLOSE_BRACE || code === OPEN_BRACKET || code === CLOSE_BRACKET) {
      plain += line[at];
      at++;
      continue;
    }
    const end = tokenEnd(line, at);
    const text = line.slice(at, end);
    flush();
    const kind = code === QUOTE ? (line.charCodeAt(end) === COLON ? "key" : "string") : /^-?\d/.test(text) ? "number" : "word";
    found.push({ kind, text });
    at = end;
  }
  flush();
  return found;
}
