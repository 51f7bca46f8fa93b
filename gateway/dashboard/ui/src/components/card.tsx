import type { ComponentChildren } from "preact";

/** A titled section in a frame. *actions* stand at the right of the title. */
export function Card({ title, actions, children, class: more, flush }: { title?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren; class?: string; flush?: boolean }) {
  return (
    <section class={["card", flush && "flush", more].filter(Boolean).join(" ")}>
      {(title || actions) && (
        <header class="card-head">
          {title && <h2>{title}</h2>}
          {actions && <div class="card-actions">{actions}</div>}
        </header>
      )}
      <div class="card-body">{children}</div>
    </section>
  );
}

/** One number with its name, linked to what it counts. */
export function Metric({ label, value, unit, note, href, tone, title }: { label: string; value: ComponentChildren; unit?: string | undefined; note?: ComponentChildren; href?: string | undefined; tone?: "bad" | "warn" | undefined; title?: string | undefined }) {
  const content = (
    <>
      <span class="metric-label">{label}</span>
      <span class="metric-value">{value}{unit && <small> {unit}</small>}</span>
      <span class="metric-note">{note ?? " "}</span>
    </>
  );
  const classes = ["metric", tone].filter(Boolean).join(" ");
  return href === undefined ? <div class={classes} title={title}>{content}</div> : <a class={classes} href={href} title={title}>{content}</a>;
}
