// How to ask: examples first, then every field.

import { Dialog } from "../../components/dialog";
import { strings } from "../../strings/calls";
import { FIELDS } from "./fields";
import { show } from "./where";

export function SyntaxHelp({ onClose }: { onClose: () => void }) {
  const s = strings.syntax;
  return (
    <Dialog open wide title={s.title} onClose={onClose}>
      <dl class="syntax">
        {s.rows.map(([example, means]) => (
          <div key={example}>
            <dt><button type="button" class="mono" onClick={() => { onClose(); show({ q: example }); }}>{example}</button></dt>
            <dd>{means}</dd>
          </div>
        ))}
      </dl>
      <h3>{s.fields}</h3>
      <dl class="syntax">
        {FIELDS.map(({ name }) => <div key={name}><dt class="mono">{name}:</dt><dd>{strings.fields[name]}</dd></div>)}
      </dl>
    </Dialog>
  );
}
