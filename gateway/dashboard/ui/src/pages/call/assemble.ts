// A stream's documents put together again into the one document that a plain answer would have been.
//
// Knows the streams of OpenAI chat, completions and responses, Anthropic messages, Gemini, Cohere and
// Ollama, by the shape of their events; `push` one after the other, `document()` at any time.

import type { Json } from "./events";

type Document = { [name: string]: Json | undefined };

const isDocument = (value: Json | undefined): value is Document => typeof value === "object" && value !== null && !Array.isArray(value);
const inside = (value: Json | undefined): Document => (isDocument(value) ? value : {});
const text = (value: Json | undefined): string => (typeof value === "string" ? value : "");
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);

const JOINED = ["content", "reasoning_content", "reasoning", "thinking", "refusal"];

export class Assembler {
  private whole: Document | null = null;
  private error: Json | undefined;
  private arguments = new Map<number, string>(); // Anthropic's partial_json, by block
  count = 0;

  /** *event* follows those before it. */
  push(event: Json): void {
    this.count++;
    if (!isDocument(event)) return;
    const type = text(event["type"]);
    if (event["error"] !== undefined && event["error"] !== null && !event["choices"]) this.error = event["error"];
    if (Array.isArray(event["choices"])) this.choices(event, event["choices"]);
    else if (Array.isArray(event["candidates"])) this.candidates(event, event["candidates"]);
    else if (type.startsWith("response.")) this.response(type, event);
    else if (isDocument(event["message"]) && typeof event["done"] === "boolean") this.ollama(event, event["message"]);
    else if (type.startsWith("message") || type.startsWith("content") || type.startsWith("tool-")) this.blocks(type, event);
  }

  /** All that was said so far; null while that is nothing we know. */
  document(): Json | null {
    if (this.error !== undefined) return { ...this.whole, error: this.error };
    return this.whole;
  }

  private choices(event: Document, given: Json[]): void {
    this.whole ??= { ...event, choices: [] };
    if (event["usage"]) this.whole["usage"] = event["usage"];
    const choices = this.whole["choices"] as Document[];
    for (const each of given) {
      const choice = inside(each);
      const at = typeof choice["index"] === "number" ? choice["index"] : 0;
      let known = choices.find((other) => other["index"] === at);
      if (!known) choices.push((known = { index: at, finish_reason: null }));
      if (choice["finish_reason"]) known["finish_reason"] = choice["finish_reason"];
      if (typeof choice["text"] === "string") known["text"] = text(known["text"]) + choice["text"];
      const delta = inside(choice["delta"] ?? choice["message"]);
      if (!Object.keys(delta).length) continue;
      const message = (known["message"] ??= { role: "assistant" }) as Document;
      if (text(delta["role"])) message["role"] = delta["role"];
      for (const name of JOINED) {
        if (typeof delta[name] === "string") message[name] = text(message[name]) + delta[name];
        else if (Array.isArray(delta[name])) this.joinParts(message, name, delta[name]);
      }
      if (Array.isArray(delta["images"])) message["images"] = [...list(message["images"]), ...delta["images"]];
      this.toolCalls(message, list(delta["tool_calls"]));
      if (isDocument(delta["function_call"])) this.joinCall((message["function_call"] ??= {}) as Document, delta["function_call"]);
    }
  }

  /** Content that comes as blocks inside deltas (Mistral): texts of one type run on. */
  private joinParts(message: Document, name: string, parts: Json[]): void {
    const known = (Array.isArray(message[name]) ? message[name] : text(message[name]) ? [{ type: "text", text: message[name] as string }] : []) as Json[];
    for (const each of parts) {
      const part = inside(each);
      if (Array.isArray(part["thinking"])) {
        const said = part["thinking"].map((one) => text(inside(one)["text"])).join("");
        const last = inside(known.at(-1));
        if (last["type"] === "thinking") last["thinking"] = text(last["thinking"]) + said;
        else known.push({ type: "thinking", thinking: said });
      } else {
        const last = inside(known.at(-1));
        if (last["type"] === part["type"] && typeof last["text"] === "string") last["text"] += text(part["text"]);
        else known.push({ ...part });
      }
    }
    message[name] = known;
  }

  private toolCalls(message: Document, given: Json[]): void {
    given.forEach((each, position) => {
      const call = inside(each);
      const calls = (message["tool_calls"] ??= []) as Document[];
      const at = typeof call["index"] === "number" ? call["index"] : position;
      const known = (calls[at] ??= { id: "", function: {} });
      if (text(call["id"])) known["id"] = call["id"];
      this.joinCall(known["function"] as Document, inside(call["function"]));
    });
  }

  private joinCall(known: Document, given: Document): void {
    if (text(given["name"])) known["name"] = given["name"];
    if (typeof given["arguments"] === "string") known["arguments"] = text(known["arguments"]) + given["arguments"];
    else if (given["arguments"] !== undefined) known["arguments"] = given["arguments"];
  }

