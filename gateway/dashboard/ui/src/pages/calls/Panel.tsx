// A call beside the list. It is the same component as on the call's own page.

import { useEffect, useRef } from "preact/hooks";
import { Button, ButtonLink } from "../../components/button";
import { href } from "../../router";
import { strings } from "../../strings/calls";
import { CallDetail } from "../call/Detail";

interface Props {
  id: string;
  onClose: () => void;
  /** Walk the list; null at its ends. */
  onStep: (by: number) => void;
}

export function CallPanel({ id, onClose, onStep }: Props) {
  const s = strings.panel;
  const element = useRef<HTMLElement>(null);
  useEffect(() => { element.current?.querySelector(".side-panel-body")?.scrollTo(0, 0); }, [id]);
  return (
    <aside class="side-panel" ref={element} aria-label={s.label}>
      <header class="side-panel-head">
        <Button small kind="ghost" icon="up" label={s.previous} onClick={() => onStep(-1)} />
        <Button small kind="ghost" icon="down" label={s.next} onClick={() => onStep(1)} />
        <span class="grow" />
        <ButtonLink small kind="ghost" icon="external" href={href(["calls", id])}>{s.page}</ButtonLink>
        <Button small kind="ghost" icon="close" label={s.close} onClick={onClose} />
      </header>
      <div class="side-panel-body" tabIndex={0}><CallDetail key={id} id={id} panel /></div>
    </aside>
  );
}
