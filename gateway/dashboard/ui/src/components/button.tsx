import type { ButtonHTMLAttributes, ComponentChildren } from "preact";
import { Icon, type IconName } from "../icons";

interface Look {
  kind?: "plain" | "primary" | "danger" | "ghost";
  icon?: IconName | undefined;
  small?: boolean;
  /** Icon alone: what it says to those who do not see it, and its tooltip. */
  label?: string;
  /** Why it may not be pressed now; it stays reachable, so that everybody can learn why. */
  denied?: string | undefined;
  children?: ComponentChildren;
  class?: string;
}

const refuse = (event: Event) => { event.preventDefault(); event.stopPropagation(); };

const classes = ({ kind = "plain", small, children, class: more }: Look) =>
  ["button", kind, small && "small", children === undefined && "icon-only", more].filter(Boolean).join(" ");

/** A button. One that only shows an icon needs a *label*. */
export function Button({ kind, icon, small, label, denied, children, class: more, ...rest }: Look & Omit<ButtonHTMLAttributes<HTMLButtonElement>, "label" | "icon" | "class" | "children">) {
  return (
    <button type="button" class={classes({ kind, small, children, class: more } as Look)} {...(label ? { "aria-label": label, title: label } : {})} {...rest} {...(denied ? { "aria-disabled": "true" as const, disabled: false, title: denied, onClick: refuse } : {})}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A link that looks like a button; `href` is relative to the dashboard. */
export function ButtonLink({ kind, icon, small, label, children, class: more, ...rest }: Look & { href: string; download?: string | boolean; target?: string; title?: string }) {
  return (
    <a class={classes({ kind, small, children, class: more } as Look)} {...(label ? { "aria-label": label, title: label } : {})} {...rest}>
      {icon && <Icon name={icon} />}
      {children}
    </a>
  );
}
