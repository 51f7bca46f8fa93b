// What was said, in whatever API's words: requests and answers as messages made of parts.
//
// Documents are understood by their shape, not by the upstream's dialect: OpenAI chat, completions and
// responses, Anthropic messages, Gemini, Bedrock converse, Cohere, Ollama, embeddings and images. What
// has no known shape gives null, and the page shows the JSON. Only read, never changed.

import type { Json } from "./events";

export type Part =
  | { kind: "text" | "reasoning" | "refusal"; text: string }
  | { kind: "media"; mediaType: string; data: string | null; url: string | null; name: string | null }
  | { kind: "call"; id: string; name: string; arguments: string }
  | { kind: "result"; id: string; name: string; failed: boolean; parts: Part[] }
  | { kind: "vector"; index: number; size: number; first: number[] }
  | { kind: "other"; label: string; value: Json };

export interface Message {
  role: string;
  parts: Part[];
  /** Why the model stopped, of an answer. */
  finish?: string | null;
}

export interface Tool {
  name: string;
  description: string;
}

export interface Asked {
  messages: Message[];
  tools: Tool[];
  /** temperature, max_tokens and the like */
  settings: [string, string][];
}

type Document = { [name: string]: Json | undefined };

const isDocument = (value: Json | undefined): value is Document => typeof value === "object" && value !== null && !Array.isArray(value);
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);
const inside = (value: Json | undefined): Document => (isDocument(value) ? value : {});
const text = (value: Json | undefined): string => (typeof value === "string" ? value : "");
const json = (value: Json | undefined): string => (typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value, null, 2));

/** What a request says; null where it is no request to a model that we know. */
export function readRequest(document: Json | undefined): Asked | null {
  if (!isDocument(document)) return null;
  const messages: Message[] = [];
  const say = (role: string, parts: Part[]) => { if (parts.length) messages.push({ role, parts }); };
  const system = document["system"] ?? document["systemInstruction"] ?? document["system_instruction"] ?? document["instructions"];
  if (system !== undefined && system !== null) say("system", readContent(isDocument(system) ? (system["parts"] ?? system["content"] ?? system) : system));
  if (Array.isArray(document["messages"])) {
    for (const each of document["messages"]) messages.push(...readMessage(each));
  } else if (Array.isArray(document["contents"])) {
    for (const each of document["contents"]) messages.push(...readMessage(each));
  } else if (isDocument(document["contents"])) {
    messages.push(...readMessage(document["contents"]));
  } else if (document["input"] !== undefined) {
    messages.push(...readInput(document["input"]));
  } else if (document["prompt"] !== undefined) {
    for (const each of Array.isArray(document["prompt"]) ? document["prompt"] : [document["prompt"]]) say("user", readContent(each));
  } else if (document["content"] !== undefined || document["texts"] !== undefined) {
    const given = document["texts"] ?? inside(document["content"])["parts"] ?? document["content"];
    say("user", readContent(given));
  } else if (document["query"] !== undefined && document["documents"] !== undefined) {
    say("user", readContent(document["query"]));
    list(document["documents"]).forEach((each) => say("document", readContent(isDocument(each) ? (each["text"] ?? each) : each)));
  }
  if (!messages.length) return null;
  return { messages, tools: list(document["tools"]).flatMap(readTools), settings: readSettings(document) };
}

