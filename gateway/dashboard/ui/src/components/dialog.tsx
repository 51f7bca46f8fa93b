import { signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { t } from "../strings";
import { Button } from "./button";

interface Props {
  open: boolean;
  onClose: () => void;
  title: string;
  children: ComponentChildren;
  actions?: ComponentChildren;
  wide?: boolean;
}

/** A modal dialog: focus stays inside, Escape and a click beside it close it, focus returns after. */
export function Dialog({ open, onClose, title, children, actions, wide }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const dialog = element.current;
    if (open && dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, [open]);
  if (!open) return null;
  return (
    <dialog
      ref={element} class={wide ? "dialog wide" : "dialog"} aria-labelledby={titleId}
      onCancel={(event) => { event.preventDefault(); onClose(); }}
      onMouseDown={(event) => { if (event.target === event.currentTarget) onClose(); }}
    >
      <div class="dialog-frame">
        <header class="dialog-head">
          <h2 id={titleId}>{title}</h2>
          <Button kind="ghost" icon="close" label={t.actions.close} onClick={onClose} />
        </header>
        <div class="dialog-body">{children}</div>
        {actions && <footer class="dialog-actions">{actions}</footer>}
      </div>
    </dialog>
  );
}

interface Question {
  title: string;
  body?: ComponentChildren;
  /** What the button that does it says. */
  yes: string;
  danger?: boolean;
  /** Must be typed before the button works: for what concerns many. */
  typed?: string;
}

const asked = signal<(Question & { answer: (yes: boolean) => void }) | null>(null);

/** Ask before something that cannot be taken back: `if (await confirm({…})) …` */
export function confirm(question: Question): Promise<boolean> {
  return new Promise((resolve) => {
    asked.value?.answer(false);
    asked.value = { ...question, answer: (yes) => { asked.value = null; resolve(yes); } };
  });
}

/** Where questions appear; stands once, in the frame. */
export function Confirmations() {
  const question = asked.value;
  return question && <Ask key={question.title} {...question} />;
}

function Ask({ title, body, yes, danger, typed, answer }: NonNullable<typeof asked.value>) {
  const text = useSignal("");
  const ready = !typed || text.value.trim() === typed;
  return (
    <Dialog
      open title={title} onClose={() => answer(false)}
      actions={
        <>
          <Button onClick={() => answer(false)}>{t.actions.close}</Button>
          <Button kind={danger ? "danger" : "primary"} disabled={!ready} onClick={() => answer(true)}>{yes}</Button>
        </>
      }
    >
      {body}
      {typed && (
        <label class="field">
          <span>{t.actions.typeToConfirm(typed)}</span>
          <input type="text" autocomplete="off" value={text.value} onInput={(event) => { text.value = event.currentTarget.value; }} />
        </label>
      )}
    </Dialog>
  );
}
