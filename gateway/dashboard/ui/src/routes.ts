// Which page stands at which address. Every page is a file of its own, loaded when it is first opened.

import type { ComponentType } from "preact";
import type { Scope } from "./session";

type PageModule = { default: ComponentType };

let styled: Promise<void> | undefined;

/** Load the styles of all pages but the overview, once. */
function styles(): Promise<void> {
  return (styled ??= new Promise((resolve, reject) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("pages.css", import.meta.url).href;
    link.onload = () => resolve();
    link.onerror = () => { styled = undefined; reject(new Error(link.href)); };
    document.head.append(link);
  }));
}

async function withStyles(page: Promise<PageModule>): Promise<PageModule> {
  await styles();
  return page;
}

export interface Route {
  name: string;
  /** Without it the page would only show refusals. */
  needs?: Scope;
  load: () => Promise<PageModule>;
}

/** The page at a path, given in parts; null where none is. */
export function route([first, second, third]: string[]): Route | null {
  if (third !== undefined) return null;
  if (second === undefined) {
    switch (first) {
      case undefined: return { name: "overview", needs: "read-all", load: () => import("./pages/overview") };
      case "calls": return { name: "calls", needs: "read-own", load: () => withStyles(import("./pages/calls")) };
      case "compare": return { name: "compare", needs: "read-own", load: () => withStyles(import("./pages/compare")) };
      case "upstreams": return { name: "upstreams", needs: "read-all", load: () => withStyles(import("./pages/upstreams")) };
      case "keys": return { name: "keys", needs: "admin", load: () => withStyles(import("./pages/keys")) };
      case "settings": return { name: "settings", load: () => withStyles(import("./pages/settings")) };
      default: return null;
    }
  }
  switch (first) {
    case "calls": return { name: "call", needs: "read-own", load: () => withStyles(import("./pages/call")) };
    case "upstreams": return { name: "upstreams", needs: "read-all", load: () => withStyles(import("./pages/upstreams")) };
    case "keys": return { name: "keys", needs: "admin", load: () => withStyles(import("./pages/keys")) };
    default: return null;
  }
}
