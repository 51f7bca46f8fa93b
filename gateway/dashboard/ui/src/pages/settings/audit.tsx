import { useEffect } from "preact/hooks";
import { useGet } from "../../api";
import { ButtonLink } from "../../components/button";
import { Card } from "../../components/card";
import { Failed, Loading } from "../../components/empty";
import { Table, type Column } from "../../components/table";
import { Time } from "../../components/time";
import { resyncs } from "../../live";
import { href, query, withQuery } from "../../router";
import { strings as s } from "../../strings/audit";
import type { KeyList } from "../keys/data";

const PAGE = 25;

interface Entry {
  id: number;
  at: string;
  /** Id of a key, `session:<id of a key>`, `cli` or `anonymous`. */
  actor: string;
  action: string;
  target: string | null;
  detail: Record<string, unknown>;
}

interface Page {
  data: Entry[];
  first_id: number | null;
  last_id: number | null;
  has_more: boolean;
}

/** Of the keys, by id. */
type Names = ReadonlyMap<string, string>;

/** Who did what: a page of the trail, chosen by the address. */
export function Audit() {
  const after = query.value.get("audit_after");
  const before = query.value.get("audit_before");
  const trail = useGet<Page>("audit", { limit: PAGE, after, before });
  useEffect(() => { if (resyncs.value) trail.reload(); }, [resyncs.value]);
  const keys = useGet<KeyList>("keys");
  const page = trail.data.value;
  const names = new Map(keys.data.value?.data.map(({ id, name }) => [id, name]));
  const error = trail.error.value;
  const isNewest = !after && !before;
  const older = page && page.last_id !== null && (page.has_more || Boolean(before));
  const newer = page && page.first_id !== null && !isNewest && (Boolean(after) || page.has_more);
  return (
    <Card
      title={s.title} flush
      actions={page && (older || !isNewest) && (
        <nav class="row" aria-label={s.pages}>
          {!isNewest && <ButtonLink small kind="ghost" href={withQuery({ audit_after: null, audit_before: null })}>{s.newest}</ButtonLink>}
          {newer && <ButtonLink small icon="left" href={withQuery({ audit_before: page.first_id, audit_after: null })}>{s.newer}</ButtonLink>}
          {older && <ButtonLink small icon="right" href={withQuery({ audit_after: page.last_id, audit_before: null })}>{s.older}</ButtonLink>}
        </nav>
      )}
    >
      <p class="audit-about muted">{s.about}</p>
      {!page ? (error ? <Failed error={error} retry={trail.reload} /> : <Loading rows={6} />)
        : !page.data.length ? <p class="card-none">{s.none}</p>
        : <Table class="audit" caption={s.caption} columns={columns(names)} rows={page.data} rowKey={({ id }) => String(id)} />}
    </Card>
  );
}

const columns = (names: Names): Column<Entry>[] => [
  { key: "at", label: s.columns.at, render: ({ at }) => <Time at={at} /> },
  { key: "actor", label: s.columns.actor, render: ({ actor }) => <Actor is={actor} names={names} /> },
  { key: "action", label: s.columns.action, heading: true, render: ({ action }) => <span title={action}>{s.actions[action] ?? action}</span> },
  { key: "target", label: s.columns.target, render: (entry) => <Target of={entry} names={names} /> },
  { key: "detail", label: s.columns.detail, render: ({ detail }) => <Detail is={detail} /> },
];

function Actor({ is, names }: { is: string; names: Names }) {
  const id = is.replace(/^session:/, "");
  return (
    <span title={is}>
      {s.actors[id] ?? <a href={href(["keys", id])}>{names.get(id) ?? <code>gw_{id}…</code>}</a>}
      {id !== is && <span class="muted"> {s.bySession}</span>}
    </span>
  );
}

function Target({ of: { action, target }, names }: { of: Entry; names: Names }) {
  if (target === null) return null;
  const page = { key: "keys", upstream: "upstreams", call: "calls", webhook: "calls" }[action.split(".")[0] ?? ""];
  return page ? <a class="truncate" href={href([page, target])} title={target}>{names.get(target) ?? <code>{target}</code>}</a> : <code>{target}</code>;
}

/** `name: value` of everything that was said. */
function Detail({ is }: { is: Record<string, unknown> }) {
  const said = Object.entries(is);
  if (!said.length) return null;
  return <span class="audit-detail">{said.map(([name, value]) => <span key={name}><span class="muted">{name}</span> <code>{typeof value === "string" ? value : JSON.stringify(value)}</code></span>)}</span>;
}
