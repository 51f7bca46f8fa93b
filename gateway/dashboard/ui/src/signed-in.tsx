// What the frame says about who looks: their key and what it may, the way out, and what it may not.

import { ButtonLink, Button } from "./components/button";
import { Empty } from "./components/empty";
import { Page } from "./components/page";
import { toastError } from "./components/toast";
import { Icon } from "./icons";
import { href } from "./router";
import { may, session, signOut, type Scope } from "./session";
import { t } from "./strings";

const s = t.session;

/** Whose session it is; nothing where nobody has to say who they are. */
export function User() {
  const who = session.value;
  if (!who || (!who.required && !who.key && !who.by_session)) return null;
  const name = who.key?.name ?? s.host;
  return (
    <>
      <Button kind="ghost" class="user-button" popovertarget="user" aria-label={s.menu(name)} title={s.menu(name)}><Icon name="user" /><span class="truncate">{name}</span></Button>
      <div id="user" popover="auto" class="menu user-card" role="region" aria-label={s.menu(name)}>
        <dl class="facts">
          <dt>{s.key}</dt><dd>{name}{who.key && <code class="muted">gw_{who.key.id}…</code>}</dd>
          <dt>{s.scopes}</dt><dd><Scopes of={who.scopes} /></dd>
        </dl>
        {who.by_session && <Button icon="leave" onClick={() => void signOut().catch(toastError)}>{s.signOut}</Button>}
      </div>
    </>
  );
}

/** Scopes in words, those left out that a wider one includes. */
function Scopes({ of }: { of: Scope[] }) {
  const has = (scope: Scope) => of.includes(scope);
  const told = has("admin") ? (["admin"] as Scope[]) : of.filter((scope) => !(scope.endsWith("-own") && has(scope.replace("-own", "-all") as Scope)));
  return <ul>{told.map((scope) => <li key={scope}>{s.describe[scope]}</li>)}</ul>;
}

/** Stands in place of a page that would show nothing but refusals. */
export function Denied({ page, needs }: { page: string; needs: Scope }) {
  return (
    <Page title={page}>
      <div class="card">
        <Empty icon="keys" title={s.denied.title} actions={may("read-own") && <ButtonLink href={href("calls")} icon="calls">{s.denied.ownCalls}</ButtonLink>}>
          <p>{s.denied.body(needs)}</p>
        </Empty>
      </div>
    </Page>
  );
}

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/;

/** Says so where everybody who reaches the gateway may do everything, and others than this machine do. */
export function OpenToAll() {
  const who = session.value;
  if (!who || who.required || LOOPBACK.test(location.hostname)) return null;
  return <div class="notice warn open-to-all" role="status"><Icon name="warning" /><span>{s.open}</span><a href={href("keys")}>{s.openAction}</a></div>;
}
