// The parts of a key that the table and its own page both show.

import { bytes, date, dayAndTime, short } from "../../format";
import { Icon } from "../../icons";
import { strings as s } from "../../strings/keys";
import { LIMITS, stateOf, used, widest, type Key } from "./data";

export function KeyState({ of: key }: { of: Key }) {
  const state = stateOf(key);
  const [look, detail] =
    state === "active" ? (["succeeded", key.expires_at && s.until(date(key.expires_at))] as const)
    : state === "expired" ? (["expired", key.expires_at && date(key.expires_at)] as const)
    : (["cancelled", key.revoked_at && date(key.revoked_at)] as const);
  return (
    <span class="key-state">
      <span class={`state ${look}`}><Icon name={look} size={14} />{s[state]}</span>
      {detail && <small class="muted" title={dayAndTime(key.revoked_at ?? key.expires_at ?? 0)}>{detail}</small>}
    </span>
  );
}

export function Scopes({ of: { scopes } }: { of: Key }) {
  return <span class="key-scope-names">{widest(scopes).map((scope) => <code key={scope} title={s.scopeAbout[scope]}>{scope}</code>)}</span>;
}

/** Each limit it has, with a bar where it is known how much of it is used. */
export function Limits({ of: key, empty = s.noLimits }: { of: Key; empty?: string }) {
  const bound = LIMITS.filter((limit) => key[limit] !== null);
  if (!bound.length) return <span class="muted">{empty}</span>;
  return (
    <span class="key-limits">
      {bound.map((limit) => {
        const of = key[limit] ?? 0;
        const now = used(key, limit);
        if (now === null) return <span key={limit}>{(limit === "max_body_bytes" ? bytes : short)(of)} <span class="muted">{s.limits[limit]}</span></span>;
        return (
          <span key={limit} class="key-limit">
            <span class={now >= of ? "gauge full" : "gauge"} role="meter" aria-label={s.usage(s.limits[limit], key.name)} aria-valuemin={0} aria-valuemax={of} aria-valuenow={Math.min(now, of)} aria-valuetext={`${now} of ${of}`}>
              <i style={{ "--share": String(Math.min(1, now / of)) }} />
            </span>
            <span>{short(now)}<span class="muted">/{short(of)} {s.limits[limit]}</span></span>
          </span>
        );
      })}
    </span>
  );
}

/** The upstreams and models it is bound to. */
export function Allowed({ of: { upstreams, models } }: { of: Key }) {
  if (!upstreams.length && !models.length) return <span class="muted">{s.anything}</span>;
  return (
    <span class="key-chips">
      {upstreams.map((glob) => <span class="chip mono" key={`u ${glob}`} title={s.upstreams}>{glob}</span>)}
      {models.map((glob) => <span class="chip mono" key={`m ${glob}`} title={s.models}>{glob}</span>)}
    </span>
  );
}
