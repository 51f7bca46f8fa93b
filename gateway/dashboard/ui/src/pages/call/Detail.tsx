// Everything about one call: the page shows it, and so does the panel beside the list.

import { useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useRef } from "preact/hooks";
import { useEvery, useGet, type Attempt, type Call, type DeletedCall, type Loaded } from "../../api";
import { Empty, Failed, Loading } from "../../components/empty";
import { Tabs } from "../../components/tabs";
import { Icon } from "../../icons";
import { useShortcuts } from "../../keys";
import { liveState, resyncs, useCallEvents } from "../../live";
import { hash, href, navigate, setHash } from "../../router";
import { strings as t } from "../../strings/call";
import { BodyView, type Source } from "./BodyView";
import { Chat, useConversation } from "./Chat";
import { Actions, CallId, Figures } from "./Head";
import { Raw } from "./Raw";
import { Stream } from "./Stream";
import { Attempts, Headers, Related } from "./Tables";
import { Timeline, useChunks } from "./Timeline";

const RELOAD_MS = 250;

/** A call that stays as it is now: loaded, changed by events, loaded again when they say that more changed. */
export function useCall(id: string): Loaded<Call> & { deleted: boolean } {
  const loaded = useGet<Call>(`calls/${encodeURIComponent(id)}`);
  const told = useSignal<Call | null>(null);
  const deleted = useSignal(false);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const reload = loaded.reload;
  useCallEvents(useCallback((call: Call | DeletedCall) => {
    if (call.id !== id) return;
    if ("deleted" in call) { deleted.value = true; return; }
    told.value = call;
    timer.current ??= setTimeout(() => { timer.current = undefined; reload(); }, RELOAD_MS);
  }, [id, reload]));
  useEffect(() => { told.value = null; deleted.value = false; return () => { clearTimeout(timer.current); timer.current = undefined; }; }, [id]);
  useEffect(() => { if (resyncs.value && !loaded.loading.peek()) reload(); }, [resyncs.value]);
  const open = loaded.data.value !== undefined && loaded.data.value.finished_at === null;
  useEvery(open && liveState.value !== "paused" ? 1000 : 3_600_000, useCallback(() => { if (!loaded.loading.peek()) reload(); }, [reload]));
  const data = useComputed(() => {
    const whole = loaded.data.value;
    if (whole === undefined || whole.id !== id) return undefined;
    const newer = told.value;
    if (!newer || whole.finished_at !== null) return whole;
    return { ...whole, status: newer.status, wait_reason: newer.wait_reason, first_byte_at: newer.first_byte_at ?? whole.first_byte_at, queue_position: newer.queue_position, eta_s: newer.eta_s, finished_at: newer.finished_at, duration_ms: newer.duration_ms };
  });
  return { ...loaded, data, deleted: deleted.value };
}

/** What is shown of call *id*; in the *panel* its own address is not the window's. *heading*: in front of everything. */
export function CallDetail({ id, panel = false, heading }: { id: string; panel?: boolean; heading?: (call: Call, actions: ComponentChildren) => ComponentChildren }) {
  const found = useCall(id);
  const call = found.data.value;
  const gone = () => navigate(href("calls"));
  if (found.deleted) return <Empty icon="trash" title={t.deleted.title}><p>{t.deleted.body}</p></Empty>;
  if (!call) {
    if (!found.error.value) return <Loading rows={8} />;
    if (found.error.value.status === 404) return <Empty icon="search" title={t.missing.title} actions={<a class="button plain" href={href("calls")}>{t.missing.back}</a>}><p>{t.missing.body(id)}</p></Empty>;
    return <Failed error={found.error.value} retry={found.reload} />;
  }
  const actions = <Actions call={call} onDeleted={gone} />;
  return (
    <div class={panel ? "call-detail panel" : "call-detail"}>
      {heading ? heading(call, actions) : (
        <header class="panel-head">
          <h2 class="panel-title"><a href={href(["calls", call.id])}>{call.model ?? call.path}</a></h2>
          <p class="panel-path mono truncate">{call.method} {call.path}</p>
          <CallId id={call.id} />
          <div class="page-actions">{actions}</div>
        </header>
      )}
      <Figures call={call} />
      <Contents key={call.id} call={call} panel={panel} />
    </div>
  );
}

/** Why the answer of an attempt is not here, or not whole. */
function absence(call: Call, attempt: Attempt | null): string | null {
  if (attempt === null) return call.status === "queued" ? t.body.notYet : call.error ? t.body.neverSent(call.error.message) : t.body.neverSentPlain;
  if (attempt.outcome === null) return attempt.first_byte_at ? null : t.body.pending;
  if (attempt.status === null) return t.body.noAnswer(attempt.error?.message ?? (t.outcomes as Record<string, string>)[attempt.outcome] ?? "");
  if (attempt.complete === false) return t.body.cutOff(attempt.error?.message ?? (t.outcomes as Record<string, string>)[attempt.outcome] ?? "");
  return null;
}

