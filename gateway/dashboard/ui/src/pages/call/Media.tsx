// Pictures and other files out of recorded bytes. Nothing is ever fetched from where they came from.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Icon } from "../../icons";
import { bytes } from "../../format";
import { strings as t } from "../../strings/call";

function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/").replace(/\s+/g, ""));
    return Uint8Array.from(binary, (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
}

/** A file given as base64 or bytes: a picture where it is one, and a link that saves it. */
export function Media({ mediaType, data, raw, name }: { mediaType: string; data?: string; raw?: Uint8Array; name: string | null }) {
  const url = useSignal<string | null>(null);
  const size = useSignal(0);
  const broken = useSignal(false);
  useEffect(() => {
    const content = raw ? raw.slice() : fromBase64(data ?? "");
    broken.value = content === null;
    if (content === null) return undefined;
    const made = URL.createObjectURL(new Blob([content], { type: mediaType.startsWith("image/") ? mediaType : "application/octet-stream" }));
    url.value = made;
    size.value = content.length;
    return () => URL.revokeObjectURL(made);
  }, [data, raw, mediaType]);
  const label = name ?? mediaType;
  return (
    <span class="media">
      {url.value && mediaType.startsWith("image/") && !broken.value && <img src={url.value} alt={t.picture(label)} onError={() => { broken.value = true; }} />}
      {url.value
        ? <a class="chip" href={url.value} download={`${name ?? "file"}.${(mediaType.split("/")[1] ?? "bin").replace(/[^a-z0-9]/g, "")}`}><Icon name="download" size={14} />{label} · {bytes(size.value)}</a>
        : <span class="chip"><Icon name="info" size={14} />{label}{broken.value && ` · ${t.unreadable}`}</span>}
    </span>
  );
}
