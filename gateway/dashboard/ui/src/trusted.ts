// Trusted Types: the one policy there is, and it lets one kind of value through, a worker of our own.
//
// The content security policy names "gw-worker" and no other, so nothing else in the dashboard can turn a
// string into something that runs.

interface Policy {
  createScriptURL(name: string): unknown;
}
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): Policy;
}

const WORKERS = ["diff"];

function workerUrl(name: string): string {
  if (!WORKERS.includes(name)) throw new TypeError(`no worker is called ${name}`);
  return new URL(`${name}.js`, import.meta.url).href;
}

let policy: Policy | undefined;

/** Start the worker of src/<name>.worker.ts. */
export function startWorker(name: string): Worker {
  const types = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  policy ??= types?.createPolicy("gw-worker", { createScriptURL: workerUrl });
  return new Worker((policy?.createScriptURL(name) ?? workerUrl(name)) as URL, { type: "module" });
}
