// Everything the dashboard can do, by name: pages, commands, a call by its id, a search.

import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { Icon, type IconName } from "../icons";
import { groups } from "../keys";
import { liveUpstreams } from "../live";
import { href, navigate } from "../router";
import { t } from "../strings";
import { Keys, paletteOpen } from "./help";

interface Entry {
  label: string;
  icon: IconName;
  keys?: string;
  run: () => void;
}

export function Palette() {
  const dialog = useRef<HTMLDialogElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const text = useSignal("");
  const chosen = useSignal(0);
  const id = useId();
  const close = () => { paletteOpen.value = false; };
  useEffect(() => { dialog.current?.showModal(); return () => dialog.current?.close(); }, []);
  const found = entries(text.value.trim());
  const at = Math.min(chosen.value, found.length - 1);
  useEffect(() => { list.current?.children[at]?.scrollIntoView({ block: "nearest" }); }, [at]);
  const run = (entry: Entry | undefined) => { if (entry) { close(); entry.run(); } };
  const move = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      chosen.value = (at + (event.key === "ArrowDown" ? 1 : -1) + found.length) % Math.max(1, found.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(found[at]);
    }
  };
  return (
    <dialog ref={dialog} class="dialog palette" aria-label={t.palette.title} onCancel={(event) => { event.preventDefault(); close(); }} onMouseDown={(event) => { if (event.target === event.currentTarget) close(); }}>
      <div class="palette-frame">
        <div class="palette-box">
          <Icon name="search" />
          <input
            type="text" role="combobox" aria-expanded="true" aria-controls={id} aria-activedescendant={found.length ? `${id}-${at}` : undefined} aria-label={t.palette.title} autocomplete="off" spellcheck={false}
            placeholder={t.palette.placeholder} value={text.value} onInput={(event) => { text.value = event.currentTarget.value; chosen.value = 0; }} onKeyDown={move}
          />
        </div>
        <ul id={id} ref={list} role="listbox" aria-label={t.palette.title}>
          {found.map((entry, index) => (
            <li key={entry.label} id={`${id}-${index}`} role="option" aria-selected={index === at} onMouseMove={() => { chosen.value = index; }} onClick={() => run(entry)}>
              <Icon name={entry.icon} /><span class="grow truncate">{entry.label}</span>{entry.keys && <Keys keys={entry.keys} />}
            </li>
          ))}
        </ul>
        {!found.length && <p class="card-none">{t.palette.nothing}</p>}
      </div>
    </dialog>
  );
}

function entries(text: string): Entry[] {
  const found: Entry[] = [];
  if (/^call_\w+$/i.test(text)) found.push({ label: `${t.palette.openCall} ${text}`, icon: "calls", run: () => navigate(href(["calls", text])) });
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (label: string) => words.every((word) => label.toLowerCase().includes(word));
  for (const { title, shortcuts } of [...groups.value].reverse()) {
    for (const { keys, label, run } of shortcuts) {
      if (label && keys !== "Ctrl+k" && matches(`${title} ${label}`)) {
        found.push({ label: title === t.shortcuts.go ? `${t.shortcuts.go} ${label}` : label, icon: title === t.shortcuts.go ? "right" : "bolt", keys, run: () => run(new KeyboardEvent("keydown")) });
      }
    }
  }
  for (const name of liveUpstreams.value.keys()) {
    const label = `${t.palette.upstream} ${name}`;
    if (matches(label)) found.push({ label, icon: "upstreams", run: () => navigate(href(["upstreams", name])) });
  }
  if (text) found.push({ label: t.palette.searchFor(text), icon: "search", run: () => navigate(href("calls", { q: text })) });
  return found;
}
