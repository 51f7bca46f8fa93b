import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { t } from "../strings";

/** In front of the title of the window: "(3 failed) Calls - gateway". */
export const titlePrefix = signal("");
const pageTitle = signal("");

export function useTitle(title: string): void {
  useEffect(() => { pageTitle.value = title; }, [title]);
  useEffect(() => { document.title = `${titlePrefix.value ? `(${titlePrefix.value}) ` : ""}${title} - ${t.product}`; }, [title, titlePrefix.value]);
}

/** A page: its heading, what can be done with it, and its content. */
export function Page({ title, heading, subtitle, actions, children, class: more }: { title: string; heading?: ComponentChildren; subtitle?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren; class?: string }) {
  useTitle(title);
  return (
    <div class={["page", more].filter(Boolean).join(" ")}>
      <header class="page-head">
        <div class="page-title">
          <h1>{heading ?? title}</h1>
          {subtitle && <p class="page-subtitle">{subtitle}</p>}
        </div>
        {actions && <div class="page-actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}
