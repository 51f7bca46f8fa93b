import { post, ApiError, useGet, type Config, type Setting } from "../../api";
import { useSignal } from "@preact/signals";
import { Button } from "../../components/button";
import { Card } from "../../components/card";
import { Failed, Loading } from "../../components/empty";
import { Table, type Column } from "../../components/table";
import { toast, toastError } from "../../components/toast";
import { Icon } from "../../icons";
import { query, withQuery } from "../../router";
import { lacks } from "../../session";
import { strings } from "../../strings/settings";

const s = strings.config;

/** What is in force and where each value comes from; by default what somebody set. */
export function Configuration() {
  const config = useGet<Config>("config");
  const refusals = useSignal<string[]>([]);
  const showsAll = query.value.get("config") === "all";
  const found = config.data.value;
  const error = config.error.value;
  const values = found?.values.filter((each) => showsAll || each.source !== "default") ?? [];
  const reload = async () => {
    refusals.value = [];
    try {
      await post("reload");
      toast(s.reloaded);
      config.reload();
    } catch (reason) {
      if (reason instanceof ApiError && reason.errors.length) refusals.value = reason.errors;
      else toastError(reason);
    }
  };
  return (
    <Card
      title={s.title} flush
      actions={found && <>
        <nav class="segments small" aria-label={s.which}>
          <a href={withQuery({ config: null })} {...(showsAll ? {} : { "aria-current": "true" as const })}>{s.changed}</a>
          <a href={withQuery({ config: "all" })} {...(showsAll ? { "aria-current": "true" as const } : {})}>{s.all}</a>
        </nav>
        <Button small icon="retry" denied={lacks("admin")} onClick={() => void reload()}>{s.reload}</Button>
      </>}
    >
      {found && <p class="config-path"><code>{found.path}</code></p>}
      {refusals.value.length > 0 && (
        <div class="notice bad config-refused" role="alert">
          <Icon name="warning" />
          <div><strong>{s.refused}</strong><ul>{refusals.value.map((each) => <li key={each}>{each}</li>)}</ul></div>
        </div>
      )}
      {!found && (error?.status === 404 ? <p class="card-none">{s.missing}</p> : error ? <Failed error={error} retry={config.reload} /> : <Loading rows={8} />)}
      {found && !values.length && <p class="card-none">{s.nothing}</p>}
      {sections(values).map(([section, settings]) => (
        <section key={section} class="config-section">
          <h3 id={`config-${section}`}>[{section}]</h3>
          <Table class="config" caption={s.caption(section)} columns={columns(section)} rows={settings} rowKey={(each) => each.key} />
        </section>
      ))}
    </Card>
  );
}

function columns(section: string): Column<Setting>[] {
  return [
    { key: "key", label: s.key, heading: true, render: (each) => <code title={each.key}>{each.key.slice(section.length + 1)}</code> },
    { key: "value", label: s.value, render: (each) => <Value of={each.value} /> },
    { key: "default", label: s.defaultValue, render: (each) => same(each.value, each.default) || each.default === null || each.default === undefined ? <span class="muted">–</span> : <span class="muted">{s.otherwise} <Value of={each.default} /></span> },
    { key: "source", label: s.source, render: (each) => <span class={each.source === "default" ? "muted" : each.source === "live" ? "chip warn" : "chip"} title={s.about[each.source]}>{s.sources[each.source]}</span> },
  ];
}

function Value({ of }: { of: unknown }) {
  if (of === null || of === undefined) return <span class="muted">{s.none}</span>;
  return <code>{toml(of)}</code>;
}

/** A value as config.toml says it. */
function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(", ")}]`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

/** Settings by table of config.toml, in its order: "server", "upstreams.openai", "upstreams.openai.retry". */
function sections(values: Setting[]): [string, Setting[]][] {
  const found = new Map<string, Setting[]>();
  for (const each of values) {
    const section = each.key.slice(0, each.key.lastIndexOf("."));
    const settings = found.get(section);
    if (settings) settings.push(each);
    else found.set(section, [each]);
  }
  return [...found];
}
