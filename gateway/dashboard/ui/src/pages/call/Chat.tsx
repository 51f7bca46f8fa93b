// The exchange as a conversation: what was asked, and what the model said to it, live while it says it.
//
// Everything here is text that somebody else wrote; it becomes text nodes and nothing else.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { Call } from "../../api";
import { Button } from "../../components/button";
import { CopyButton } from "../../components/copy";
import { Loading } from "../../components/empty";
import { bytes, count } from "../../format";
import { Icon } from "../../icons";
import { preference } from "../../preferences";
import { strings as t } from "../../strings/call";
import { Assembler } from "./assemble";
import { asText, codingOf, useBody, type Body } from "./bodies";
import { useDecoded, type Source } from "./BodyView";
import { readAnswer, readError, readRequest, type Message, type Part } from "./conversation";
import { documents, parse, type Json } from "./events";
import { pretty } from "./json";
import { Markdown } from "./Markdown";
import { Media } from "./Media";

const asMarkdown = preference("markdown", false);

const READ_BYTES = 4_194_304; // more than that is shown as a conversation only when asked for

export interface Conversation {
  asked: ReturnType<typeof readRequest>;
  answers: Message[] | null;
  failure: { type: string; message: string } | null;
  /** Still loading what it needs. */
  loading: boolean;
  /** Too large to be read without being asked to. */
  larger: { size: number; load: () => void } | null;
  /** Something is here that has no shape that we know. */
  unknown: boolean;
  events: number;
}

/** Both bodies of a call, understood. */
export function useConversation(call: Call, answer: Source | null): Conversation {
  const request = useBody(call.id, call.request.bytes ? 0 : null, false);
  const response = useBody(call.id, answer?.attempt ?? null, answer?.live ?? false);
  useEffect(() => { request.upTo(READ_BYTES); response.upTo(READ_BYTES); }, [request, response]);
  const asked = useText(request, codingOf(call.request.headers));
  const said = useText(response, codingOf(answer?.headers));
  const question = useMemo(() => (asked === null ? undefined : parse(asked)), [asked]);
  const reply = useMemo(() => (said === null ? null : understand(said, answer?.contentType ?? null, !answer?.live)), [said, answer?.contentType, answer?.live]);
  const waiting = [request, response].find(({ held }) => held.value && held.value.size > held.value.data.length && held.value.size > READ_BYTES);
  const read = readRequest(question);
  return {
    asked: read,
    answers: reply?.answers ?? null,
    failure: reply?.failure ?? null,
    loading: (call.request.bytes > 0 && asked === null && !request.error.value) || (answer !== null && !answer.absent && said === null && !response.error.value),
    larger: waiting ? { size: waiting.held.value?.size ?? 0, load: () => waiting.upTo(waiting.held.value?.size ?? 0) } : null,
    unknown: !read && !reply?.answers?.length,
    events: reply?.events ?? 0,
  };
}

function useText(body: Body, coding: string | null): string | null {
  const held = body.held.value;
  const clear = useDecoded(held, coding);
  const data = coding ? clear : (held?.data ?? null);
  return useMemo(() => (data ? asText(data) : null), [data]);
}

/** An answer's text, a stream put together. */
export function understand(text: string, contentType: string | null, ended: boolean): { document: Json | null; answers: Message[] | null; failure: Conversation["failure"]; events: number } {
  const isStream = /event-stream|ndjson|jsonl/.test(contentType ?? "") || /^\s*(?:data|event):/.test(text.slice(0, 20));
  const whole = isStream ? undefined : parse(text);
  let document: Json | null = whole ?? null;
  let events = 0;
  if (whole === undefined) {
    const assembler = new Assembler();
    for (const each of documents(text, contentType, ended)) assembler.push(each);
    document = assembler.document();
    events = assembler.count;
  }
  return { document, answers: readAnswer(document ?? undefined), failure: readError(document ?? undefined), events };
}

export function Chat({ call, conversation, live }: { call: Call; conversation: Conversation; live: boolean }) {
  const { asked, answers, failure, loading, larger } = conversation;
  const results = new Map<string, Extract<Part, { kind: "result" }>>();
  for (const { parts } of asked?.messages ?? []) for (const part of parts) if (part.kind === "result" && part.id) results.set(part.id, part);
  const called = new Set([...(asked?.messages ?? []), ...(answers ?? [])].flatMap(({ parts }) => parts.flatMap((part) => (part.kind === "call" ? [part.id] : []))));
  const shown = (asked?.messages ?? []).map((message) => ({ ...message, parts: message.parts.filter((part) => part.kind !== "result" || !called.has(part.id)) })).filter(({ parts }) => parts.length);
  if (loading && !asked) return <Loading rows={5} />;
  return (
    <div class="chat">
      {larger && <p class="notice"><Icon name="info" /><span>{t.chat.large(bytes(larger.size))}</span><Button small onClick={larger.load}>{t.chat.loadAll}</Button></p>}
      {asked && (
        <div class="chat-settings">
          <Button small kind="ghost" aria-pressed={asMarkdown.value} onClick={() => { asMarkdown.value = !asMarkdown.value; }}>{t.chat.markdown}</Button>
          {asked.settings.map(([name, value]) => <span class="chip" key={name}><span class="muted">{name}</span> {value}</span>)}
          {asked.tools.length > 0 && (
            <details class="fold"><summary>{t.chat.tools(asked.tools.length)}</summary>
              <dl class="facts">{asked.tools.map(({ name, description }, at) => <div class="contents" key={at}><dt class="mono">{name}</dt><dd>{description}</dd></div>)}</dl>
            </details>
          )}
        </div>
      )}
      <ol class="messages">
        {shown.map((message, at) => <Bubble key={at} message={message} results={results} />)}
        {answers?.map((message, at) => <Bubble key={`answer-${at}`} message={message} results={results} choice={answers.length > 1 ? at + 1 : null} live={live} />)}
        {live && !answers?.some(({ parts }) => parts.length) && <li class="message assistant"><Role role="assistant" /><p class="typing" role="status">{call.status === "queued" ? t.chat.queued : t.chat.waiting}</p></li>}
      </ol>
      {failure && <div class="notice bad"><Icon name="failed" /><span><b>{failure.type}</b> {failure.message}</span></div>}
      {!failure && call.error && <div class="notice bad"><Icon name="failed" /><span><b>{call.error.code}</b> {call.error.message}</span></div>}
    </div>
  );
}

