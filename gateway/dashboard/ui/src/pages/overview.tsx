// What is going on: the numbers of a time range, what needs a person, and the calls of this moment.

import { useSignal } from "@preact/signals";
import { useCallback, useEffect } from "preact/hooks";
import { useEvery, useGet, type Call, type Journal, type List, type Stats } from "../api";
import { ButtonLink } from "../components/button";
import { Failed, Loading } from "../components/empty";
import { Page } from "../components/page";
import { Ranges, RANGES } from "../components/ranges";
import { clock, dayAndTime, span } from "../format";
import { Icon } from "../icons";
import { liveState, openCalls, resyncs, useCallEvents } from "../live";
import { href, withQuery } from "../router";
import { t } from "../strings";
import { strings } from "../strings/overview";
import { Attention } from "./overview/attention";
import { Cards } from "./overview/cards";
import { Charts } from "./overview/charts";
import { Running } from "./overview/running";
import { Start } from "./overview/start";
import { Strip } from "./overview/strip";
import { range, rangeS, refreshMs, toIso, zoom } from "./overview/window";

export default function Overview() {
  const stats = useGet<Stats>("stats", { window: range.value });
  const newest = useGet<List<Call>>("calls", { limit: 1 });
  const journal = useGet<Journal>("journal");
  const begun = useSignal(false);
  const reload = useCallback(() => { if (liveState.value !== "paused") stats.reload(); }, []);
  useEvery(refreshMs(rangeS.value), reload);
  useEvery(60_000, journal.reload);
  useEffect(() => { if (resyncs.value) stats.reload(); }, [resyncs.value]);
  useCallEvents(useCallback(() => {
    if (begun.value) return;
    begun.value = true;
    stats.reload();
  }, []));
  const found = stats.data.value;
  const isEmpty = newest.data.value?.data.length === 0 && openCalls.value.size === 0 && !begun.value;
  return (
    <Page title={t.nav.overview} actions={isEmpty ? undefined : <Ranges also={{ from: null, to: null }} />} class="overview">
      {stats.error.value && !found ? <Failed error={stats.error.value} retry={stats.reload} />
        : !found || newest.loading.value && !newest.data.value ? <Loading rows={6} />
        : isEmpty ? <Start />
        : <Full stats={found} journal={journal.data.value} />}
    </Page>
  );
}

function Full({ stats, journal }: { stats: Stats; journal: Journal | undefined }) {
  return (
    <>
      <Attention stats={stats} journal={journal} />
      <Cards stats={stats} />
      {stats.totals?.calls === 0 && <Quiet />}
      <Zoomed />
      {stats.series && <Charts stats={stats} />}
      <Strip />
      <Running />
    </>
  );
}

/** Says so when nothing ended in the range, and offers a longer one. */
function Quiet() {
  const names = Object.keys(RANGES);
  const longer = names[names.indexOf(range.value) + 1];
  return (
    <div class="notice">
      <Icon name="info" /><span>{strings.quiet(span(rangeS.value))}</span>
      {longer && <ButtonLink small href={withQuery({ range: longer })}>{strings.quietWiden(span(RANGES[longer] as number))}</ButtonLink>}
    </div>
  );
}

function Zoomed() {
  const only = zoom.value;
  if (!only) return null;
  const time = only.to - only.from < 86_400 ? clock : dayAndTime;
  return (
    <div class="notice">
      <Icon name="search" /><span>{strings.zoomed(time(only.from * 1000), time(only.to * 1000))}</span>
      <ButtonLink small href={href("calls", { from: toIso(only.from), to: toIso(only.to) })}>{strings.zoomCalls}</ButtonLink>
      <ButtonLink small kind="ghost" icon="close" label={strings.zoomReset} href={withQuery({ from: null, to: null })} />
    </div>
  );
}
