// What a person likes, kept in this browser: never what is shown, which is always in the URL.

import { effect, signal, type Signal } from "@preact/signals";

/** A signal that survives a reload. Values are stored as they are when strings, else as JSON. */
export function preference<T>(name: string, fallback: T): Signal<T> {
  const key = `gateway.${name}`;
  const kept = signal(read(key, fallback));
  effect(() => {
    const value = kept.value;
    if (value === fallback) localStorage.removeItem(key);
    else localStorage.setItem(key, typeof value === "string" ? value : JSON.stringify(value));
  });
  return kept;
}

function read<T>(key: string, fallback: T): T {
  const stored = localStorage.getItem(key);
  if (stored === null) return fallback;
  if (typeof fallback === "string") return stored as T;
  try {
    return JSON.parse(stored) as T;
  } catch {
    return fallback;
  }
}
