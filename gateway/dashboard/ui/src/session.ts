// Who looks at this dashboard, and what they may: asked before any page is drawn.
//
// The gateway decides; this only keeps us from offering, or asking for, what it would refuse.

import { batch, signal } from "@preact/signals";
import { get, onSignedOut, remove, type Call } from "./api";
import { t } from "./strings";

export const SCOPES = ["relay", "read-own", "operate-own", "read-all", "operate-all", "admin"] as const;
export type Scope = (typeof SCOPES)[number];

/** `GET /-/session` */
export interface Session {
  object: "session";
  /** Whether a key is. */
  required: boolean;
  actor: string;
  /** Signed in by the form, not by a header that something in front adds. */
  by_session: boolean;
  key: { id: string; name: string } | null;
  /** All of them, those that another one includes too. */
  scopes: Scope[];
}

/** Null where the gateway did not say: then everything is offered, and the gateway refuses. */
export const session = signal<Session | null>(null);
/** Whether it was asked: before that no page asks for anything. */
export const sessionKnown = signal(false);

export async function startSession(): Promise<void> {
  onSignedOut(toLogin);
  const told = await get<Session>("session").catch(() => null);
  batch(() => {
    session.value = told;
    sessionKnown.value = true;
  });
}

export const may = (scope: Scope): boolean => session.value?.scopes.includes(scope) ?? true;

/** Why something that needs *scope* cannot be done; undefined: it can. */
export const lacks = (scope: Scope): string | undefined => (may(scope) ? undefined : t.session.lacks(scope));

/** Why *call* cannot be cancelled, replayed or deleted; undefined: it can. Without a call: any. */
export function lacksOperate(call?: Pick<Call, "key">): string | undefined {
  if (may("operate-all")) return undefined;
  const own = call === undefined || (call.key !== null && call.key === session.value?.key?.id);
  return own ? lacks("operate-own") : lacks("operate-all");
}

/** To the form, and after it back to where we are. */
function toLogin(): void {
  const base = new URL(document.baseURI);
  const login = new URL("login", base);
  const here = location.href.startsWith(base.href) ? location.href.slice(base.href.length) : "";
  if (here) login.searchParams.set("next", here);
  location.replace(login);
}

export async function signOut(): Promise<void> {
  await remove("session");
  location.assign(new URL("login", document.baseURI));
}
