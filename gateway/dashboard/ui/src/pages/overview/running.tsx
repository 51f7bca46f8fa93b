import { post, type Call } from "../../api";
import { Button } from "../../components/button";
import { Card } from "../../components/card";
import { confirm } from "../../components/dialog";
import { CallState } from "../../components/state";
import { Table, type Column } from "../../components/table";
import { Elapsed } from "../../components/time";
import { toast, toastError } from "../../components/toast";
import { count, duration } from "../../format";
import { openCalls } from "../../live";
import { href } from "../../router";
import { lacksOperate } from "../../session";
import { strings } from "../../strings/overview";

const s = strings.running;
const SHOWN = 10;

async function cancel(call: Call): Promise<void> {
  if (!(await confirm({ title: s.cancelTitle, body: <p>{s.cancelBody}</p>, yes: s.cancelYes, danger: true }))) return;
  try {
    await post(`calls/${encodeURIComponent(call.id)}/cancel`);
    toast(s.cancelled);
  } catch (error) {
    toastError(error);
  }
}

const columns: Column<Call>[] = [
  { key: "call", label: s.call, heading: true, render: (call) => <a class="truncate" href={href(["calls", call.id])}>{call.model ?? call.path}</a> },
  { key: "state", label: s.state, render: (call) => <CallState call={call} /> },
  { key: "upstream", label: s.upstream, render: (call) => call.upstream },
  { key: "queued", label: s.attempt, align: "end", render: (call) => <span class="muted">{duration(call.queued_ms)}</span> },
  { key: "elapsed", label: s.elapsed, align: "end", render: (call) => <Elapsed since={call.started_at ?? call.created_at} /> },
  { key: "actions", label: <span class="visually-hidden">{s.actions}</span>, align: "end", render: (call) => <Button kind="ghost" small icon="close" label={s.cancelOne(call.model ?? call.path)} denied={lacksOperate(call)} onClick={() => void cancel(call)} /> },
];

/** The calls that have a slot now, longest first. */
export function Running() {
  const open = [...openCalls.value.values()];
  const running = open.filter((call) => call.status === "running").sort((a, b) => (a.started_at ?? a.created_at).localeCompare(b.started_at ?? b.created_at));
  const queued = open.length - running.length;
  return (
    <Card
      title={s.title} flush
      actions={<>
        {running.length > SHOWN && <a href={href("calls", { q: "status:running" })}>{s.more(count(running.length - SHOWN))}</a>}
        {queued > 0 && <a href={href("calls", { q: "status:queued" })}>{s.queued(count(queued))}</a>}
      </>}
    >
      {running.length
        ? <Table class="running-now" caption={s.caption} columns={columns} rows={running.slice(0, SHOWN)} rowKey={(call) => call.id} />
        : <p class="card-none">{s.none}</p>}
    </Card>
  );
}
