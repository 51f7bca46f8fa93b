import { signal } from "@preact/signals";
import { ApiError } from "../api";
import { Icon } from "../icons";
import { t } from "../strings";
import { Button } from "./button";

interface Toast {
  id: number;
  text: string;
  kind: "done" | "bad";
  action?: { label: string; run: () => void };
}

const shown = signal<Toast[]>([]);
let nextId = 1;

/** Say *text* for some seconds; errors stay until they are closed. */
export function toast(text: string, { kind = "done", action }: Partial<Pick<Toast, "kind" | "action">> = {}): void {
  const id = nextId++;
  shown.value = [...shown.value.slice(-3), { id, text, kind, ...(action ? { action } : {}) }];
  if (kind === "done") setTimeout(() => close(id), action ? 10_000 : 5000);
}

/** Say what went wrong. */
export function toastError(error: unknown): void {
  toast(error instanceof ApiError || error instanceof Error ? error.message : String(error), { kind: "bad" });
}

function close(id: number): void {
  shown.value = shown.value.filter((each) => each.id !== id);
}

/** Where they appear; stands once, in the frame. */
export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.value.map((each) => (
        <div key={each.id} class={`toast ${each.kind}`}>
          <Icon name={each.kind === "bad" ? "warning" : "check"} />
          <span>{each.text}</span>
          {each.action && <Button small kind="ghost" onClick={() => { each.action?.run(); close(each.id); }}>{each.action.label}</Button>}
          <Button small kind="ghost" icon="close" label={t.actions.close} onClick={() => close(each.id)} />
        </div>
      ))}
    </div>
  );
}
