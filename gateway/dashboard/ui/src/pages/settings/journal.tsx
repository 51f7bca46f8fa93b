import { post, useEvery, useGet, type Journal } from "../../api";
import { Button } from "../../components/button";
import { Card } from "../../components/card";
import { CodeBlock, CopyButton } from "../../components/copy";
import { confirm } from "../../components/dialog";
import { Failed, Loading } from "../../components/empty";
import { Time } from "../../components/time";
import { toast, toastError } from "../../components/toast";
import { bytes, count, duration, exactBytes } from "../../format";
import { Icon } from "../../icons";
import { lacks } from "../../session";
import { strings } from "../../strings/settings";

const s = strings.journal;

interface Pruned {
  bodies: number;
  calls: number;
}

export function JournalCard() {
  const journal = useGet<Journal>("journal");
  useEvery(5000, journal.reload);
  const found = journal.data.value;
  const error = journal.error.value;
  return (
    <Card title={s.title} actions={found && <Button small denied={lacks("admin")} onClick={() => void prune(found, journal.reload)}>{s.prune}</Button>}>
      {found ? <Facts journal={found} /> : error?.status === 404 ? <p class="muted">{s.missing}</p> : error ? <Failed error={error} retry={journal.reload} /> : <Loading rows={8} />}
    </Card>
  );
}

function Facts({ journal }: { journal: Journal }) {
  const { calls } = journal;
  return (
    <>
      <dl class="facts">
        <dt>{s.path}</dt><dd class="row"><code>{journal.path}</code><CopyButton text={journal.path} /></dd>
        <dt>{s.size}</dt><dd title={exactBytes(journal.file_bytes)}>{s.sizeOf(bytes(journal.file_bytes), bytes(journal.wal_bytes))}</dd>
        <dt>{s.disk}</dt><dd title={exactBytes(journal.free_bytes)}>{bytes(journal.free_bytes)}</dd>
        <dt>{s.calls}</dt><dd>{s.callsOf(calls === null ? "?" : count(calls), count(journal.open_calls))}</dd>
        <dt>{s.span}</dt><dd>{journal.oldest_at ? <><Time at={journal.oldest_at} /> – <Time at={journal.newest_at} /></> : <span class="muted">{s.noCalls}</span>}</dd>
        <dt>{s.retention}</dt><dd>{s.bodies(s.days(journal.keep_bodies_days))}, {s.rows(s.days(journal.keep_calls_days))}</dd>
        <dt>{s.durability}</dt><dd>{journal.durability === "power-loss" ? s.powerLoss : s.process}</dd>
        <dt>{s.integrity}</dt><dd><Integrity is={journal.integrity} /></dd>
        <dt>{s.writes}</dt><dd>{s.writesOf(count(journal.pending_posts), bytes(journal.pending_bytes))}</dd>
        <dt>{s.commit}</dt><dd>{duration(journal.last_commit_ms)}</dd>
        {journal.unsearched !== null && <><dt>{s.unsearched}</dt><dd>{count(journal.unsearched)}</dd></>}
      </dl>
      <div class="settings-command"><p class="muted">{s.backup}</p><CodeBlock text="gateway db backup gateway-backup.db" label={s.backup} /></div>
    </>
  );
}

function Integrity({ is }: { is: string }) {
  if (is === "ok") return <span class="state succeeded"><Icon name="succeeded" size={14} />{s.ok}</span>;
  if (is === "checking") return <span class="state queued"><Icon name="queued" size={14} />{s.checking}</span>;
  return <span class="state failed"><Icon name="failed" size={14} />{is}</span>;
}

async function prune({ keep_bodies_days, keep_calls_days }: Journal, reload: () => void): Promise<void> {
  const keepsAll = keep_bodies_days === 0 && keep_calls_days === 0;
  const body = keepsAll ? s.pruneNothing : s.pruneBody(s.days(keep_bodies_days), s.days(keep_calls_days));
  if (!(await confirm({ title: s.pruneTitle, body: <p>{body}</p>, yes: s.pruneYes, danger: true }))) return;
  try {
    const pruned = await post<Pruned>("prune");
    toast(s.pruned(count(pruned.bodies), count(pruned.calls)));
    reload();
  } catch (error) {
    toastError(error);
  }
}
