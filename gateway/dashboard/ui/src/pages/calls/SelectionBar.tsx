// What can be done with the chosen calls; stands over the list's end while some are chosen.

import { useSignal } from "@preact/signals";
import { Button, ButtonLink } from "../../components/button";
import { toastError } from "../../components/toast";
import { count } from "../../format";
import { href } from "../../router";
import { lacksOperate } from "../../session";
import { strings } from "../../strings/calls";
import { exportCalls, type Target, type Verb } from "./bulk";
import { BulkDialog } from "./BulkDialog";
import type { CallList } from "./list";
import type { Selection } from "./selection";

export function SelectionBar({ list, selection }: { list: CallList; selection: Selection }) {
  const s = strings.select;
  const denied = lacksOperate(); // the gateway says which of several are not one's own
  const asking = useSignal<{ verb: Verb; target: Target } | null>(null);
  const chosen = [...selection.ids.value];
  const everything = selection.everything.value;
  const target = (): Target => (everything ? { filters: list.filters } : { ids: chosen });
  const ask = (verb: Verb) => { asking.value = { verb, target: target() }; };
  const total = list.count.value;
  const all = total && count(total.count) + (total.capped ? "+" : "");
  const wholePage = list.rows.value.length > 0 && list.rows.value.every(({ id }) => selection.ids.value.has(id));
  const dialog = asking.value && (
    <BulkDialog
      {...asking.value}
      onClose={(done) => { asking.value = null; if (done) { selection.clear(); void list.reload(); } }}
    />
  );
  if (!selection.some.value) return dialog;
  return (
    <>
      <div class="selection-bar" role="region" aria-label={s.label}>
        <span class="selection-count">{everything ? (all ? s.all(all) : s.allUncounted) : s.chosen(count(chosen.length))}</span>
        {!everything && wholePage && list.hasMore.value && (
          <Button kind="ghost" small onClick={() => selection.choose()}>{all ? s.chooseAll(all) : s.chooseAllUncounted}</Button>
        )}
        <span class="selection-actions">
          {chosen.length === 2 && <ButtonLink small icon="compare" href={href("compare", pair(chosen))}>{s.compare}</ButtonLink>}
          <Button small icon="close" denied={denied} onClick={() => ask("cancel")}>{s.cancel}</Button>
          <Button small icon="retry" denied={denied} onClick={() => ask("replay")}>{s.retry}</Button>
          <Button small icon="replay" denied={denied} onClick={() => ask("replayTo")}>{s.replayTo}</Button>
          <Button small icon="download" onClick={() => void exportCalls(target()).catch(toastError)}>{s.export}</Button>
          <Button small icon="trash" kind="danger" denied={denied} disabled={everything} {...(everything ? { title: s.deleteOnly } : {})} onClick={() => ask("delete")}>{s.delete}</Button>
          <Button small kind="ghost" icon="close" label={s.clear} onClick={() => selection.clear()} />
        </span>
      </div>
      {dialog}
    </>
  );
}

/** The older of two calls stands left. */
export function pair(ids: readonly string[]): { a: string; b: string } {
  const [a = "", b = ""] = [...ids].sort();
  return { a, b };
}
