// A call's request as a command or a program that sends it again, through the gateway.
//
// The quoting is exact: what the shell or Python hands over is the recorded body, byte for byte (run
// against an echo server in tests/browser/test_call.py). What the journal never held - credentials -
// is read from $GATEWAY_KEY.

import { gatewayUrl, type Call } from "../../api";

/** A body longer than this stands in a file of its own. */
export const INLINE_BYTES = 65_536;

const REDACTED = "[redacted]";
const NOT_SENT = new Set(["host", "content-length", "transfer-encoding", "connection", "accept-encoding", "cookie", "proxy-authorization", "expect", "te", "trailer", "upgrade", "keep-alive"]);

export type Fields = [name: string, value: string][];

export interface Snippet {
  text: string;
  /** Name of the file it reads the body from, which must be downloaded beside it. */
  file: string | null;
}

/** Header fields that go again, credentials named by variable. */
function fields(call: Call): { name: string; value: string; secret: boolean }[] {
  return Object.entries(call.request.headers ?? {}).flatMap(([name, given]): { name: string; value: string; secret: boolean }[] => {
    const lower = name.toLowerCase();
    if (NOT_SENT.has(lower) || lower.startsWith("sec-")) return [];
    const value = Array.isArray(given) ? given.join(", ") : given;
    if (!value.includes(REDACTED)) return [{ name, value, secret: false }];
    return [{ name, value: lower === "authorization" ? "Bearer " : "", secret: true }];
  });
}

const url = (call: Call) => gatewayUrl() + call.path + (call.query ? `?${call.query}` : "");

/** For a POSIX shell: nothing inside is special. */
export const shellQuoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** The body as text where a command line can carry it: UTF-8, no NUL, not too long. */
export function inlineText(body: Uint8Array): string | null {
  if (body.length > INLINE_BYTES || body.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return null;
  }
}

export function toCurl(call: Call, body: Uint8Array): Snippet {
  const parts = [`curl --globoff --path-as-is -X ${shellQuoted(call.method)} ${shellQuoted(url(call))}`];
  let type = false;
  for (const { name, value, secret } of fields(call)) {
    if (name.toLowerCase() === "content-type") type = true;
    if (secret) parts.push(`-H "${name}: ${value}$GATEWAY_KEY"`);
    else parts.push(value === "" ? `-H ${shellQuoted(`${name};`)}` : `-H ${shellQuoted(`${name}: ${value}`)}`);
  }
  let file: string | null = null;
  if (body.length) {
    if (!type) parts.push("-H 'Content-Type:'");
    const text = inlineText(body);
    file = text === null ? "req.json" : null;
    parts.push(text === null ? "--data-binary @req.json" : `--data-raw ${shellQuoted(text)}`);
  }
  return { text: parts.join(" \\\n  "), file };
}

/** A JSON string is a Python string, but for what JSON leaves as it is and Python reads as a new line. */
const pythonQuoted = (text: string): string => JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Of the standard library alone; what the answer says is printed whatever its status. */
export function toPython(call: Call, body: Uint8Array): Snippet {
  const given = fields(call);
  const secret = given.some((each) => each.secret);
  const target = new URL(gatewayUrl());
  const path = url(call).slice(target.origin.length);
  const text = inlineText(body);
  const file = body.length && text === null ? "req.json" : null;
  const headers = given.map(({ name, value, secret: hidden }) =>
    hidden ? `        ${pythonQuoted(name)}: ${value ? `${pythonQuoted(value)} + ` : ""}os.environ["GATEWAY_KEY"],` : `        ${pythonQuoted(name)}: ${pythonQuoted(value)},`,
  );
  const lines = [
    "import http.client",
    ...(secret ? ["import os"] : []),
    "",
    `connection = http.client.${target.protocol === "https:" ? "HTTPS" : "HTTP"}Connection(${pythonQuoted(target.host)}, timeout=900)`,
    "connection.request(",
    `    ${pythonQuoted(call.method)},`,
    `    ${pythonQuoted(path)},`,
    ...(file ? ['    body=open("req.json", "rb").read(),'] : body.length ? [`    body=${pythonQuoted(text ?? "")}.encode(),`] : []),
    ...(headers.length ? ["    headers={", ...headers, "    },"] : []),
    ")",
    "answer = connection.getresponse()",
    "print(answer.status, answer.read().decode())",
  ];
  return { text: lines.join("\n"), file };
}
