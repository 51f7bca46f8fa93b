import type { Call, Status } from "../api";
import { Icon } from "../icons";
import { t } from "../strings";

/** A call's status: icon, word and colour, never colour alone. */
export function State({ status, detail }: { status: Status; detail?: string | null }) {
  return (
    <span class={`state ${status}`}>
      <Icon name={status} size={14} />
      <span>{t.status[status]}</span>
      {detail && <span class="state-detail">{detail}</span>}
    </span>
  );
}

/** Beside the status: why it waits, how far it is, or what went wrong; null when there is nothing to add. */
export function phase(call: Pick<Call, "status" | "wait_reason" | "first_byte_at" | "error" | "response">): string | null {
  switch (call.status) {
    case "queued":
      return call.wait_reason ? t.wait[call.wait_reason] : null;
    case "running":
      return call.first_byte_at ? t.phase.streaming : t.phase.waiting;
    case "failed":
    case "expired":
      if (call.error?.code === "upstream_error" && call.response) return `HTTP ${call.response.status}`;
      return call.error ? (t.errors[call.error.code] ?? call.error.code) : null;
    default:
      return null;
  }
}

/** State and phase of a call together. */
export function CallState({ call }: { call: Pick<Call, "status" | "wait_reason" | "first_byte_at" | "error" | "response"> }) {
  return <State status={call.status} detail={phase(call)} />;
}
