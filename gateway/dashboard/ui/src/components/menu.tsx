import type { ComponentChildren } from "preact";
import { useId, useRef } from "preact/hooks";
import type { IconName } from "../icons";
import { Icon } from "../icons";
import { Button } from "./button";

export interface MenuItem {
  label: string;
  icon?: IconName;
  run?: () => void;
  href?: string;
  danger?: boolean;
  disabled?: boolean;
  /** Why it may not be chosen. */
  denied?: string | undefined;
}

/** A button that opens a list of actions: arrows move, Enter does it, Escape closes. */
export function Menu({ label, icon, children, items, kind = "plain" }: { label: string; icon?: IconName; children?: ComponentChildren; items: MenuItem[]; kind?: "plain" | "ghost" }) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLSpanElement>(null);
  const place = (event: ToggleEvent) => {
    const menu = list.current;
    if (event.newState !== "open" || !menu || !button.current) return;
    const { bottom, right, left } = button.current.getBoundingClientRect();
    menu.style.setProperty("top", `${bottom + 4}px`);
    if (right > innerWidth / 2) { menu.style.setProperty("left", "auto"); menu.style.setProperty("right", `${innerWidth - right}px`); }
    else { menu.style.setProperty("right", "auto"); menu.style.setProperty("left", `${left}px`); }
    menu.querySelector<HTMLElement>("[role=menuitem]:not(:disabled)")?.focus();
  };
  const move = (event: KeyboardEvent) => {
    const entries = [...(list.current?.querySelectorAll<HTMLElement>("[role=menuitem]:not(:disabled)") ?? [])];
    const at = entries.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 }[event.key];
    if (event.key === "Tab") list.current?.hidePopover();
    if (to === undefined) return;
    event.preventDefault();
    entries[(to + entries.length) % entries.length]?.focus();
  };
  return (
    <span class="menu-anchor" ref={button}>
      <Button kind={kind} {...(icon ? { icon } : {})} {...(children === undefined ? { label } : { "aria-label": label })} popovertarget={id} aria-haspopup="menu">{children}</Button>
      <div id={id} popover="auto" class="menu" role="menu" aria-label={label} ref={list} onToggle={place as never} onKeyDown={move}>
        {items.map((item) => {
          const inner = <>{item.icon && <Icon name={item.icon} />}<span>{item.label}</span></>;
          const close = () => list.current?.hidePopover();
          return item.href !== undefined
            ? <a key={item.label} role="menuitem" tabIndex={-1} href={item.href} onClick={close}>{inner}</a>
            : <button key={item.label} type="button" role="menuitem" tabIndex={-1} disabled={item.disabled} {...(item.denied ? { "aria-disabled": "true" as const, title: item.denied } : {})} class={item.danger ? "danger" : ""} onClick={() => { if (!item.denied) { close(); item.run?.(); } }}>{inner}</button>;
        })}
      </div>
    </span>
  );
}
