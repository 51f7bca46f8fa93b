// What stands around every page: rail (bottom bar on a phone), top bar, dialogs and toasts.

import { useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Button } from "./components/button";
import { Confirmations } from "./components/dialog";
import { Help, helpOpen, paletteOpen } from "./components/help";
import { Empty } from "./components/empty";
import { Page, titlePrefix } from "./components/page";
import { Toasts } from "./components/toast";
import { Icon, type IconName } from "./icons";
import { useShortcuts } from "./keys";
import { failedLately, health, liveState, newBuild, takeHeard, wantsLive } from "./live";
import { href, navigate, pagePath, query, segments } from "./router";
import { route } from "./routes";
import { may, sessionKnown } from "./session";
import { Denied, OpenToAll, User } from "./signed-in";
import { t } from "./strings";
import { isDark, theme, toggleTheme } from "./theme";

const pages: { name: keyof typeof t.nav & IconName; to: string }[] = [
  { name: "overview", to: "" },
  { name: "calls", to: "calls" },
  { name: "upstreams", to: "upstreams" },
  { name: "keys", to: "keys" },
  { name: "settings", to: "settings" },
];

const focusSearch = () => {
  const box = document.querySelector<HTMLElement>("#search, [type=search]");
  if (box) box.focus();
  else navigate(href("calls"));
};

export function Frame() {
  const failed = failedLately.value;
  useEffect(() => { titlePrefix.value = failed ? t.frame.failed(failed) : ""; }, [failed]);
  useShortcuts(t.shortcuts.go, pages.map(({ name, to }) => ({ keys: `g ${name[0]}`, label: t.nav[name], run: () => navigate(href(to)) })));
  useShortcuts(t.shortcuts.global, [
    { keys: "?", label: t.shortcuts.help, run: () => { helpOpen.value = true; } },
    { keys: "Ctrl+k", label: t.shortcuts.palette, run: () => { paletteOpen.value = true; } },
    { keys: "/", label: t.shortcuts.search, run: focusSearch },
    { keys: "l", label: t.shortcuts.live, run: () => { wantsLive.value = !wantsLive.value; } },
    { keys: "t", label: t.shortcuts.theme, run: toggleTheme },
  ]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>{t.frame.skip}</a>
      <div class="frame">
        <Rail />
        <div class="column">
          <TopBar />
          <main id="main" tabIndex={-1}><OpenToAll /><CurrentPage /></main>
        </div>
      </div>
      <Confirmations />
      <Help />
      <LazyPalette />
      <Toasts />
      <Announcer />
    </>
  );
}

