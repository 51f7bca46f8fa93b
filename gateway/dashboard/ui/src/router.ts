// Where we are: the page, its query and its fragment, as signals over the History API.
//
// Everything that selects data is in the URL, so Back works and a link can be sent. Addresses are
// relative to the <base> that the server wrote: "calls?status=failed", "calls/call_01…#raw", "" for the
// overview. Links are plain <a href>; clicks on them are taken over here.

import { batch, computed, signal } from "@preact/signals";

const base = new URL(document.baseURI);

const path = signal("");
const search = signal("");
const fragment = signal("");

/** The parts of the path below the base, decoded: ["calls", "call_01…"]. */
export const segments = computed(() =>
  path.value.split("/").filter(Boolean).map((part) => safeDecode(part)),
);
export const query = computed(() => new URLSearchParams(search.value));
export const hash = computed(() => safeDecode(fragment.value.replace(/^#/, "")));
/** Changes with every move to another page, not with the query: what focus and scroll go by. */
export const pagePath = computed(() => path.value);

function read(): void {
  const here = new URL(location.href);
  batch(() => {
    path.value = here.pathname.startsWith(base.pathname) ? here.pathname.slice(base.pathname.length) : "";
    search.value = here.search;
    fragment.value = here.hash;
  });
}

/** Go to *address*, relative to the base. `replace`: the step cannot be taken back. */
export function navigate(address: string, { replace = false, keepScroll = false } = {}): void {
  const target = new URL(address, base);
  const samePage = target.pathname === location.pathname;
  if (target.href === location.href) return;
  history[replace ? "replaceState" : "pushState"](null, "", target);
  read();
  if (!samePage && !keepScroll) window.scrollTo(0, 0);
}

export type Params = Record<string, string | number | null | undefined>;

/** Change some parameters of the page we are on; null or "" removes one. */
export function setQuery(changes: Params, options: { replace?: boolean } = {}): void {
  navigate(withQuery(changes), { ...options, keepScroll: true });
}

/** The address of this page with some parameters changed, for an href. */
export function withQuery(changes: Params): string {
  const next = new URLSearchParams(search.value);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") next.delete(name);
    else next.set(name, String(value));
  }
  const text = next.toString();
  return path.value + (text ? `?${text}` : "") + fragment.value;
}

export function setHash(value: string, { replace = true } = {}): void {
  navigate(path.value + search.value + (value ? `#${encodeURIComponent(value)}` : ""), { replace, keepScroll: true });
}

/** An address from parts: href("calls", {status: "failed"}), href(["calls", id]). */
export function href(to: string | string[], params: Params = {}): string {
  const where = typeof to === "string" ? to : to.map(encodeURIComponent).join("/");
  const text = new URLSearchParams(
    Object.entries(params).flatMap(([name, value]) =>
      value === null || value === undefined || value === "" ? [] : [[name, String(value)]],
    ),
  ).toString();
  return (where || "./") + (text ? `?${text}` : "");
}

export function startRouter(): void {
  read();
  addEventListener("popstate", read);
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.("a[href]") as HTMLAnchorElement | null;
    if (!link || link.target || link.hasAttribute("download")) return;
    const target = new URL(link.href);
    if (target.origin !== location.origin || !target.pathname.startsWith(base.pathname)) return;
    if (target.pathname.startsWith(`${base.pathname}a/`)) return; // an asset, not a page
    event.preventDefault();
    navigate(target.href);
  });
}

function safeDecode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
