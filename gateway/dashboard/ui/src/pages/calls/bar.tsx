// Where a call's time went, in 64 pixels: waiting in the queue, waiting for the first byte, answer.

import type { Call } from "../../api";
import { duration } from "../../format";
import { strings } from "../../strings/calls";

/** *ms* is how long it took, or takes so far; its root is drawn, so that short calls stay visible. */
export function Bar({ call, ms, longestMs }: { call: Call; ms: number; longestMs: number }) {
  const began = Date.parse(call.created_at);
  const firstByte = call.first_byte_at ? Date.parse(call.first_byte_at) - began : null;
  const queued = Math.min(ms, call.started_at === null && call.duration_ms === null ? ms : (call.queued_ms ?? 0));
  const streamed = firstByte === null ? 0 : Math.max(0, ms - Math.max(queued, firstByte));
  const waited = Math.max(0, ms - queued - streamed);
  const title = [
    [strings.bar.queued, queued], [strings.bar.waited, waited], [strings.bar.streamed, streamed],
  ].map(([name, part]) => `${name} ${duration(part as number)}`).join(" · ");
  const share = (part: number) => `${ms > 0 ? (part / ms) * 100 : 0}%`;
  return (
    <span class="minibar" role="img" aria-label={title} title={title}>
      <span style={{ width: `${Math.max(6, 100 * Math.sqrt(Math.min(1, ms / Math.max(1, longestMs))))}%` }}>
        <i class="minibar-queue" style={{ width: share(queued) }} />
        <i class="minibar-wait" style={{ width: share(waited) }} />
        <i class="minibar-stream" style={{ width: share(streamed) }} />
      </span>
    </span>
  );
}