const TABS = ["chat", "request", "response", "stream", "attempts", "headers", "raw", "related"] as const;

function Contents({ call, panel }: { call: Call; panel: boolean }) {
  const attempts = call.attempts ?? [];
  const chosen = useSignal<number | null>(null);
  const own = useSignal("");
  const chunks = useChunks(call);
  const answered = attempts.findLast(({ status, outcome }) => status !== null || outcome === null);
  const attempt = attempts.find(({ number }) => number === chosen.value) ?? answered ?? attempts.at(-1) ?? null;
  const isAnswer = attempt !== null && attempt === (answered ?? attempt) && call.response !== null;
  const live = attempt !== null && attempt.outcome === null && attempt.finished_at === null;
  const request: Source = { call, attempt: 0, label: t.tabs.request, contentType: call.request.content_type, sha256: call.request.sha256 ?? null, headers: call.request.headers ?? null, live: false, absent: call.request.bytes === 0 ? t.body.empty : null };
  const response: Source | null = attempt && {
    call, attempt: attempt.number, label: t.tabs.response, live,
    contentType: attempt.content_type ?? (isAnswer ? (call.response?.content_type ?? null) : null),
    sha256: attempt.sha256 ?? null, headers: attempt.headers ?? (isAnswer ? (call.response?.headers ?? null) : null),
    absent: absence(call, attempt),
  };
  const conversation = useConversation(call, response && (response.absent === null || response.contentType) ? response : null);
  const wanted = panel ? own.value : hash.value;
  const selected = (TABS as readonly string[]).includes(wanted) ? wanted : conversation.unknown && !conversation.loading ? (attempt?.status != null ? "response" : "request") : "chat";
  const select = (tab: string) => { if (panel) own.value = tab; else setHash(tab); };
  useShortcuts(t.shortcuts.title, TABS.map((tab, at) => ({ keys: String(at + 1), run: () => select(tab), ...(at === 0 ? { label: t.shortcuts.tabs } : {}) })));
  const pick = (number: number) => { chosen.value = number; };
  const counted = attempt ? (chunks.get(attempt.number)?.length ?? 0) : 0;
  return (
    <>
      <Timeline call={call} chunks={chunks} selected={attempts.length > 1 ? (attempt?.number ?? null) : null} onSelect={pick} />
      <Tabs
        label={t.tabs.label} selected={selected} onSelect={select}
        tabs={[
          { id: "chat", label: t.tabs.chat }, { id: "request", label: t.tabs.request }, { id: "response", label: t.tabs.response },
          { id: "stream", label: t.tabs.stream, count: counted > 1 ? counted : null }, { id: "attempts", label: t.tabs.attempts, count: attempts.length > 1 ? attempts.length : null },
          { id: "headers", label: t.tabs.headers }, { id: "raw", label: t.tabs.raw }, { id: "related", label: t.tabs.related, count: (call.replays?.length ?? 0) + (call.replay_of ? 1 : 0) || null },
        ]}
      >
        {attempts.length > 1 && ["chat", "response", "stream", "headers", "raw"].includes(selected) && (
          <div class="attempt-choice">
            <span class="muted">{t.attempts.answerOf}</span>
            <span class="segments" role="group" aria-label={t.attempts.answerOf}>{attempts.map(({ number }) => <button key={number} type="button" aria-pressed={number === attempt?.number} onClick={() => pick(number)}>{number}</button>)}</span>
          </div>
        )}
        {selected === "chat" && (conversation.unknown && !conversation.loading && !live
          ? <Unknown call={call} request={request} response={response} />
          : <Chat call={call} conversation={conversation} live={live || call.status === "queued"} />)}
        {selected === "request" && <BodyView source={request} />}
        {selected === "response" && (response ? <BodyView key={response.attempt} source={response} /> : <p class="body-nothing"><Icon name="info" /><span>{absence(call, null)}</span></p>)}
        {selected === "stream" && (response ? <Stream source={response} chunks={chunks.get(response.attempt) ?? []} /> : <p class="body-nothing"><Icon name="info" /><span>{absence(call, null)}</span></p>)}
        {selected === "attempts" && <Attempts call={call} onSelect={(number) => { pick(number); select("response"); }} />}
        {selected === "headers" && <Headers call={call} attempt={attempt} />}
        {selected === "raw" && <Raw call={call} attempt={attempt} request={request} response={response} />}
        {selected === "related" && <Related call={call} />}
      </Tabs>
    </>
  );
}

/** Where nobody knows how to read it as a conversation: both bodies. */
function Unknown({ call, request, response }: { call: Call; request: Source; response: Source | null }) {
  return (
    <div class="stack">
      <p class="notice"><Icon name="info" /><span>{t.chat.unknown(call.path)}</span></p>
      <section><h3>{t.tabs.request}</h3><BodyView source={request} /></section>
      <section><h3>{t.tabs.response}</h3>{response ? <BodyView source={response} /> : <p class="muted">{absence(call, null)}</p>}</section>
    </div>
  );
}
