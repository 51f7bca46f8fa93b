// Whether sending a request again may do more than cost money.

import type { Call } from "../../api";
import { strings as t } from "../../strings/call";
import type { Json } from "./events";

/** Paths whose requests only ask a model for something: sent twice, they are answered twice. */
const ASKS = /\/(?:chat\/completions|completions|messages|messages\/count_tokens|responses|embeddings|moderations|rerank|chat|generate|converse|converse-stream|invoke|images\/(?:generations|edits|variations)|audio\/(?:speech|transcriptions|translations))\/?$|:(?:generateContent|streamGenerateContent|embedContent|batchEmbedContents|countTokens|predict|rawPredict|streamRawPredict)$/;

/** What to say before it goes again; null where there is nothing to say. */
export function sideEffects(call: Pick<Call, "method" | "path">, request: Json | null): string | null {
  if (call.method === "GET" || call.method === "HEAD") return null;
  if (!ASKS.test(call.path)) return t.replay.changes(call.method, call.path);
  if (typeof request === "object" && request !== null && !Array.isArray(request)) {
    const tools = Array.isArray(request["tools"]) ? request["tools"] : [];
    const hosted = tools.find((tool) => typeof tool === "object" && tool !== null && !Array.isArray(tool) && typeof tool["type"] === "string" && !["function", "custom"].includes(tool["type"]) && tool["name"] === undefined);
    if (hosted) return t.replay.hosted;
    if (request["background"] === true || (request["store"] === true && request["conversation"])) return t.replay.stored;
  }
  return null;
}
