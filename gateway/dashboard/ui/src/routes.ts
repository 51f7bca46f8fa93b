// Which page stands at which address. Every page is a file of its own, loaded when it is first opened.

import type { ComponentType } from "preact";

type PageModule = { default: ComponentType };

export interface Route {
  name: string;
  load: () => Promise<PageModule>;
}

/** The page at a path, given in parts; null where none is. */
export function route([first, second, third]: string[]): Route | null {
  if (third !== undefined) return null;
  if (second === undefined) {
    switch (first) {
      case undefined: return { name: "overview", load: () => import("./pages/overview") };
      case "calls": return { name: "calls", load: () => import("./pages/calls") };
      case "compare": return { name: "compare", load: () => import("./pages/compare") };
      case "upstreams": return { name: "upstreams", load: () => import("./pages/upstreams") };
      case "keys": return { name: "keys", load: () => import("./pages/keys") };
      case "settings": return { name: "settings", load: () => import("./pages/settings") };
      default: return null;
    }
  }
  switch (first) {
    case "calls": return { name: "call", load: () => import("./pages/call") };
    case "upstreams": return { name: "upstreams", load: () => import("./pages/upstreams") };
    case "keys": return { name: "keys", load: () => import("./pages/keys") };
    default: return null;
  }
}