  private candidates(event: Document, given: Json[]): void {
    this.whole ??= { candidates: [] };
    if (event["usageMetadata"]) this.whole["usageMetadata"] = event["usageMetadata"];
    const candidates = this.whole["candidates"] as Document[];
    given.forEach((each, position) => {
      const candidate = inside(each);
      const at = typeof candidate["index"] === "number" ? candidate["index"] : position;
      const known = (candidates[at] ??= { content: { role: "model", parts: [] } });
      if (candidate["finishReason"]) known["finishReason"] = candidate["finishReason"];
      const parts = inside(known["content"])["parts"] as Document[];
      for (const one of list(inside(candidate["content"])["parts"])) {
        const part = inside(one);
        const last = parts.at(-1);
        if (last && typeof last["text"] === "string" && typeof part["text"] === "string" && !!last["thought"] === !!part["thought"]) last["text"] += part["text"];
        else parts.push({ ...part });
      }
    });
  }

  private response(type: string, event: Document): void {
    if (isDocument(event["response"])) {
      const output = this.whole?.["output"];
      this.whole = { ...event["response"] };
      if (!list(this.whole["output"]).length && Array.isArray(output)) this.whole["output"] = output;
    }
    const whole = (this.whole ??= { output: [] });
    const output = (Array.isArray(whole["output"]) ? whole["output"] : (whole["output"] = [])) as Document[];
    const at = typeof event["output_index"] === "number" ? event["output_index"] : -1;
    if (at < 0) return;
    if (type.startsWith("response.output_item.") && isDocument(event["item"])) { output[at] = structuredClone(event["item"]); return; }
    const item = (output[at] ??= { type: "message", content: [] });
    const delta = text(event["delta"]);
    const block = (name: string, kind: string, index: Json | undefined) => {
      const blocks = (Array.isArray(item[name]) ? item[name] : (item[name] = [])) as Document[];
      return (blocks[typeof index === "number" ? index : 0] ??= { type: kind, text: "" });
    };
    if (type === "response.output_text.delta") { const one = block("content", "output_text", event["content_index"]); one["text"] = text(one["text"]) + delta; }
    else if (type === "response.refusal.delta") { const one = block("content", "refusal", event["content_index"]); one["type"] = "refusal"; one["refusal"] = text(one["refusal"]) + delta; }
    else if (type === "response.reasoning_summary_text.delta") { item["type"] = "reasoning"; const one = block("summary", "summary_text", event["summary_index"]); one["text"] = text(one["text"]) + delta; }
    else if (type === "response.reasoning_text.delta") { item["type"] = "reasoning"; const one = block("content", "reasoning_text", event["content_index"]); one["text"] = text(one["text"]) + delta; }
    else if (type === "response.function_call_arguments.delta") item["arguments"] = text(item["arguments"]) + delta;
  }

  private ollama(event: Document, message: Document): void {
    const known: Document = (this.whole ??= { message: { role: "assistant" } });
    const said = known["message"] as Document;
    for (const name of JOINED) if (typeof message[name] === "string") said[name] = text(said[name]) + message[name];
    if (Array.isArray(message["tool_calls"])) said["tool_calls"] = [...list(said["tool_calls"]), ...message["tool_calls"]];
    if (event["done_reason"]) known["done_reason"] = event["done_reason"];
  }

  /** Anthropic's blocks, and Cohere's, which are named alike. */
  private blocks(type: string, event: Document): void {
    if (type === "message_start") { this.whole = { ...inside(event["message"]), content: [] }; return; }
    const whole = (this.whole ??= { role: "assistant", content: [] });
    const content = (Array.isArray(whole["content"]) ? whole["content"] : (whole["content"] = [])) as Document[];
    const at = typeof event["index"] === "number" ? event["index"] : 0;
    const delta = inside(event["delta"]);
    switch (type) {
      case "content_block_start": content[at] = structuredClone(inside(event["content_block"])); break;
      case "content_block_delta": {
        const block = (content[at] ??= { type: "text", text: "" });
        if (typeof delta["text"] === "string") block["text"] = text(block["text"]) + delta["text"];
        if (typeof delta["thinking"] === "string") block["thinking"] = text(block["thinking"]) + delta["thinking"];
        if (typeof delta["partial_json"] === "string") {
          const soFar = (this.arguments.get(at) ?? "") + delta["partial_json"];
          this.arguments.set(at, soFar);
          block["input"] = soFar;
        }
        break;
      }
      case "message_delta":
        if (delta["stop_reason"]) whole["stop_reason"] = delta["stop_reason"];
        if (event["usage"]) whole["usage"] = { ...inside(whole["usage"]), ...inside(event["usage"]) };
        break;
      case "content-start": content[at] = { type: "text", ...inside(inside(delta["message"])["content"]) }; break;
      case "content-delta": {
        const block = (content[at] ??= { type: "text", text: "" });
        const said = inside(inside(delta["message"])["content"]);
        if (typeof said["text"] === "string") block["text"] = text(block["text"]) + said["text"];
        if (typeof said["thinking"] === "string") { block["type"] = "thinking"; block["thinking"] = text(block["thinking"]) + said["thinking"]; }
        break;
      }
      case "tool-call-start": {
        const call = inside(inside(delta["message"])["tool_calls"]);
        content.push({ type: "tool_use", id: call["id"] ?? "", name: inside(call["function"])["name"] ?? "", input: text(inside(call["function"])["arguments"]) });
        break;
      }
      case "tool-call-delta": {
        const last = content.at(-1);
        if (last) last["input"] = text(last["input"]) + text(inside(inside(inside(delta["message"])["tool_calls"])["function"])["arguments"]);
        break;
      }
      case "message-end": if (delta["finish_reason"]) whole["stop_reason"] = delta["finish_reason"]; break;
    }
  }
}
