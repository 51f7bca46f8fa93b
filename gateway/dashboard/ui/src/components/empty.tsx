import type { ComponentChildren } from "preact";
import type { ApiError } from "../api";
import { Icon, type IconName } from "../icons";
import { t } from "../strings";
import { Button } from "./button";

/** What stands where there is nothing: it says why, and what to do about it. */
export function Empty({ icon = "info", title, children, actions }: { icon?: IconName; title: string; children?: ComponentChildren; actions?: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={icon} size={22} />
      <h2>{title}</h2>
      {children && <div class="empty-body">{children}</div>}
      {actions && <div class="empty-actions">{actions}</div>}
    </div>
  );
}

/** What stands where loading failed. */
export function Failed({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <Empty icon="warning" title={t.empty.failed} actions={retry && <Button icon="retry" onClick={retry}>{t.actions.tryAgain}</Button>}>
      <p>{error.message}</p>
      {error.hint && <p>{error.hint}</p>}
    </Empty>
  );
}

/** Quiet bars where something is about to appear; only after 100 ms, so that quick answers never flash. */
export function Loading({ rows = 3 }: { rows?: number }) {
  return (
    <div class="loading" role="status">
      <span class="visually-hidden">{t.empty.loading}</span>
      {Array.from({ length: rows }, (_, at) => <div key={at} class="loading-row" />)}
    </div>
  );
}
