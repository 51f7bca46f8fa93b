// One call, at its own address: calls/{id}#tab.

import { get, type Call as CallShape, type List } from "../api";
import { Button } from "../components/button";
import { useTitle } from "../components/page";
import { toast } from "../components/toast";
import { useShortcuts } from "../keys";
import { href, navigate, segments } from "../router";
import { strings as t } from "../strings/call";
import { CallDetail } from "./call/Detail";
import { CallId } from "./call/Head";

export { Assembler } from "./call/assemble";
export { understand } from "./call/Chat";
export { readAnswer, readRequest } from "./call/conversation";
export { pretty, tokens } from "./call/json";
export { toCurl, toPython } from "./call/snippets";

export default function Call() {
  const id = segments.value[1] ?? "";
  useTitle(t.title(id));
  const step = async (direction: "newer" | "older") => {
    const page = await get<List<CallShape>>("calls", direction === "older" ? { after: id, limit: 1 } : { after: id, limit: 1, order: "asc" });
    const next = page.data[0];
    if (next) navigate(href(["calls", next.id]) + location.hash);
    else toast(direction === "older" ? t.oldest : t.newest);
  };
  useShortcuts(t.shortcuts.title, [
    { keys: "[", label: t.shortcuts.newer, run: () => void step("newer") },
    { keys: "]", label: t.shortcuts.older, run: () => void step("older") },
    { keys: "Escape", run: () => navigate(href("calls")) },
  ]);
  return (
    <div class="page call-page">
      <CallDetail
        key={id} id={id}
        heading={(call, actions) => (
          <header class="page-head">
            <div class="page-title">
              <h1>{call.model ?? t.noModel}</h1>
              <p class="page-subtitle"><span class="mono">{call.method} {call.path}{call.query ? `?${call.query}` : ""}</span></p>
              <CallId id={call.id} />
            </div>
            <div class="page-actions">
              <Button class="step" kind="ghost" icon="up" label={t.shortcuts.newer} onClick={() => void step("newer")} />
              <Button class="step" kind="ghost" icon="down" label={t.shortcuts.older} onClick={() => void step("older")} />
              {actions}
            </div>
          </header>
        )}
      />
    </div>
  );
}