function Rail() {
  const here = segments.value[0] ?? "";
  return (
    <nav class="rail" aria-label={t.nav.label}>
      <a class="brand" href={href("")}><Mark /><span>{t.product}</span></a>
      <ul>
        {pages.map(({ name, to }) => (
          <li key={name}>
            <a href={href(to)} {...(here === to ? { "aria-current": "page" as const } : {})}><Icon name={name} size={18} /><span>{t.nav[name]}</span></a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function Mark() {
  return (
    <svg class="mark" width="24" height="24" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M8 10h5l3.500 6H24M8 22h5l3.500-6M20.500 12.500 24 16l-3.500 3.500" fill="none" stroke-width="2.600" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}

function TopBar() {
  const box = useRef<HTMLInputElement>(null);
  const search = (event: Event) => {
    event.preventDefault();
    navigate(href("calls", { q: box.current?.value.trim() }));
  };
  const onCalls = segments.value[0] === "calls" && segments.value.length === 1;
  return (
    <header class="topbar">
      {onCalls
        ? <span class="grow" />
        : (
          <form class="search" role="search" onSubmit={search}>
            <Icon name="search" />
            <input ref={box} id="search" type="search" placeholder={t.frame.searchHint} aria-label={t.frame.search} defaultValue={query.value.get("q") ?? ""} />
            <kbd aria-hidden="true">/</kbd>
          </form>
        )}
      <div class="topbar-end">
        {may("read-own") && <LivePill />}
        <HealthDot />
        <Button kind="ghost" class="wide-only" icon="keyboard" label={t.frame.help} onClick={() => { helpOpen.value = true; }} />
        <Button kind="ghost" icon={theme.value && isDark() ? "sun" : "moon"} label={t.frame.theme} onClick={toggleTheme} />
        <User />
      </div>
    </header>
  );
}

function LivePill() {
  const state = liveState.value;
  return (
    <button type="button" class={`live-pill ${state}`} aria-pressed={state !== "paused"} title={t.live.about[state]} onClick={() => { wantsLive.value = !wantsLive.value; }}>
      <span class="live-dot" aria-hidden="true" />
      {t.live[state]}
    </button>
  );
}

function HealthDot() {
  const found = health.value;
  const state = found === null ? "unknown" : found.ok ? "ok" : "degraded";
  return (
    <a class={`health ${state}`} href={href("settings")} title={t.frame.health[state]} aria-label={t.frame.health[state]}>
      <Icon name={state === "ok" ? "check" : state === "degraded" ? "warning" : "info"} size={14} />
    </a>
  );
}

const components = new Map<string, ComponentType>(); // of the pages that were opened before

/** The command palette, loaded when it is first wanted. */
function LazyPalette() {
  const palette = useSignal<ComponentType | null>(null);
  const open = paletteOpen.value;
  useEffect(() => {
    if (open && !palette.value) void import("./components/palette").then((module) => { palette.value = module.Palette; });
  }, [open]);
  const Palette = palette.value;
  return open && Palette ? <Palette /> : null;
}

const ANNOUNCE_MS = 10_000;

/** Says what happened, for those who hear the page: at most every ten seconds. */
function Announcer() {
  const said = useSignal("");
  useEffect(() => {
    const timer = setInterval(() => {
      const { ended, failed } = takeHeard();
      if (ended) said.value = t.frame.heard(ended, failed);
    }, ANNOUNCE_MS);
    return () => clearInterval(timer);
  }, []);
  return <p class="visually-hidden" role="status" aria-live="polite">{said.value}</p>;
}

function CurrentPage() {
  const loaded = useSignal(0);
  const failed = useSignal(false);
  const found = route(segments.value);
  const name = found?.name ?? null;
  const first = useRef(true);
  useEffect(() => {
    if (!found) return;
    failed.value = false;
    let wanted = true;
    found.load().then(
      (module) => {
        components.set(found.name, module.default);
        if (wanted) loaded.value++;
      },
      () => { if (wanted) failed.value = true; },
    );
    return () => { wanted = false; };
  }, [name]);
  useEffect(() => {
    if (first.current) first.current = false;
    else document.getElementById("main")?.focus({ preventScroll: true });
  }, [pagePath.value]);
  if (!found) {
    return (
      <Page title={t.frame.notFound.title}>
        <Empty title={t.frame.notFound.title} actions={<a class="button plain" href={href("")}>{t.frame.notFound.back}</a>}><p>{t.frame.notFound.body}</p></Empty>
      </Page>
    );
  }
  if (failed.value) {
    return <Empty icon="warning" title={t.frame.loadFailed} actions={<Button onClick={() => location.reload()}>{t.frame.reloadPage}</Button>} />;
  }
  // The page we come from goes at once: it reads the address, which is no longer its own.
  if (!sessionKnown.value) return null;
  if (found.needs && !may(found.needs)) return <Denied page={t.nav[found.name as keyof typeof t.nav] ?? t.nav.calls} needs={found.needs} />;
  const Component = components.get(found.name);
  void loaded.value; // drawn again when the page is here
  if (!Component) return null;
  return (
    <>
      {newBuild.value && <div class="notice" role="status"><Icon name="info" /><span>{t.frame.newBuild}</span><Button small onClick={() => location.reload()}>{t.frame.reloadPage}</Button></div>}
      <Component key={found.name} />
    </>
  );
}
