import { signal } from "@preact/signals";
import { groups, singleKeys, type Shortcut } from "../keys";
import { t } from "../strings";
import { Dialog } from "./dialog";

export const helpOpen = signal(false);
export const paletteOpen = signal(false);

/** Every shortcut that works on this page. */
export function Help() {
  const s = t.shortcuts;
  return (
    <Dialog open={helpOpen.value} onClose={() => { helpOpen.value = false; }} title={s.title} wide>
      <div class="help">
        {groups.value.map(({ title, shortcuts }) => {
          const listed = shortcuts.filter((each): each is Shortcut & { label: string } => each.label !== undefined);
          return listed.length > 0 && (
            <section key={title}>
              <h3>{title}</h3>
              <dl>{listed.map(({ keys, label }) => <div key={keys}><dt>{label}</dt><dd><Keys keys={keys} /></dd></div>)}</dl>
            </section>
          );
        })}
      </div>
      <SingleKeys />
    </Dialog>
  );
}

export function SingleKeys() {
  return (
    <label class="check">
      <input type="checkbox" checked={singleKeys.value === "on"} onChange={(event) => { singleKeys.value = event.currentTarget.checked ? "on" : "off"; }} />
      <span>{t.shortcuts.off}</span>
    </label>
  );
}

const shown: Readonly<Record<string, string>> = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };

/** A shortcut as keys: "g o" is two, one after the other. */
export function Keys({ keys }: { keys: string }) {
  return (
    <span class="keys">
      {keys.split(" ").map((step, at) => (
        <>
          {at > 0 && <span class="visually-hidden">{t.shortcuts.then}</span>}
          {step.split("+").map((key) => <kbd key={key}>{shown[key] ?? (key === "k" && step.includes("+") ? "K" : key)}</kbd>)}
        </>
      ))}
    </span>
  );
}
