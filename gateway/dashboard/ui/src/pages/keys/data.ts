// Keys as the API tells them, and what is made of that: their state, and how much of each limit is used.

import { remove, type List } from "../../api";
import { tick } from "../../clock";
import { confirm } from "../../components/dialog";
import { toast, toastError } from "../../components/toast";
import { openCalls } from "../../live";
import { SCOPES, type Scope } from "../../session";
import { strings as s } from "../../strings/keys";

export const LIMITS = ["max_in_flight", "max_queued", "requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_body_bytes"] as const;
export type Limit = (typeof LIMITS)[number];
export const BODIES = ["full", "metadata", "none"] as const;
export type Bodies = (typeof BODIES)[number];

export interface Key extends Record<Limit, number | null> {
  object: "key";
  id: string;
  name: string;
  scopes: Scope[];
  upstreams: string[];
  models: string[];
  bodies: Bodies;
  created_at: string;
  created_by: string;
  expires_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
  usage: { requests_last_minute: number; tokens_last_minute: number; tokens_today: number };
}

/** What making one answers: the secret is in it, this once. */
export type Made = Key & { key: string };

export type KeyList = List<Key>;
export type State = "active" | "expired" | "revoked";

export const stateOf = ({ revoked_at, expires_at }: Key): State =>
  revoked_at ? "revoked" : expires_at && Date.parse(expires_at) <= tick.value ? "expired" : "active";

/** How much of *limit* is used now; null where that is not told. */
export function used(key: Key, limit: Limit): number | null {
  switch (limit) {
    case "max_in_flight": return [...openCalls.value.values()].filter((call) => call.key === key.id && call.status === "running").length;
    case "requests_per_minute": return key.usage.requests_last_minute;
    case "tokens_per_minute": return key.usage.tokens_last_minute;
    case "tokens_per_day": return key.usage.tokens_today;
    case "max_queued": case "max_body_bytes": return null;
  }
}

const INCLUDES: Partial<Record<Scope, readonly Scope[]>> = { "read-all": ["read-own"], "operate-all": ["operate-own"], admin: SCOPES };

/** The scope among *chosen* that gives *scope* too. */
export const includedBy = (scope: Scope, chosen: readonly Scope[]): Scope | undefined =>
  chosen.find((each) => each !== scope && INCLUDES[each]?.includes(scope));

/** Only the scopes that no other one of them includes. */
export const widest = (scopes: readonly Scope[]): Scope[] => scopes.filter((scope) => !includedBy(scope, scopes));

/** Revoke *key* after asking; true once it is. */
export async function revoke(key: Key): Promise<boolean> {
  if (!(await confirm({ title: s.revoke.title(key.name), body: s.revoke.body, yes: s.revoke.yes, danger: true, typed: key.name }))) return false;
  try {
    await remove(`keys/${encodeURIComponent(key.id)}`);
    toast(s.revoke.done(key.name));
    return true;
  } catch (error) {
    toastError(error);
    return false;
  }
}
