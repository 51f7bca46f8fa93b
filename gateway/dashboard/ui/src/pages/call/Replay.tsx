// Send a recorded request again, changed: another upstream, another model, parts of the body, several times.

import { useSignal } from "@preact/signals";
import { post, useGet, type Call, type List, type Upstream } from "../../api";
import { Button } from "../../components/button";
import { Dialog } from "../../components/dialog";
import { toast, toastError } from "../../components/toast";
import { Icon } from "../../icons";
import { liveUpstreams } from "../../live";
import { href, navigate } from "../../router";
import { may } from "../../session";
import { strings as t } from "../../strings/call";
import { useBody, asText } from "./bodies";
import { sideEffects } from "./effects";
import { parse, type Json } from "./events";

const MOST = 20;

export function ReplayDialog({ call, onClose }: { call: Call; onClose: () => void }) {
  const upstreams = useGet<List<Upstream>>(may("read-all") ? "upstreams" : null);
  const upstream = useSignal(call.upstream);
  const model = useSignal(call.model ?? "");
  const text = useSignal("");
  const times = useSignal(1);
  const busy = useSignal(false);
  const body = useBody(call.id, call.request.bytes ? 0 : null, false);
  const held = body.held.value;
  const request = held && held.data.length === held.size ? (parse(asText(held.data) ?? "") ?? null) : null;
  const known = upstreams.data.value?.data ?? [...liveUpstreams.value.values()];
  const change = text.value.trim() ? parse(text.value) : undefined;
  const wrong = text.value.trim() !== "" && change === undefined;
  const effects = sideEffects(call, request);
  const changed = upstream.value !== call.upstream || model.value !== (call.model ?? "") || change !== undefined;

  const start = async () => {
    busy.value = true;
    const changes: Record<string, Json> = {};
    if (upstream.value !== call.upstream) changes["upstream"] = upstream.value;
    if (model.value && model.value !== call.model) changes["model"] = model.value;
    if (change !== undefined) changes["body_patch"] = change;
    const made: Call[] = [];
    try {
      for (let n = 0; n < times.value; n++) made.push(await post<Call>(`calls/${encodeURIComponent(call.id)}/replay`, changes));
    } catch (error) {
      toastError(error);
    }
    busy.value = false;
    if (!made[0]) return;
    onClose();
    toast(made.length > 1 ? t.replay.startedMany(made.length) : t.replay.started);
    navigate(made.length > 1 ? href("calls", { q: `replay_of:${call.id}` }) : href("compare", { a: call.id, b: made[0].id }));
  };

  return (
    <Dialog
      open onClose={onClose} title={t.replay.title}
      actions={
        <>
          <Button onClick={onClose}>{t.replay.no}</Button>
          <Button kind="primary" icon="replay" disabled={busy.value || wrong} onClick={() => void start()}>{times.value > 1 ? t.replay.goMany(times.value) : changed ? t.replay.goChanged : t.replay.go}</Button>
        </>
      }
    >
      <p class="muted">{t.replay.about}</p>
      <div class="replay-fields">
        <label class="field"><span>{t.head.upstream}</span>
          <select value={upstream.value} onChange={(event) => { upstream.value = event.currentTarget.value; }}>
            {!known.some(({ name }) => name === call.upstream) && <option value={call.upstream}>{call.upstream}</option>}
            {known.map(({ name, dialect }) => <option key={name} value={name}>{name} ({dialect})</option>)}
          </select>
        </label>
        <label class="field"><span>{t.head.model}</span>
          <input type="text" value={model.value} placeholder={t.replay.asSent} spellcheck={false} onInput={(event) => { model.value = event.currentTarget.value; }} />
        </label>
        <label class="field"><span>{t.replay.times}</span>
          <input type="number" min={1} max={MOST} value={times.value} onInput={(event) => { times.value = Math.max(1, Math.min(MOST, Math.round(event.currentTarget.valueAsNumber) || 1)); }} />
        </label>
      </div>
      <label class="field"><span>{t.replay.patch}</span>
        <textarea class="mono" rows={5} spellcheck={false} placeholder={'{"temperature": 0, "max_tokens": null}'} value={text.value} aria-invalid={wrong} onInput={(event) => { text.value = event.currentTarget.value; }} />
        <small class={wrong ? "bad" : "muted"}>{wrong ? t.replay.noJson : t.replay.patchHint}</small>
      </label>
      {upstream.value !== call.upstream && known.find(({ name }) => name === upstream.value)?.dialect !== known.find(({ name }) => name === call.upstream)?.dialect && <p class="notice warn"><Icon name="warning" /><span>{t.replay.dialect}</span></p>}
      {effects && <p class="notice warn"><Icon name="warning" /><span>{effects}</span></p>}
    </Dialog>
  );
}
