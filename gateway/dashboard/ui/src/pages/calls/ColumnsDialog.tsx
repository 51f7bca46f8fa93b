// Which columns are shown, in which order, and how high a row is.

import { Button } from "../../components/button";
import { Dialog } from "../../components/dialog";
import { strings } from "../../strings/calls";
import { density } from "../../theme";
import { chosen, COLUMNS, DEFAULT_COLUMNS, type ColumnKey } from "./columns";

export function ColumnsDialog({ onClose }: { onClose: () => void }) {
  const s = strings.table;
  const names = chosen.value.filter((key) => COLUMNS.has(key));
  const shown: readonly ColumnKey[] = names.length ? names : DEFAULT_COLUMNS;
  const order = [...shown, ...[...COLUMNS.keys()].filter((key) => !shown.includes(key))];
  const toggle = (key: ColumnKey) => {
    const next = shown.includes(key) ? shown.filter((each) => each !== key) : [...shown, key];
    if (next.length) chosen.value = [...next];
  };
  const move = (key: ColumnKey, by: number) => {
    const next = [...shown];
    const at = next.indexOf(key);
    next.splice(at, 1);
    next.splice(at + by, 0, key);
    chosen.value = next;
  };
  return (
    <Dialog open title={s.columnsTitle} onClose={onClose} actions={<Button onClick={() => { chosen.value = []; density.value = "compact"; }}>{s.reset}</Button>}>
      <fieldset class="density-choice">
        <legend>{s.density}</legend>
        {(["compact", "comfortable"] as const).map((each) => (
          <label key={each}><input type="radio" name="density" checked={density.value === each} onChange={() => { density.value = each; }} />{s[each]}</label>
        ))}
      </fieldset>
      <ul class="column-choice">
        {order.map((key) => {
          const at = shown.indexOf(key);
          const name = strings.columns[key];
          return (
            <li key={key}>
              <label><input type="checkbox" checked={at !== -1} disabled={at !== -1 && shown.length === 1} onChange={() => toggle(key)} />{name}</label>
              <Button small kind="ghost" icon="up" label={s.moveUp(name)} disabled={at <= 0} onClick={() => move(key, -1)} />
              <Button small kind="ghost" icon="down" label={s.moveDown(name)} disabled={at === -1 || at === shown.length - 1} onClick={() => move(key, 1)} />
            </li>
          );
        })}
      </ul>
    </Dialog>
  );
}
