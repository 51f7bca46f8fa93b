// Both messages as they went over the wire: start line, headers, body, nothing laid out.

import type { Attempt, Call } from "../../api";
import { strings as t } from "../../strings/call";
import { BodyView, type Source } from "./BodyView";

export function Raw({ call, attempt, request, response }: { call: Call; attempt: Attempt | null; request: Source; response: Source | null }) {
  const target = `${call.path}${call.query ? `?${call.query}` : ""}`;
  return (
    <div class="stack raw">
      <section><h3>{t.raw.request}</h3><pre class="head" tabIndex={0} role="region" aria-label={t.raw.requestHead}>{message(`${call.method} ${target} HTTP/1.1`, call.request.headers)}</pre><BodyView source={request} asIs /></section>
      <section>
        <h3>{t.raw.response}</h3>
        {attempt?.status != null && <pre class="head" tabIndex={0} role="region" aria-label={t.raw.responseHead}>{message(`HTTP/1.1 ${attempt.status}`, attempt.headers ?? call.response?.headers)}</pre>}
        {response ? <BodyView source={response} asIs /> : <p class="muted">{t.body.none}</p>}
      </section>
    </div>
  );
}

function message(start: string, headers: Call["request"]["headers"] | null): string {
  return [start, ...Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(", ") : value}`)].join("\n");
}