/** What an answer says: one message a choice; null where it has no shape that we know. */
export function readAnswer(document: Json | undefined): Message[] | null {
  if (Array.isArray(document) && document.length && document.every((each) => isDocument(each) && Array.isArray(each["candidates"]))) {
    return document.flatMap((each) => readAnswer(each) ?? []);
  }
  if (!isDocument(document)) return null;
  const role = text(document["role"]) || "assistant";
  if (Array.isArray(document["choices"])) {
    return document["choices"].map((each) => {
      const choice = inside(each);
      const said = isDocument(choice["message"]) ? readMessage(choice["message"]) : [{ role: "assistant", parts: readContent(choice["text"]) }];
      return { role: said[0]?.role ?? "assistant", parts: said.flatMap(({ parts }) => parts), finish: text(choice["finish_reason"]) || null };
    });
  }
  if (Array.isArray(document["candidates"])) {
    return document["candidates"].map((each) => {
      const candidate = inside(each);
      return { role: "assistant", parts: readContent(inside(candidate["content"])["parts"]), finish: text(candidate["finishReason"]) || null };
    });
  }
  if (Array.isArray(document["output"])) {
    const parts = document["output"].flatMap(readItem);
    const why = text(inside(document["incomplete_details"])["reason"]);
    return [{ role: "assistant", parts, finish: why || text(document["status"]) || null }];
  }
  if (isDocument(document["output"])) { // Bedrock converse
    const said = readMessage(document["output"]["message"]);
    return [{ role: "assistant", parts: said.flatMap(({ parts }) => parts), finish: text(document["stopReason"]) || null }];
  }
  if (isDocument(document["message"])) { // Ollama, Cohere
    const said = readMessage(document["message"]);
    return [{ role: "assistant", parts: said.flatMap(({ parts }) => parts), finish: text(document["done_reason"]) || text(document["finish_reason"]) || null }];
  }
  if (Array.isArray(document["content"])) return [{ role, parts: readContent(document["content"]), finish: text(document["stop_reason"]) || null }];
  const vectors = readVectors(document);
  if (vectors.length) return [{ role: "assistant", parts: vectors }];
  const media = list(document["data"]).flatMap((each): Part[] => {
    const image = inside(each);
    const data = text(image["b64_json"]);
    const url = text(image["url"]);
    return data || url ? [{ kind: "media", mediaType: data ? imageType(data) : "image", data: data || null, url: url || null, name: text(image["revised_prompt"]) || null }] : [];
  });
  if (media.length) return [{ role: "assistant", parts: media }];
  for (const name of ["completion", "generated_text", "text", "response"]) {
    if (typeof document[name] === "string") return [{ role: "assistant", parts: readContent(document[name]), finish: text(document["stop_reason"]) || null }];
  }
  return null;
}

/** The error that an answer is, in any dialect; null where it is none. */
export function readError(document: Json | undefined): { type: string; message: string } | null {
  const found = Array.isArray(document) ? inside(document[0])["error"] : inside(document)["error"];
  if (typeof found === "string") return { type: "", message: found };
  if (!isDocument(found)) return null;
  return { type: text(found["type"]) || text(found["status"]) || text(found["code"]), message: text(found["message"]) || json(found) };
}

function readMessage(given: Json | undefined): Message[] {
  const message = inside(given);
  const role = text(message["role"]) || "user";
  const parts: Part[] = [];
  const reasoning = message["reasoning_content"] ?? message["reasoning"] ?? message["thinking"];
  if (text(reasoning)) parts.push({ kind: "reasoning", text: text(reasoning) });
  else if (Array.isArray(message["reasoning_details"])) for (const each of message["reasoning_details"]) if (text(inside(each)["text"])) parts.push({ kind: "reasoning", text: text(inside(each)["text"]) });
  const content = readContent(message["content"] ?? message["parts"]);
  const answered = text(message["tool_call_id"]) || (role === "tool" || role === "function" ? text(message["name"]) : "");
  if (answered) parts.push({ kind: "result", id: answered, name: text(message["name"]), failed: false, parts: content });
  else parts.push(...content);
  if (text(message["refusal"])) parts.push({ kind: "refusal", text: text(message["refusal"]) });
  for (const each of list(message["images"])) {
    if (typeof each === "string") parts.push({ kind: "media", mediaType: imageType(each), data: each, url: null, name: null });
    else parts.push(...readBlock(each));
  }
  for (const each of list(message["tool_calls"])) {
    const call = inside(each);
    const called = inside(call["function"] ?? call["custom"]);
    parts.push({ kind: "call", id: text(call["id"]), name: text(called["name"]) || text(call["name"]), arguments: json(called["arguments"] ?? called["input"]) });
  }
  const legacy = message["function_call"];
  if (isDocument(legacy)) parts.push({ kind: "call", id: text(legacy["name"]), name: text(legacy["name"]), arguments: json(legacy["arguments"]) });
  const audio = message["audio"];
  if (isDocument(audio)) {
    if (text(audio["data"])) parts.push({ kind: "media", mediaType: "audio/wav", data: text(audio["data"]), url: null, name: null });
    if (text(audio["transcript"])) parts.push({ kind: "text", text: text(audio["transcript"]) });
  }
  return parts.length ? [{ role, parts }] : [];
}

