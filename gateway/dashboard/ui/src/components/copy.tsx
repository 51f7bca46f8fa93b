import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { t } from "../strings";
import { Button } from "./button";
import { toast } from "./toast";

/** Put *text* on the clipboard; over plain HTTP browsers give only the old way. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Copies *text* (or what the function returns) and says so. */
export function CopyButton({ text, label = t.actions.copy, children, small = true, kind = "ghost" }: { text: string | (() => string | Promise<string>); label?: string; children?: ComponentChildren; small?: boolean; kind?: "ghost" | "plain" }) {
  const done = useSignal(false);
  const copy = async () => {
    if (await copyText(typeof text === "string" ? text : await text())) {
      done.value = true;
      setTimeout(() => { done.value = false; }, 1500);
    } else {
      toast(t.actions.copyFailed, { kind: "bad" });
    }
  };
  return (
    <Button kind={kind} small={small} icon={done.value ? "check" : "copy"} label={done.value ? t.actions.copied : label} onClick={() => void copy()}>
      {children}
    </Button>
  );
}

/** Code in a frame, with a button that copies it. */
export function CodeBlock({ text, label }: { text: string; label: string }) {
  return (
    <div class="code-block">
      <pre tabIndex={0} aria-label={label}><code>{text}</code></pre>
      <CopyButton text={text} />
    </div>
  );
}
