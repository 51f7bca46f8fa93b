// The head of a call: its state and figures, and what can be done with it.

import { useSignal, type Signal } from "@preact/signals";
import { apiUrl, get, post, remove, type Call } from "../../api";
import { tick } from "../../clock";
import { Button } from "../../components/button";
import { copyText, CopyButton } from "../../components/copy";
import { confirm } from "../../components/dialog";
import { Menu } from "../../components/menu";
import { CallState } from "../../components/state";
import { Time } from "../../components/time";
import { toast, toastError } from "../../components/toast";
import { bytes, count, dollars, duration, elapsed } from "../../format";
import { useShortcuts } from "../../keys";
import { href, navigate } from "../../router";
import { lacksOperate } from "../../session";
import { strings as t } from "../../strings/call";
import { bodyUrl, readWhole } from "./bodies";
import { inlineText, toCurl, toPython, type Snippet } from "./snippets";
import { sideEffects } from "./effects";
import { ReplayDialog } from "./Replay";

const isOpen = (call: Call) => call.finished_at === null;

export function Figures({ call }: { call: Call }) {
  const total = call.duration_ms !== null ? duration(call.duration_ms) : elapsed(tick.value - Date.parse(call.created_at));
  const first = call.first_byte_at ? Date.parse(call.first_byte_at) - Date.parse(call.created_at) : null;
  const { usage } = call;
  const tags = Object.entries(call.tags);
  return (
    <div class="figures">
      <dl>
        <div><dt>{t.head.state}</dt><dd><CallState call={call} /></dd></div>
        <div><dt>{t.head.time}</dt><dd><Time at={call.created_at} /></dd></div>
        <div><dt>{t.head.total}</dt><dd class={isOpen(call) ? "elapsed" : ""}>{total}</dd></div>
        <div><dt>{t.head.queued}</dt><dd>{call.status === "queued" && !call.attempts?.length ? total : duration(call.queued_ms)}</dd></div>
        <div><dt>{t.head.firstByte}</dt><dd>{duration(first)}</dd></div>
        <div><dt>{t.head.tokens}</dt><dd>{usage ? <span title={t.head.tokensHint}>{usage.input_tokens === null ? "–" : count(usage.input_tokens)} <span class="muted">→</span> {usage.output_tokens === null ? "–" : count(usage.output_tokens)}</span> : "–"}</dd></div>
        {call.cost_usd !== null && <div><dt>{t.head.cost}</dt><dd>{dollars(call.cost_usd)}</dd></div>}
        <div><dt>{t.head.bytes}</dt><dd>{bytes(call.request.bytes)} <span class="muted">→</span> {call.response?.bytes != null ? bytes(call.response.bytes) : "–"}</dd></div>
        <div><dt>{t.head.upstream}</dt><dd><a href={href(["upstreams", call.upstream])}>{call.upstream}</a></dd></div>
        {call.key && <div><dt>{t.head.key}</dt><dd><a href={href(["keys", call.key])}>{call.key}</a></dd></div>}
      </dl>
      {(tags.length > 0 || call.queue_position !== null || call.client_gone || call.priority !== 5 || call.fairness_key || call.idempotency_key || call.replay_of) && (
        <div class="figure-chips">
          {call.queue_position !== null && <span class="chip warn">{t.head.position(call.queue_position)}{call.eta_s !== null && ` · ${t.head.eta(duration(call.eta_s * 1000))}`}</span>}
          {tags.map(([name, value]) => <a class="chip" key={name} href={href("calls", { q: `tag:${name}=${value}` })}><span class="muted">{name}</span> {value}</a>)}
          {call.replay_of && <a class="chip" href={href(["calls", call.replay_of])}>{t.head.replayOf}</a>}
          {call.priority !== 5 && <span class="chip">{t.head.priority(call.priority)}</span>}
          {call.fairness_key && <span class="chip"><span class="muted">{t.head.fairness}</span> {call.fairness_key}</span>}
          {call.idempotency_key && <span class="chip"><span class="muted">{t.head.idempotency}</span> <span class="truncate">{call.idempotency_key}</span></span>}
          {!call.client_waited && <span class="chip">{t.head.detached}</span>}
          {call.client_gone && <span class="chip warn">{t.head.clientGone}</span>}
        </div>
      )}
    </div>
  );
}

/** Copies *make* of the call's request; its body must be here. A long one is downloaded beside it. */
async function copySnippet(call: Call, make: (call: Call, body: Uint8Array) => Snippet): Promise<void> {
  try {
    const body = call.request.bytes ? await readWhole(call.id, 0) : new Uint8Array();
    const { text, file } = make(call, body);
    if (!(await copyText(text))) throw new Error(t.head.copyFailed);
    if (file) save(bodyUrl(call.id, 0), file);
    toast(file ? t.head.copiedWithFile(file) : t.head.copied);
  } catch (error) {
    toastError(error);
  }
}