function Role({ role, children }: { role: string; children?: ComponentChildren }) {
  return <div class="message-role"><span>{(t.chat.roles as Record<string, string>)[role] ?? role}</span>{children}</div>;
}

const FOLDED_ROLES = new Set(["system", "developer"]);

function Bubble({ message, results, choice, live }: { message: Message; results: Map<string, Extract<Part, { kind: "result" }>>; choice?: number | null; live?: boolean }) {
  const { role, parts, finish } = message;
  const side = role === "user" ? "user" : FOLDED_ROLES.has(role) ? "system" : role === "tool" || role === "function" ? "tool" : "assistant";
  const said = parts.flatMap((part) => (part.kind === "text" ? [part.text] : [])).join("\n\n");
  const inner = parts.map((part, at) => <PartView key={at} part={part} results={results} />);
  if (side === "system") {
    return (
      <li class="message system">
        <details class="fold"><summary><span class="message-role"><span>{(t.chat.roles as Record<string, string>)[role] ?? role}</span></span><span class="truncate">{said.slice(0, 160)}</span></summary><div class="message-body">{inner}</div></details>
      </li>
    );
  }
  return (
    <li class={`message ${side}${live ? " live" : ""}`}>
      <Role role={role}>
        {choice && <span class="chip">{t.chat.choice(choice)}</span>}
        {live && <span class="chip warn">{t.chat.live}</span>}
        {finish && !live && <span class={NORMAL.has(finish) ? "chip" : "chip warn"} title={t.chat.finishHint}>{finish}</span>}
        {said && <CopyButton text={said} label={t.chat.copy} />}
      </Role>
      <div class="message-body">{inner}</div>
    </li>
  );
}

const NORMAL = new Set(["stop", "end_turn", "tool_calls", "tool_use", "STOP", "completed", "stop_sequence", "COMPLETE", "function_call", "TOOL_CALL"]);

function PartView({ part, results }: { part: Part; results: Map<string, Extract<Part, { kind: "result" }>> }) {
  switch (part.kind) {
    case "text": return <Long text={part.text} />;
    case "refusal": return <div class="notice warn"><Icon name="cancelled" /><span><b>{t.chat.refusal}</b> {part.text}</span></div>;
    case "reasoning": return <details class="fold reasoning"><summary>{t.chat.reasoning(count(part.text.length))}</summary><Long text={part.text} /></details>;
    case "media": return part.data !== null ? <Media mediaType={part.mediaType} data={part.data} name={part.name} /> : <span class="chip media-link" title={part.url ?? ""}><Icon name="link" size={14} /><span class="truncate">{part.url}</span></span>;
    case "vector": return <p class="vector mono">{t.chat.vector(part.index, count(part.size))} {part.first.length > 0 && `[${part.first.map((n) => n.toFixed(4)).join(", ")}${part.size > part.first.length ? ", …" : ""}]`}</p>;
    case "call": return <ToolCall part={part} result={results.get(part.id)} />;
    case "result": return <Result part={part} />;
    case "other": return <details class="fold"><summary>{part.label}</summary><pre class="data">{JSON.stringify(part.value, null, 2)}</pre></details>;
  }
}

function ToolCall({ part, result }: { part: Extract<Part, { kind: "call" }>; result: Extract<Part, { kind: "result" }> | undefined }) {
  return (
    <div class="tool-call">
      <div class="tool-head"><Icon name="bolt" size={14} /><b class="mono">{part.name}</b>{part.id && part.id !== part.name && <span class="muted mono truncate">{part.id}</span>}</div>
      <pre class="data">{pretty(part.arguments || "{}")}</pre>
      {result && <Result part={result} />}
    </div>
  );
}

function Result({ part }: { part: Extract<Part, { kind: "result" }> }) {
  return (
    <div class={part.failed ? "tool-result failed" : "tool-result"}>
      <div class="tool-head"><Icon name={part.failed ? "failed" : "replay"} size={14} /><span>{part.failed ? t.chat.toolFailed : t.chat.result}</span></div>
      {part.parts.map((each, at) => (each.kind === "text" ? <pre class="data" key={at}>{/^\s*[[{]/.test(each.text) ? pretty(each.text) : each.text}</pre> : <PartView key={at} part={each} results={new Map()} />))}
    </div>
  );
}

const LONG = 6000;

function Long({ text }: { text: string }) {
  const open = useSignal(false);
  if (asMarkdown.value) return <Markdown text={text} />;
  if (text.length <= LONG || open.value) return <div class="prose">{text}</div>;
  return <><div class="prose">{text.slice(0, LONG)}…</div><Button small onClick={() => { open.value = true; }}>{t.chat.showAll(count(text.length))}</Button></>;
}