/** Items of the responses API's `input`: messages, calls and their results, or plain texts to embed. */
function readInput(input: Json): Message[] {
  if (!Array.isArray(input)) return [{ role: "user", parts: readContent(input) }];
  return input.flatMap((each): Message[] => {
    if (!isDocument(each)) return [{ role: "user", parts: readContent(each) }];
    if (each["role"] !== undefined) return readMessage(each);
    const parts = readItem(each);
    const role = parts.some(({ kind }) => kind === "result") ? "tool" : "assistant";
    return parts.length ? [{ role, parts }] : [];
  });
}

function readItem(given: Json): Part[] {
  const item = inside(given);
  switch (item["type"]) {
    case "message": return readContent(item["content"]);
    case "reasoning": {
      const said = [...list(item["summary"]), ...list(item["content"])].map((each) => text(inside(each)["text"])).filter(Boolean).join("\n\n");
      return said ? [{ kind: "reasoning", text: said }] : [];
    }
    case "function_call":
    case "custom_tool_call":
      return [{ kind: "call", id: text(item["call_id"]) || text(item["id"]), name: text(item["name"]), arguments: json(item["arguments"] ?? item["input"]) }];
    case "function_call_output":
    case "custom_tool_call_output":
      return [{ kind: "result", id: text(item["call_id"]), name: "", failed: false, parts: readContent(item["output"]) }];
    case "image_generation_call":
      return text(item["result"]) ? [{ kind: "media", mediaType: imageType(text(item["result"])), data: text(item["result"]), url: null, name: null }] : [];
    default: return readBlock(given);
  }
}

function readContent(content: Json | undefined): Part[] {
  if (content === undefined || content === null) return [];
  if (typeof content === "string") return content ? [{ kind: "text", text: content }] : [];
  if (!Array.isArray(content)) return isDocument(content) ? readBlock(content) : [{ kind: "text", text: JSON.stringify(content) }];
  return content.flatMap((each): Part[] => (typeof each === "string" ? readContent(each) : readBlock(each)));
}

/** One block of content, of any API. */
function readBlock(given: Json): Part[] {
  const block = inside(given);
  const type = text(block["type"]);
  const source = inside(block["source"]);
  const call = block["functionCall"] ?? block["function_call"] ?? block["toolUse"];
  if (isDocument(call)) return [{ kind: "call", id: text(call["id"]) || text(call["toolUseId"]) || text(call["name"]), name: text(call["name"]), arguments: json(call["args"] ?? call["input"]) }];
  const result = block["functionResponse"] ?? block["function_response"] ?? block["toolResult"];
  if (isDocument(result)) {
    const said = result["content"] !== undefined ? readContent(result["content"]) : [{ kind: "other", label: "response", value: result["response"] ?? null } as Part];
    return [{ kind: "result", id: text(result["id"]) || text(result["toolUseId"]) || text(result["name"]), name: text(result["name"]), failed: result["status"] === "error", parts: said }];
  }
  const data = inside(block["inlineData"] ?? block["inline_data"]);
  if (text(data["data"])) return [media(text(data["mimeType"]) || text(data["mime_type"]), text(data["data"]), null)];
  const file = inside(block["fileData"] ?? block["file_data"]);
  if (text(file["fileUri"]) || text(file["file_uri"])) return [media(text(file["mimeType"]) || text(file["mime_type"]), null, text(file["fileUri"]) || text(file["file_uri"]))];
  switch (type) {
    case "thinking": return [{ kind: "reasoning", text: text(block["thinking"]) }];
    case "redacted_thinking": return [{ kind: "reasoning", text: "[encrypted]" }];
    case "refusal": return [{ kind: "refusal", text: text(block["refusal"]) }];
    case "tool_use":
    case "server_tool_use":
    case "mcp_tool_use":
      return [{ kind: "call", id: text(block["id"]), name: text(block["name"]), arguments: json(block["input"]) }];
    case "tool_result":
    case "mcp_tool_result":
      return [{ kind: "result", id: text(block["tool_use_id"]), name: "", failed: block["is_error"] === true, parts: readContent(block["content"]) }];
    case "image":
    case "document":
      if (text(source["data"])) return source["type"] === "text" ? readContent(source["data"]) : [media(text(source["media_type"]), text(source["data"]), null, text(block["title"]))];
      if (text(source["url"])) return [media(type, null, text(source["url"]))];
      break;
    case "image_url":
    case "input_image": {
      const url = isDocument(block["image_url"]) ? text(block["image_url"]["url"]) : text(block["image_url"]);
      return url ? [fromUrl(url, "image")] : [{ kind: "other", label: type, value: given }];
    }
    case "input_audio": {
      const audio = inside(block["input_audio"]);
      return [media(`audio/${text(audio["format"]) || "wav"}`, text(audio["data"]), null)];
    }
    case "file":
    case "input_file": {
      const given_ = isDocument(block["file"]) ? block["file"] : block;
      const url = text(given_["file_data"]) || text(given_["file_url"]);
      return url ? [{ ...fromUrl(url, "file"), name: text(given_["filename"]) || null } as Part] : [{ kind: "other", label: type, value: given }];
    }
    case "text":
    case "input_text":
    case "output_text":
      return readText(block);
  }
  if (typeof block["text"] === "string" && (type === "" || type.endsWith("text"))) return readText(block);
  if (isDocument(block["image"]) && text(inside(block["image"]["source"])["bytes"])) return [media(`image/${text(block["image"]["format"])}`, text(inside(block["image"]["source"])["bytes"]), null)];
  if (isDocument(block["reasoningContent"])) return [{ kind: "reasoning", text: text(inside(block["reasoningContent"]["reasoningText"])["text"]) }];
  const keys = Object.keys(block);
  if (!keys.length || (keys.length === 1 && (keys[0] === "thoughtSignature" || keys[0] === "cachePoint"))) return [];
  return [{ kind: "other", label: type || keys[0] || "", value: given }];
}

