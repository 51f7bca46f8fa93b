// A new key's secret, told this once.

import { useSignal } from "@preact/signals";
import { gatewayUrl } from "../../api";
import { Button } from "../../components/button";
import { CodeBlock } from "../../components/copy";
import { Dialog } from "../../components/dialog";
import { Icon } from "../../icons";
import { liveUpstreams } from "../../live";
import { strings } from "../../strings/keys";
import type { Made } from "./data";

const s = strings.secret;

/** Closes at once by its own button only: Escape by mistake must not lose the key. */
export function Secret({ of: made, onClose }: { of: Made; onClose: () => void }) {
  const warned = useSignal(false);
  const leave = () => { if (warned.value) onClose(); else warned.value = true; };
  return (
    <Dialog open wide title={s.title(made.name)} onClose={leave} actions={<Button kind="primary" icon="check" onClick={onClose}>{s.done}</Button>}>
      <div class={warned.value ? "notice bad" : "notice warn"} role={warned.value ? "alert" : undefined}><Icon name="warning" /><span>{warned.value ? s.sure : s.once}</span></div>
      <section class="key-told"><h3>{s.key}</h3><CodeBlock text={made.key} label={s.key} /></section>
      <section class="key-told"><h3>{s.example}</h3><CodeBlock text={example(made)} label={s.example} /><p class="muted">{s.where}</p></section>
    </Dialog>
  );
}

/** One line that works with this key, as far as that can be known. */
function example({ key, scopes, upstreams, models }: Made): string {
  if (!scopes.includes("relay") && !scopes.includes("admin")) return `curl ${gatewayUrl()}/-/calls -H 'x-gateway-key: ${key}'`;
  const plain = (glob: string) => !/[*?[]/.test(glob);
  const upstream = upstreams.find(plain);
  const known = upstream === undefined ? [...liveUpstreams.value.values()][0] : liveUpstreams.value.get(upstream);
  const model = models.find(plain) ?? known?.models.find(plain) ?? "gpt-4o-mini";
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] });
  const to = upstream ? ` -H 'x-gateway-upstream: ${upstream}'` : "";
  return `curl ${gatewayUrl()}/v1/chat/completions -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json'${to} -d '${body.replaceAll("'", "'\\''")}'`;
}
