// The table of all keys.

import { useSignal } from "@preact/signals";
import { useEvery, useGet } from "../../api";
import { Button } from "../../components/button";
import { Card } from "../../components/card";
import { CodeBlock } from "../../components/copy";
import { Empty, Failed, Loading } from "../../components/empty";
import { Menu } from "../../components/menu";
import { Page } from "../../components/page";
import { Table, type Column } from "../../components/table";
import { Time } from "../../components/time";
import { toast } from "../../components/toast";
import { href, query, withQuery } from "../../router";
import { session } from "../../session";
import { t } from "../../strings";
import { strings as s } from "../../strings/keys";
import { revoke, stateOf, type Key, type KeyList, type Made } from "./data";
import { KeyForm } from "./form";
import { Secret } from "./secret";
import { Allowed, KeyState, Limits, Scopes } from "./shown";

export function AllKeys() {
  const loaded = useGet<KeyList>("keys");
  useEvery(2000, loaded.reload);
  const asking = useSignal<{ of?: Key } | null>(null);
  const made = useSignal<Made | null>(null);
  const all = loaded.data.value?.data;
  const error = loaded.error.value;
  const valid = all?.filter((key) => stateOf(key) === "active") ?? [];
  const showsAll = query.value.get("show") === "all";
  const rows = [...(showsAll ? (all ?? []) : valid)].sort(byStateThenNewest);
  const create = <Button kind="primary" onClick={() => { asking.value = {}; }}>{s.create}</Button>;
  const done = (of: Key | undefined) => (key: Key | Made) => {
    asking.value = null;
    if (of) toast(s.form.saved(key.name));
    else made.value = key as Made;
    loaded.reload();
  };
  return (
    <Page
      title={t.nav.keys} subtitle={session.value && (session.value.required ? s.required : s.optional)}
      actions={all?.length ? <>{valid.length < all.length && <Which valid={valid.length} all={all.length} showsAll={showsAll} />}{create}</> : undefined}
    >
      {!all && (error ? <Failed error={error} retry={loaded.reload} /> : <Loading rows={4} />)}
      {all?.length === 0 && <None create={create} />}
      {all && all.length > 0 && (
        <Card flush>
          {rows.length
            ? <Table class="keys-table" caption={s.caption} columns={columns((key) => { asking.value = { of: key }; }, loaded.reload)} rows={rows} rowKey={({ id }) => id} />
            : <p class="card-none">{s.noneValid}</p>}
        </Card>
      )}
      {asking.value && <KeyForm {...asking.value} onClose={() => { asking.value = null; }} onDone={done(asking.value.of)} />}
      {made.value && <Secret of={made.value} onClose={() => { made.value = null; }} />}
    </Page>
  );
}

const ORDER = { active: 0, expired: 1, revoked: 2 };
const byStateThenNewest = (a: Key, b: Key) => ORDER[stateOf(a)] - ORDER[stateOf(b)] || b.created_at.localeCompare(a.created_at);

const columns = (change: (key: Key) => void, reload: () => void): Column<Key>[] => [
  { key: "name", label: s.columns.name, heading: true, render: ({ id, name }) => <span class="key-name"><a class="truncate" href={href(["keys", id])}>{name}</a><code class="muted">gw_{id}…</code></span> },
  { key: "state", label: s.columns.state, render: (key) => <KeyState of={key} /> },
  { key: "scopes", label: s.columns.scopes, render: (key) => <Scopes of={key} /> },
  { key: "limits", label: s.columns.limits, render: (key) => <Limits of={key} /> },
  { key: "allowed", label: s.columns.allowed, render: (key) => <Allowed of={key} /> },
  { key: "bodies", label: s.columns.bodies, render: ({ bodies }) => <span class={bodies === "full" ? "muted" : ""} title={s.bodiesAbout[bodies]}>{s.bodies[bodies]}</span> },
  { key: "used", label: s.columns.used, render: ({ last_used_at }) => (last_used_at ? <Time at={last_used_at} /> : <span class="muted">{s.never}</span>) },
  { key: "created", label: s.columns.created, render: ({ created_at }) => <Time at={created_at} /> },
  {
    key: "actions", label: <span class="visually-hidden">{s.columns.actions}</span>, align: "end",
    render: (key) => (
      <Menu
        kind="ghost" icon="more" label={s.actions.of(key.name)}
        items={[
          { label: s.actions.calls, icon: "calls", href: href("calls", { q: `key:${key.id}` }) },
          { label: s.actions.change, icon: "settings", disabled: key.revoked_at !== null, run: () => change(key) },
          { label: s.actions.revoke, icon: "trash", danger: true, disabled: key.revoked_at !== null, run: () => void revoke(key).then((done) => { if (done) reload(); }) },
        ]}
      />
    ),
  },
];

function Which({ valid, all, showsAll }: { valid: number; all: number; showsAll: boolean }) {
  const choice = (chosen: boolean, show: string | null, text: string) => <a href={withQuery({ show })} {...(chosen ? { "aria-current": "true" as const } : {})}>{text}</a>;
  return <nav class="segments" aria-label={s.which}>{choice(!showsAll, null, s.valid(valid))}{choice(showsAll, "all", s.all(all))}</nav>;
}

function None({ create }: { create: preact.ComponentChildren }) {
  return (
    <div class="card keys-none">
      <Empty icon="keys" title={s.none.title} actions={create}><p>{s.none.body}</p></Empty>
      <div class="keys-teach">
        <CodeBlock text="gateway keys create ops --scope admin" label={s.none.command} />
        {!session.value?.required && <><p class="muted">{s.none.then}</p><CodeBlock text={"[auth]\nrequired = true"} label={s.none.config} /></>}
      </div>
    </div>
  );
}
