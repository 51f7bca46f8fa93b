// The theme a person chose: the system's, light or dark. theme-early.ts applies it before the first paint.

import { effect, signal } from "@preact/signals";
import { preference } from "./preferences";

export type Theme = "system" | "light" | "dark";

export const theme = preference<Theme>("theme", "system");
export const density = preference<"compact" | "comfortable">("density", "compact");

effect(() => {
  const root = document.documentElement;
  if (theme.value === "system") delete root.dataset["theme"];
  else root.dataset["theme"] = theme.value;
  root.dataset["density"] = density.value;
});

const systemQuery = matchMedia("(prefers-color-scheme: dark)");
/** What the system prefers now. */
export const systemDark = signal(systemQuery.matches);
systemQuery.addEventListener("change", (event) => { systemDark.value = event.matches; });

/** What is on the screen now, the system's choice resolved. */
export function isDark(): boolean {
  if (theme.value !== "system") return theme.value === "dark";
  return systemDark.value;
}

export function toggleTheme(): void {
  theme.value = isDark() ? "light" : "dark";
}
