// The time as the gateway has it, ticking once a second while somebody looks.

import { signal } from "@preact/signals";

let offsetMs = 0; // gateway's clock minus ours

/** The gateway's time now, in ms since the epoch. */
export const serverNow = (): number => Date.now() + offsetMs;

/** serverNow(), renewed every second in a visible tab: reading it makes a component tick. */
export const tick = signal(Date.now());

/** Set our clock by a time that the gateway told a moment ago. */
export function setClock(at: string): void {
  const told = Date.parse(at);
  if (Number.isNaN(told)) return;
  const offset = told - Date.now();
  if (Math.abs(offset - offsetMs) > 250) offsetMs = offset; // less is the network's, and would jitter
}

export function startClock(): void {
  const beat = () => { if (!document.hidden) tick.value = serverNow(); };
  setInterval(beat, 1000);
  document.addEventListener("visibilitychange", beat);
  beat();
}
