// Keyboard shortcuts: single keys and sequences ("g o"), never while somebody types.
//
// A page registers its own with useShortcuts; the help dialog lists what is registered at the moment.

import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { preference } from "./preferences";

export interface Shortcut {
  /** "j", "?", "Escape", "ArrowDown", "Ctrl+k", or a sequence: "g o" */
  keys: string;
  /** What it does, in words, for the help; one without is not listed. */
  label?: string;
  run: (event: KeyboardEvent) => void;
}

export interface ShortcutGroup {
  title: string;
  shortcuts: Shortcut[];
}

/** Single keys can be switched off (WCAG 2.1.4); Ctrl combinations stay. */
export const singleKeys = preference<"on" | "off">("single-keys", "on");
export const groups = signal<ShortcutGroup[]>([]);

let begun = ""; // the first key of a sequence
let begunAt = 0;

/** Make *shortcuts* work while the component is mounted. Later groups win. */
export function useShortcuts(title: string, shortcuts: Shortcut[]): void {
  const current = useRef(shortcuts);
  current.current = shortcuts;
  const shape = shortcuts.map(({ keys, label }) => `${keys}:${label ?? ""}`).join("|");
  useLayoutEffect(() => { // what is drawn can be used: a key pressed at once is heard
    const group: ShortcutGroup = {
      title,
      shortcuts: current.current.map((each, at) => ({ ...each, run: (event) => current.current[at]?.run(event) })),
    };
    groups.value = [...groups.value, group];
    return () => { groups.value = groups.value.filter((other) => other !== group); };
  }, [title, shape]);
}

export function startKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const combined = event.ctrlKey || event.metaKey;
    if (event.altKey) return;
    if (!combined && (isTyping(event.target) || singleKeys.value === "off")) return;
    if (!combined && document.querySelector("dialog[open]")) return;
    const pressed = combined ? `Ctrl+${event.key.toLowerCase()}` : event.key;
    const sequence = begun && event.timeStamp - begunAt < 1200 ? `${begun} ${pressed}` : "";
    begun = "";
    const found = (sequence && find(sequence)) || find(pressed);
    if (found) {
      event.preventDefault();
      found.run(event);
    } else if (!combined && all().some(({ keys }) => keys.startsWith(`${pressed} `))) {
      begun = pressed;
      begunAt = event.timeStamp;
    }
  });
}

const all = () => groups.value.flatMap((group) => group.shortcuts);
const find = (keys: string) => all().findLast((shortcut) => shortcut.keys === keys);

function isTyping(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  if (!element?.matches) return false;
  return element.isContentEditable || element.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=button], [type=range])");
}
