// Making a key, and changing the bounds of one.

import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { ApiError, patch, post } from "../../api";
import { Button } from "../../components/button";
import { Dialog } from "../../components/dialog";
import { serverNow } from "../../clock";
import { date } from "../../format";
import { Icon } from "../../icons";
import { lacks, SCOPES, type Scope } from "../../session";
import { t } from "../../strings";
import { strings } from "../../strings/keys";
import { BODIES, includedBy, LIMITS, widest, type Bodies, type Key, type Made } from "./data";

const s = strings.form;
const DEFAULT_SCOPES: Scope[] = ["relay", "read-own", "operate-own"];
const DAYS = { d7: 7, d30: 30, d90: 90, d365: 365 } as const;
type Expiry = keyof typeof s.expiry;

interface Props {
  /** Whose bounds to change; without one a key is made. */
  of?: Key;
  onClose: () => void;
  onDone: (key: Key | Made) => void;
}

export function KeyForm({ of: key, onClose, onDone }: Props) {
  const form = useId();
  const chosen = useSignal<Scope[]>(key?.scopes ?? DEFAULT_SCOPES);
  const bodies = useSignal<Bodies>(key?.bodies ?? "full");
  const refused = useSignal("");
  const busy = useSignal(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (!chosen.value.length) { refused.value = s.needsScope; return; }
    const said = read(new FormData(event.currentTarget as HTMLFormElement));
    busy.value = true;
    try {
      onDone(key ? await patch<Key>(`keys/${encodeURIComponent(key.id)}`, changed(key, said)) : await post<Made>("keys", { ...said, scopes: widest(chosen.value) }));
    } catch (error) {
      refused.value = error instanceof ApiError ? error.message : String(error);
    }
    busy.value = false;
  };
  return (
    <Dialog
      open wide title={key ? s.titles.change(key.name) : s.titles.create} onClose={onClose}
      actions={<><Button onClick={onClose}>{t.actions.close}</Button><Button kind="primary" type="submit" form={form} disabled={busy.value} denied={lacks("admin")}>{key ? s.save : s.create}</Button></>}
    >
      <form id={form} class="key-form" onSubmit={(event) => void submit(event)}>
        {refused.value && <div class="notice bad" role="alert"><Icon name="warning" /><span>{refused.value}</span></div>}
        <div class="key-pair">
          <label class="field"><span>{s.name}</span><input name="name" type="text" required maxLength={100} placeholder={s.nameHint} autocomplete="off" autofocus={!key} defaultValue={key?.name ?? ""} /></label>
          <label class="field"><span>{s.expires}</span><Expires of={key} /></label>
        </div>
        <ScopeChoice chosen={chosen.value} fixed={key !== undefined} onChoose={(scopes) => { chosen.value = scopes; }} />
        <fieldset>
          <legend>{s.limits}</legend>
          <div class="key-bounds">
            {LIMITS.map((limit) => (
              <label class="field" key={limit}><span>{s.limit[limit]}</span><input name={limit} type="number" min={1} max={1_000_000_000_000} placeholder={s.noLimit} defaultValue={key?.[limit] ?? ""} /></label>
            ))}
          </div>
          <p class="muted">{s.limitsHint}</p>
        </fieldset>
        <div class="key-pair">
          <label class="field"><span>{s.upstreams}</span><input name="upstreams" type="text" class="mono" placeholder={s.all} title={s.globHint} autocomplete="off" spellcheck={false} defaultValue={key?.upstreams.join(" ") ?? ""} /></label>
          <label class="field"><span>{s.models}</span><input name="models" type="text" class="mono" placeholder={s.all} title={s.globHint} autocomplete="off" spellcheck={false} defaultValue={key?.models.join(" ") ?? ""} /></label>
        </div>
        <label class="field">
          <span>{s.bodies}</span>
          <select name="bodies" defaultValue={bodies.value} onChange={(event) => { bodies.value = event.currentTarget.value as Bodies; }}>
            {BODIES.map((each) => <option key={each} value={each} selected={each === bodies.value}>{strings.bodies[each]}</option>)}
          </select>
          <small class="muted">{strings.bodiesAbout[bodies.value]}</small>
        </label>
      </form>
    </Dialog>
  );
}

function Expires({ of: key }: { of: Key | undefined }) {
  const kept = key?.expires_at;
  return (
    <select name="expiry">
      {kept && <option value="kept">{s.expiry.kept(date(kept))}</option>}
      <option value="never">{s.expiry.never}</option>
      {Object.keys(DAYS).map((each) => <option key={each} value={each}>{s.expiry[each as keyof typeof DAYS]}</option>)}
    </select>
  );
}

function ScopeChoice({ chosen, fixed, onChoose }: { chosen: Scope[]; fixed: boolean; onChoose: (scopes: Scope[]) => void }) {
  return (
    <fieldset class="key-scopes">
      <legend>{s.scopes}</legend>
      <div class="key-scope-list">
        {SCOPES.map((scope) => {
          const by = includedBy(scope, chosen);
          const has = by !== undefined || chosen.includes(scope);
          return (
            <label class="check" key={scope}>
              <input
                type="checkbox" checked={has} disabled={fixed || by !== undefined}
                onChange={(event) => onChoose(event.currentTarget.checked ? [...chosen, scope] : chosen.filter((each) => each !== scope))}
              />
              <span>{strings.scopeAbout[scope]} <code class="muted">{scope}</code>{by && !fixed && <small class="muted"> · {s.included(by)}</small>}</span>
            </label>
          );
        })}
      </div>
      {fixed && <p class="muted">{s.scopesFixed}</p>}
    </fieldset>
  );
}

/** What the form says, as the API has it; `expires_at` is missing where it stays. */
function read(said: FormData): Partial<Record<string, unknown>> {
  const text = (name: string) => String(said.get(name) ?? "").trim();
  const globs = (name: string) => text(name).split(/[\s,]+/).filter(Boolean);
  const expiry = text("expiry") as Expiry;
  const days = expiry in DAYS ? DAYS[expiry as keyof typeof DAYS] : null;
  return {
    name: text("name"),
    ...Object.fromEntries(LIMITS.map((limit) => [limit, text(limit) ? Number(text(limit)) : null])),
    upstreams: globs("upstreams"), models: globs("models"), bodies: text("bodies"),
    ...(expiry === "kept" ? {} : { expires_at: days === null ? null : new Date(serverNow() + days * 86_400_000).toISOString() }),
  };
}

/** Only what differs from *key*: a change says no more than was changed. */
function changed(key: Key, said: Partial<Record<string, unknown>>): Partial<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(said).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(key[name as keyof Key])));
}
