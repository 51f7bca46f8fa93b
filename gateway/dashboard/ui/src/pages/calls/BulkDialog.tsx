// Before something is done to many calls: how many, which, and a word to type above a hundred; after it,
// what was refused and why.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError, get, type Bulk, type Call, type List } from "../../api";
import { Button } from "../../components/button";
import { Dialog } from "../../components/dialog";
import { State } from "../../components/state";
import { clock, count } from "../../format";
import { liveUpstreams } from "../../live";
import { href, navigate } from "../../router";
import { t } from "../../strings";
import { strings } from "../../strings/calls";
import { dryRun, nameOf, queries, removeEach, run, type Target, type Verb } from "./bulk";

const TYPED_ABOVE = 100;
const SAMPLE = 5;

interface Props {
  verb: Verb;
  target: Target;
  onClose: (done: boolean) => void;
}

export function BulkDialog({ verb, target, onClose }: Props) {
  const s = strings.bulk;
  const upstream = useSignal("");
  const model = useSignal("");
  const matched = useSignal<number | null>(null);
  const sample = useSignal<readonly Call[]>([]);
  const typed = useSignal("");
  const progress = useSignal<number | null>(null);
  const result = useSignal<Bulk | null>(null);
  const error = useSignal<string | null>(null);
  const asked = useSignal(queries(target, verb));
  const changes = () => ({ ...(upstream.value ? { upstream: upstream.value } : {}), ...(model.value.trim() ? { model: model.value.trim() } : {}) });
  const fail = (reason: unknown) => { error.value = reason instanceof ApiError ? reason.message : String(reason); };

  useEffect(() => {
    let wanted = true;
    const [first] = asked.value;
    const counting = verb === "delete" && "ids" in target ? Promise.resolve(target.ids.length) : dryRun(verb, asked.value, {});
    counting.then((n) => { if (wanted) matched.value = n; }, fail);
    get<List<Call>>("calls", { ...first, limit: SAMPLE }).then(
      (page) => { if (wanted) sample.value = page.data; },
      () => undefined,
    );
    return () => { wanted = false; };
  }, []);

  const start = async () => {
    error.value = null;
    progress.value = 0;
    const tell = (done: number) => { progress.value = done; };
    try {
      result.value = verb === "delete" && "ids" in target ? await removeEach(target.ids, tell) : await run(verb, asked.value, changes(), tell);
    } catch (reason) {
      fail(reason);
    }
    progress.value = null;
  };

  const n = matched.value;
  const mustType = n !== null && n > TYPED_ABOVE && typed.value.trim() !== String(n);
  const working = progress.value !== null;
  const done = result.value;
  const close = () => { if (!working) onClose(done !== null); };
  return (
    <Dialog
      open title={s.titles[verb]} onClose={close}
      actions={done
        ? (
          <>
            {(verb === "replay" || verb === "replayTo") && done.done > 0 && <Button onClick={() => { onClose(true); navigate(href("calls")); }}>{s.showNew}</Button>}
            <Button kind="primary" onClick={close}>{t.actions.close}</Button>
          </>
        )
        : (
          <>
            <Button disabled={working} onClick={close}>{t.actions.close}</Button>
            <Button kind={verb === "cancel" || verb === "delete" ? "danger" : "primary"} disabled={!n || mustType || working} onClick={() => void start()}>
              {working ? s.working(count(progress.value ?? 0), count(n ?? 0)) : s.button(s.does[verb], n === null ? "…" : count(n), n === 1)}
            </Button>
          </>
        )}
    >
      {error.value && <p class="notice bad" role="alert">{error.value}</p>}
      {done ? <Done verb={verb} result={done} /> : n === null
        ? !error.value && <p class="muted" role="status">{s.counting}</p>
        : (
          <>
            <p>{n === 0 ? s.nothing[verb] : s.asks[verb](count(n), n === 1)}</p>
            {verb === "replayTo" && (
              <div class="bulk-fields">
                <label class="field">
                  <span>{s.upstream}</span>
                  <select value={upstream.value} onChange={(event) => { upstream.value = event.currentTarget.value; }}>
                    <option value="">{s.same}</option>
                    {[...liveUpstreams.value.keys()].map((name) => <option key={name} value={name}>{name}</option>)}
                  </select>
                </label>
                <label class="field">
                  <span>{s.model}</span>
                  <input type="text" autocomplete="off" value={model.value} placeholder={s.modelHint} onInput={(event) => { model.value = event.currentTarget.value; }} />
                </label>
              </div>
            )}
            {n > 0 && sample.value.length > 0 && <Sample calls={sample.value} />}
            {n > TYPED_ABOVE && (
              <label class="field">
                <span>{t.actions.typeToConfirm(String(n))}</span>
                <input type="text" inputmode="numeric" autocomplete="off" value={typed.value} onInput={(event) => { typed.value = event.currentTarget.value; }} />
              </label>
            )}
          </>
        )}
    </Dialog>
  );
}

function Sample({ calls }: { calls: readonly Call[] }) {
  return (
    <div class="bulk-sample">
      <h3>{strings.bulk.sample}</h3>
      <ul>
        {calls.map((call) => (
          <li key={call.id}><span class="muted">{clock(call.created_at)}</span><State status={call.status} /><span class="truncate">{nameOf(call)}</span></li>
        ))}
      </ul>
    </div>
  );
}

function Done({ verb, result }: { verb: Verb; result: Bulk }) {
  const s = strings.bulk;
  const refused = result.matched - result.done;
  return (
    <div class="stack" role="status">
      <p>{s.done[verb](count(result.done), result.done === 1)}</p>
      {refused > 0 && (
        <div class="bulk-refused">
          <h3>{s.refused(count(refused))}</h3>
          <ul tabIndex={0} aria-label={s.refused(count(refused))}>
            {result.refused.map(({ id, code }) => (
              <li key={id}><a class="mono" href={href(["calls", id])}>{id}</a><span class="muted">{s.codes[code] ?? code}</span></li>
            ))}
            {refused > result.refused.length && <li class="muted">{s.moreRefused(count(refused - result.refused.length))}</li>}
          </ul>
        </div>
      )}
    </div>
  );
}
