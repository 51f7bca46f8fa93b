// What of a call the list can be filtered by: the keyboard's way to what the funnels in a row do.

import { Button } from "../../components/button";
import { Dialog } from "../../components/dialog";
import { strings } from "../../strings/calls";
import { term } from "./terms";

interface Props {
  found: readonly { field: string; value: string }[];
  onFilter: (field: string, value: string, negated: boolean) => void;
  onClose: () => void;
}

export function FilterDialog({ found, onFilter, onClose }: Props) {
  const s = strings.table;
  const choose = (field: string, value: string, negated: boolean) => { onClose(); onFilter(field, value, negated); };
  return (
    <Dialog open title={strings.shortcuts.filter} onClose={onClose}>
      <ul class="filter-choice">
        {found.map(({ field, value }) => (
          <li key={field}>
            <span class="mono truncate" title={term(field, value)}>{term(field, value)}</span>
            <Button small icon="filter" aria-label={s.onlyThis(term(field, value))} onClick={() => choose(field, value, false)}>{strings.query.only}</Button>
            <Button small aria-label={s.notThis(term(field, value))} onClick={() => choose(field, value, true)}>{strings.query.not}</Button>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
