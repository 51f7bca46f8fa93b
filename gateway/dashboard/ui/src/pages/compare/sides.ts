// What is compared of a call: its answer or its request, as text and as JSON.

import { get, type Call } from "../../api";
import { Assembler } from "../call/assemble";
import { asText, codingOf, decoded, readSlice } from "../call/bodies";
import { readAnswer, readRequest, type Message, type Part } from "../call/conversation";
import { documents, parse, type Json } from "../call/events";
import { pretty } from "../call/json";

export const MOST_BYTES = 8 * 1024 * 1024;
export const PARTS = ["answer", "request"] as const;
export type PartName = (typeof PARTS)[number];

export interface Side {
  call: Call;
  /** What was said, or else the body; null: there is none, `why` says so. */
  text: string | null;
  /** The body as one JSON document; null where it is none. */
  json: string | null;
  why: "none" | "binary" | "large" | "unread" | null;
}

/** The call with its attempts. */
export const readCall = (id: string): Promise<Call> => get<Call>(`calls/${encodeURIComponent(id)}`);

/** The attempt whose answer is the call's; null while and where there is none. */
export const answerOf = (call: Call): number | null =>
  call.response === null ? null : (call.attempts?.findLast(({ status }) => status !== null)?.number ?? null);

export async function readSide(call: Call, part: PartName): Promise<Side> {
  const none = (why: Side["why"]): Side => ({ call, text: null, json: null, why });
  const attempt = part === "request" ? 0 : answerOf(call);
  const body = part === "request" ? call.request : call.response;
  if (attempt === null || !body?.bytes) return none("none");
  if (body.bytes > MOST_BYTES) return none("large");
  let data: Uint8Array | null;
  try {
    data = (await readSlice(call.id, attempt, 0, null)).data;
    const coding = codingOf(body.headers ?? null);
    if (coding) data = await decoded(data, coding);
  } catch {
    return none("unread");
  }
  const raw = data && asText(data);
  if (raw === null) return none("binary");
  const plain = parse(raw);
  const document = plain ?? (part === "answer" ? assembled(raw, body.content_type) : undefined);
  const json = plain !== undefined ? pretty(raw) : document === undefined ? null : pretty(JSON.stringify(document));
  return { call, text: words(document, part) ?? raw, json, why: null };
}

/** A stream put together. */
function assembled(raw: string, contentType: string | null): Json | undefined {
  const assembler = new Assembler();
  for (const each of documents(raw, contentType)) assembler.push(each);
  return assembler.document() ?? undefined;
}

function words(document: Json | undefined, part: PartName): string | null {
  const messages = part === "request" ? readRequest(document)?.messages : readAnswer(document);
  if (!messages?.length) return null;
  return messages.map((message) => said(message, part === "request" || messages.length > 1)).join("\n\n");
}

const said = ({ role, parts }: Message, named: boolean) => (named ? `[${role}]\n` : "") + parts.map(written).filter(Boolean).join("\n\n");

function written(part: Part): string {
  switch (part.kind) {
    case "text":
    case "refusal": return part.text;
    case "reasoning": return `[reasoning]\n${part.text}`;
    case "call": return `[call ${part.name}]\n${part.arguments}`;
    case "result": return `[result ${part.name}]\n${part.parts.map(written).join("\n")}`;
    case "media": return `[${part.mediaType}${part.name ? ` ${part.name}` : ""}]`;
    case "vector": return `[vector of ${part.size}] ${part.first.join(" ")}`;
    case "other": return `[${part.label}]\n${JSON.stringify(part.value, null, 2)}`;
  }
}
