// Asks the worker that compares; the newest question is the one that counts.

import { startWorker } from "../../trusted";
import type { Answered, Asked, PathDiff, TextDiff } from "../../diff.worker";

const PATIENCE_MS = 9000; // the worker's own limits end sooner; this one holds when it is stuck

let worker: Worker | null = null;
let nextId = 1;
const waiting = new Map<number, (answer: Answered | null) => void>();

function started(): Worker {
  if (worker) return worker;
  worker = startWorker("diff");
  worker.onmessage = ({ data }: MessageEvent<Answered>) => {
    waiting.get(data.id)?.(data);
    waiting.delete(data.id);
  };
  worker.onerror = stop;
  return worker;
}

/** Have the worker ready by the time there is something to compare. */
export function warmUp(): void {
  started();
}

/** Give up on all that was asked; the next question starts a new worker. */
export function stop(): void {
  worker?.terminate();
  worker = null;
  for (const resolve of waiting.values()) resolve(null);
  waiting.clear();
}

function ask(kind: Asked["kind"], a: string, b: string): Promise<Answered | null> {
  const id = nextId++;
  return new Promise((resolve) => {
    const timer = setTimeout(stop, PATIENCE_MS);
    waiting.set(id, (answer) => { clearTimeout(timer); resolve(answer); });
    started().postMessage({ id, kind, a, b } satisfies Asked);
  });
}

/** null: too different to be compared in time. */
export const compareTexts = async (a: string, b: string): Promise<TextDiff | null> => (await ask("text", a, b))?.text ?? null;
/** null: one of them is no JSON. */
export const comparePaths = async (a: string, b: string): Promise<PathDiff | null> => (await ask("json", a, b))?.json ?? null;