function save(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

export function Actions({ call, onDeleted }: { call: Call; onDeleted: () => void }) {
  const replaying: Signal<boolean> = useSignal(false);
  const busy = useSignal(false);
  const open = isOpen(call);
  const denied = lacksOperate(call);
  const id = encodeURIComponent(call.id);
  const act = async (run: () => Promise<void>) => {
    busy.value = true;
    try { await run(); } catch (error) { toastError(error); } finally { busy.value = false; }
  };
  const cancel = () => act(async () => {
    if (await confirm({ title: t.cancel.title, body: <p>{t.cancel.body}</p>, yes: t.cancel.yes, danger: true })) await post(`calls/${id}/cancel`);
  });
  const retry = () => act(async () => {
    const effects = sideEffects(call, null);
    if (effects && !(await confirm({ title: t.replay.retryTitle, body: <p>{effects}</p>, yes: t.replay.yes }))) return;
    const made = await post<Call>(`calls/${id}/replay`);
    toast(t.replay.started, { action: { label: t.replay.compare, run: () => navigate(href("compare", { a: call.id, b: made.id })) } });
    navigate(href(["calls", made.id]));
  });
  const destroy = () => act(async () => {
    if (!(await confirm({ title: t.remove.title, body: <p>{t.remove.body}</p>, yes: t.remove.yes, danger: true }))) return;
    await remove(`calls/${id}`);
    toast(t.remove.done);
    onDeleted();
  });
  const link = new URL(href(["calls", call.id]), document.baseURI).href;
  const pair = call.replay_of ?? call.replays?.at(-1);
  useShortcuts(t.shortcuts.title, [
    { keys: "r", label: t.shortcuts.retry, run: () => { if (!open && !denied) void retry(); } },
    { keys: ".", label: t.shortcuts.replay, run: () => { if (!open && !denied) replaying.value = true; } },
    { keys: "c", label: t.shortcuts.curl, run: () => void copySnippet(call, toCurl) },
    { keys: "y", label: t.shortcuts.id, run: () => void copyText(call.id).then(() => toast(t.head.copied)) },
    { keys: "d", label: t.shortcuts.compare, run: () => { if (pair) navigate(href("compare", { a: pair, b: call.id })); } },
  ]);
  return (
    <>
      {open
        ? <Button kind="danger" icon="cancelled" denied={denied} disabled={busy.value} onClick={() => void cancel()}>{t.actions.cancel}</Button>
        : (
          <>
            <Button icon="retry" denied={denied} disabled={busy.value} onClick={() => void retry()}>{t.actions.retry}</Button>
            <Button icon="replay" denied={denied} onClick={() => { replaying.value = true; }}>{t.actions.replay}</Button>
          </>
        )}
      <Menu
        label={t.actions.copy} icon="copy"
        items={[
          { label: "curl", run: () => void copySnippet(call, toCurl) },
          { label: "Python", run: () => void copySnippet(call, toPython) },
          { label: t.actions.json, run: () => void get(`calls/${id}`).then((now) => copyText(JSON.stringify(now, null, 2))).then(() => toast(t.head.copied), toastError) },
          { label: t.actions.requestText, run: () => void readWhole(call.id, 0).then((body) => copyText(inlineText(body) ?? new TextDecoder().decode(body))).then(() => toast(t.head.copied), toastError) },
          { label: t.actions.link, run: () => void copyText(link).then(() => toast(t.head.copied)) },
        ]}
      >{t.actions.copy}</Menu>
      <Menu
        label={t.actions.more} icon="more"
        items={[
          { label: t.actions.downloadRequest, icon: "download", run: () => save(bodyUrl(call.id, 0), `${call.id}.request`) },
          ...(call.response ? [{ label: t.actions.downloadResponse, icon: "download" as const, run: () => save(apiUrl(`calls/${id}/body`), `${call.id}.response`) }] : []),
          ...(pair ? [{ label: t.actions.compare, icon: "compare" as const, href: href("compare", { a: pair, b: call.id }) }] : []),
          { label: t.actions.remove, icon: "trash", danger: true, disabled: open, denied, run: () => void destroy() },
        ]}
      />
      {replaying.value && <ReplayDialog call={call} onClose={() => { replaying.value = false; }} />}
    </>
  );
}

export function CallId({ id }: { id: string }) {
  return <span class="call-id"><code title={id}>{id}</code><CopyButton text={id} label={t.head.copyId} /></span>;
}