function readText(block: Document): Part[] {
  const said = text(block["text"]);
  if (!said) return [];
  return [{ kind: block["thought"] === true ? "reasoning" : "text", text: said }];
}

function readVectors(document: Document): Part[] {
  const held = document["data"] ?? document["embeddings"] ?? (document["embedding"] !== undefined ? [document["embedding"]] : undefined);
  const rows = isDocument(held) ? list(held["float"]) : list(held);
  return rows.flatMap((each, at): Part[] => {
    const row = isDocument(each) ? (each["embedding"] ?? each["values"]) : each;
    if (typeof row === "string" && isDocument(each) && each["object"] === "embedding") return [{ kind: "vector", index: at, size: Math.floor((row.length * 3) / 16), first: [] }];
    if (!Array.isArray(row) || typeof row[0] !== "number") return [];
    return [{ kind: "vector", index: at, size: row.length, first: row.slice(0, 8).map(Number) }];
  });
}

function readTools(given: Json): Tool[] {
  const tool = inside(given);
  const inner = tool["functionDeclarations"] ?? tool["function_declarations"];
  if (Array.isArray(inner)) return inner.flatMap(readTools);
  const spec = inside(tool["function"] ?? tool["toolSpec"] ?? tool);
  const name = text(spec["name"]) || text(tool["type"]) || Object.keys(tool)[0] || "";
  return name ? [{ name, description: text(spec["description"]) }] : [];
}

const SAID_ELSEWHERE = new Set(["messages", "contents", "input", "prompt", "system", "systemInstruction", "system_instruction", "instructions", "tools", "model", "content", "texts", "documents", "query"]);

function readSettings(document: Document): [string, string][] {
  return Object.entries({ ...document, ...inside(document["generationConfig"]) }).flatMap(([name, value]): [string, string][] => {
    if (SAID_ELSEWHERE.has(name) || value === null || value === undefined || name === "generationConfig") return [];
    const shown = typeof value === "object" ? JSON.stringify(value) : String(value);
    return [[name, shown.length > 60 ? `${shown.slice(0, 60)}…` : shown]];
  });
}

const media = (mediaType: string, data: string | null, url: string | null, name = ""): Part => ({ kind: "media", mediaType: mediaType || "application/octet-stream", data, url, name: name || null });

/** Media named by URL: the bytes where it is a data URI, else only the address, which is never fetched. */
function fromUrl(url: string, fallback: string): Part {
  const match = /^data:([^;,]*)[^,]*;base64,(.*)$/s.exec(url);
  return match ? media(match[1] ?? fallback, match[2] ?? "", null) : media(fallback, null, url);
}

/** An image's type by how its base64 begins. */
export function imageType(base64: string): string {
  if (base64.startsWith("iVBOR")) return "image/png";
  if (base64.startsWith("/9j/")) return "image/jpeg";
  if (base64.startsWith("R0lGOD")) return "image/gif";
  if (base64.startsWith("UklGR")) return "image/webp";
  return "image/png";
}
