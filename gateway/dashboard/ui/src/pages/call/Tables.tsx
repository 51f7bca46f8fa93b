// The tables of a call: its attempts, the headers of both directions, and what is related to it.

import { useSignal } from "@preact/signals";
import { get, post, useGet, type Attempt, type Call } from "../../api";
import { Button } from "../../components/button";
import { CopyButton } from "../../components/copy";
import { Table } from "../../components/table";
import { CallState } from "../../components/state";
import { Time } from "../../components/time";
import { toast, toastError } from "../../components/toast";
import { bytes, duration, exactClock } from "../../format";
import { Icon } from "../../icons";
import { href } from "../../router";
import { lacksOperate } from "../../session";
import { strings as t } from "../../strings/call";
import { headerOf } from "./bodies";
import { rateLimits } from "./limits";
import { why } from "./Timeline";

const span = (from: string | null, to: string | null) => (from && to ? duration(Date.parse(to) - Date.parse(from)) : "–");

const UPSTREAM_IDS = ["x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "cf-ray"];

export function Attempts({ call, onSelect }: { call: Call; onSelect: (attempt: number) => void }) {
  const attempts = call.attempts ?? [];
  if (!attempts.length) return <p class="body-nothing"><Icon name="info" /><span>{t.attempts.none}</span></p>;
  const name = (attempt: Attempt) => UPSTREAM_IDS.map((each) => headerOf(attempt.headers, each)).find(Boolean) ?? null;
  return (
    <div class="card flush"><Table
      caption={t.attempts.caption} rows={attempts} rowKey={({ number }) => String(number)} class="attempts-table"
      columns={[
        { key: "number", label: t.attempts.number, heading: true, render: ({ number }) => <Button small kind="ghost" onClick={() => onSelect(number)}>{t.timeline.attempt(number)}</Button> },
        { key: "status", label: t.attempts.outcome, render: (each) => <span class={`mark-${each.outcome === null ? "running" : each.status !== null && each.status < 400 && each.outcome === "answered" ? "good" : "bad"}`}>{each.outcome === null ? t.timeline.running : (t.outcomes as Record<string, string>)[each.outcome]}{each.status !== null ? ` ${each.status}` : ""}{each.ambiguous && <span class="chip warn" title={t.attempts.ambiguousHint}>{t.attempts.ambiguous}</span>}</span> },
        { key: "upstream", label: t.head.upstream, render: ({ upstream }) => <a href={href(["upstreams", upstream])}>{upstream}</a> },
        { key: "started", label: t.attempts.started, render: ({ started_at }) => <time dateTime={started_at}>{exactClock(started_at)}</time> },
        { key: "first", label: t.attempts.firstByte, align: "end", render: (each) => span(each.started_at, each.first_byte_at) },
        { key: "took", label: t.attempts.took, align: "end", render: (each) => span(each.started_at, each.finished_at) },
        { key: "bytes", label: t.attempts.bytes, align: "end", render: (each) => (each.bytes == null ? "–" : `${bytes(each.bytes)}${each.complete === false && each.outcome !== null && each.bytes > 0 ? ` ${t.attempts.cut}` : ""}`) },
        { key: "id", label: t.attempts.id, render: (each) => { const id = name(each); return id ? <span class="row"><code class="truncate">{id}</code><CopyButton text={id} /></span> : "–"; } },
        { key: "error", label: t.attempts.error, class: "wraps", render: (each) => (each.error ? <span><b>{each.error.code}</b> {each.error.message}</span> : each.backoff_s !== null ? t.attempts.then(why(each)) : "–") },
      ]}
    /></div>
  );
}

export function Headers({ call, attempt }: { call: Call; attempt: Attempt | null }) {
  const answer = attempt?.headers ?? call.response?.headers ?? null;
  const limits = rateLimits(answer ?? {}, attempt?.finished_at ?? attempt?.first_byte_at ?? call.created_at);
  return (
    <div class="stack">
      {limits.length > 0 && (
        <section>
          <h3>{t.headers.limits}</h3>
          <div class="limits">
            {limits.map(({ name, limit, remaining, reset, share }) => (
              <div class="limit" key={name}>
                <span class="muted">{name}</span>
                <b>{remaining ?? "–"}<span class="muted">{limit ? ` / ${limit}` : ""}</span></b>
                {share !== null && <span class="gauge"><i style={{ "--share": String(share) }} /></span>}
                {reset && <small>{t.headers.reset(reset)}</small>}
              </div>
            ))}
          </div>
        </section>
      )}
      <Fields title={t.headers.request} fields={call.request.headers ?? null} />
      <Fields title={t.headers.response} fields={answer} line={attempt?.status != null ? `HTTP ${attempt.status}` : null} />
    </div>
  );
}

function Fields({ title, fields, line }: { title: string; fields: Record<string, string | string[]> | null; line?: string | null }) {
  const pairs = Object.entries(fields ?? {});
  return (
    <section>
      <div class="row"><h3>{title}</h3>{line && <span class="chip">{line}</span>}<span class="grow" />{pairs.length > 0 && <CopyButton text={pairs.map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(", ") : value}`).join("\n")} label={t.headers.copy(title)} />}</div>
      {pairs.length ? (
        <dl class="facts fields">
          {pairs.map(([name, value]) => {
            const text = Array.isArray(value) ? value.join(", ") : value;
            return <div class="contents" key={name}><dt class="mono">{name}</dt><dd class="mono">{text.includes("[redacted]") ? <span class="chip" title={t.headers.redactedHint}>{text === "[redacted]" ? t.headers.redacted : text}</span> : text}</dd></div>;
          })}
        </dl>
      ) : <p class="muted">{t.headers.none}</p>}
    </section>
  );
}

interface WebhookTold {
  id: string;
  url: string;
  status: string;
  attempts: number;
  next_at: string | null;
  tries: { number: number; at: string; status: number | null; error: string | null }[];
}

export function Related({ call }: { call: Call }) {
  return (
    <div class="stack">
      <section>
        <h3>{t.related.original}</h3>
        {call.replay_of ? <CallLine id={call.replay_of} against={call.id} first /> : <p class="muted">{t.related.noOriginal}</p>}
      </section>
      <section>
        <h3>{t.related.replays}</h3>
        {call.replays?.length ? <ul class="related">{call.replays.map((id) => <li key={id}><CallLine id={id} against={call.id} /></li>)}</ul> : <p class="muted">{t.related.noReplays}</p>}
      </section>
      {call.idempotency_key && <section><h3>{t.related.sameKey}</h3><p><a href={href("calls", { q: `idempotency:"${call.idempotency_key}"` })}>{t.related.search(call.idempotency_key)}</a></p></section>}
      <section><h3>{t.related.webhook}</h3>{call.webhook ? <Webhook call={call} /> : <p class="muted">{t.related.noWebhook}</p>}</section>
    </div>
  );
}

function CallLine({ id, against, first = false }: { id: string; against: string; first?: boolean }) {
  const found = useGet<Call>(`calls/${encodeURIComponent(id)}`);
  const call = found.data.value;
  return (
    <span class="related-call">
      <a href={href(["calls", id])}><code>{id}</code></a>
      {call && <><CallState call={call} /><span class="muted">{call.upstream} · {call.model ?? call.path} · {duration(call.duration_ms)}</span><Time at={call.created_at} /></>}
      <a class="button small" href={first ? href("compare", { a: id, b: against }) : href("compare", { a: against, b: id })}><Icon name="compare" />{t.actions.compare}</a>
    </span>
  );
}

function Webhook({ call }: { call: Call }) {
  const id = encodeURIComponent(call.id);
  const told = useGet<WebhookTold>(`calls/${id}/webhook`);
  const busy = useSignal(false);
  const again = async () => {
    busy.value = true;
    try { await post(`calls/${id}/webhook`); toast(t.related.resent); await get(`calls/${id}`); } catch (error) { toastError(error); }
    busy.value = false;
    told.reload();
  };
  const found = told.data.value;
  return (
    <>
      <p class="row wrap-row"><code class="break-all">{call.webhook?.url}</code><span class={found?.status === "delivered" ? "chip good" : found?.status === "failed" ? "chip bad" : "chip warn"}>{found?.status ?? call.webhook?.status}</span>{found?.next_at && <span class="muted">{t.related.next} <Time at={found.next_at} /></span>}<Button small icon="retry" denied={lacksOperate(call)} disabled={busy.value || call.finished_at === null} onClick={() => void again()}>{t.related.resend}</Button></p>
      {found && found.tries.length > 0 && (
        <Table
          caption={t.related.tries} rows={found.tries} rowKey={({ number }) => String(number)}
          columns={[
            { key: "number", label: t.related.tryNumber, heading: true, render: ({ number }) => number },
            { key: "at", label: t.head.time, render: ({ at }) => <Time at={at} /> },
            { key: "status", label: t.related.status, render: ({ status }) => (status === null ? "–" : <span class={status < 300 ? "mark-good" : "mark-bad"}>{status}</span>) },
            { key: "error", label: t.attempts.error, class: "wraps", render: ({ error }) => error ?? "–" },
          ]}
        />
      )}
    </>
  );
}
