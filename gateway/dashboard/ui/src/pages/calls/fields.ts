// What `field:` can be in a query, and what may stand behind it.

import type { Status } from "../../api";
import { strings } from "../../strings/calls";

export interface Field {
  name: keyof typeof strings.fields;
  /** What can be chosen; the page adds what it has seen. */
  values?: readonly string[];
}

const statuses: readonly Status[] = ["queued", "running", "succeeded", "failed", "cancelled", "expired"];

export const FIELDS: readonly Field[] = [
  { name: "status", values: statuses },
  { name: "upstream" },
  { name: "model" },
  { name: "key" },
  { name: "tag" },
  { name: "http", values: ["5xx", "4xx", "429", "200", ">=400"] },
  { name: "error", values: ["upstream_error", "upstream_unreachable", "upstream_broken", "interrupted", "queue_timeout", "connect_timeout", "first_byte_timeout", "idle_timeout", "total_timeout", "deadline_exceeded"] },
  { name: "attempts", values: [">1", "1", ">=3"] },
  { name: "dur", values: [">1s", ">10s", ">1m", "<500ms"] },
  { name: "queue", values: [">1s", ">10s", ">1m"] },
  { name: "ttfb", values: [">1s", ">3s", ">10s"] },
  { name: "tokens", values: [">1000", ">10000"] },
  { name: "size", values: [">100kb", ">1mb", ">10mb"] },
  { name: "stream", values: ["true", "false"] },
  { name: "path" },
  { name: "method", values: ["POST", "GET", "DELETE"] },
  { name: "priority", values: ["<5", "5", ">5"] },
  { name: "idempotency" },
  { name: "fairness" },
  { name: "replay_of" },
  { name: "id" },
];

export interface View {
  name: keyof typeof strings.views;
  q: string;
}

/** Questions that are asked again and again. */
export const VIEWS: readonly View[] = [
  { name: "all", q: "" },
  { name: "running", q: "status:queued,running" },
  { name: "failed", q: "status:failed,expired" },
  { name: "slow", q: "dur:>10s" },
  { name: "limited", q: "http:429" },
  { name: "retried", q: "attempts:>1" },
];
