import type { Signal } from "@preact/signals";
import { Button } from "../../components/button";
import { Card } from "../../components/card";
import { helpOpen, SingleKeys } from "../../components/help";
import { timeZone } from "../../format";
import { strings } from "../../strings/settings";
import { density, theme } from "../../theme";

const s = strings.preferences;

export function Preferences() {
  return (
    <Card title={s.title}>
      <dl class="facts centred">
        <dt>{s.theme}</dt><dd><Choice label={s.theme} choices={s.themes} chosen={theme} /></dd>
        <dt>{s.density}</dt><dd><Choice label={s.density} choices={s.densities} chosen={density} /></dd>
        <dt>{s.timeZone}</dt><dd><Choice label={s.timeZone} choices={s.timeZones} chosen={timeZone} /></dd>
        <dt>{s.keyboard}</dt><dd class="row wrap"><SingleKeys /><Button small kind="ghost" icon="keyboard" onClick={() => { helpOpen.value = true; }}>{s.shortcuts}</Button></dd>
      </dl>
    </Card>
  );
}

function Choice<T extends string>({ label, choices, chosen }: { label: string; choices: Readonly<Record<T, string>>; chosen: Signal<T> }) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {(Object.entries(choices) as [T, string][]).map(([value, text]) => (
        <button key={value} type="button" aria-pressed={chosen.value === value} onClick={() => { chosen.value = value; }}>{text}</button>
      ))}
    </div>
  );
}
