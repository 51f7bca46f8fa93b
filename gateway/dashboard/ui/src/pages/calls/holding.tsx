// A list that does not move under its reader: while somebody reads, new calls wait behind a pill.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { serverNow } from "../../clock";
import { Icon } from "../../icons";
import { strings } from "../../strings/calls";
import type { CallList } from "./list";

const SCROLLED_PX = 120;
const LET_GO_MS = 400; // the pointer on its way from one row to the next has not left
const SAY_EVERY_MS = 10_000;

/** Hold *list* while *reading*, and while the page is scrolled. */
export function useHolding(list: CallList, reading: boolean): void {
  const scrolled = useSignal(false);
  useEffect(() => {
    const look = () => { scrolled.value = scrollY > SCROLLED_PX; };
    look();
    addEventListener("scroll", look, { passive: true });
    return () => removeEventListener("scroll", look);
  }, []);
  const held = reading || scrolled.value;
  useEffect(() => {
    if (held) {
      list.hold(true);
      return undefined;
    }
    const timer = setTimeout(() => list.hold(false), LET_GO_MS);
    return () => clearTimeout(timer);
  }, [held]);
}

/** "37 new": shows them. Those who listen hear of new calls now and then. */
export function Fresh({ list }: { list: CallList }) {
  const n = list.waiting.value.length;
  return (
    <>
      <Heard list={list} />
      {n > 0 && (
        <div class="fresh">
          <button type="button" aria-label={strings.live.show(n)} onClick={() => { list.release(); window.scrollTo(0, 0); }}>
            <Icon name="up" size={14} />{strings.live.fresh(n)}
          </button>
        </div>
      )}
    </>
  );
}

function Heard({ list }: { list: CallList }) {
  const said = useSignal("");
  const newest = useRef("");
  const notBefore = useRef(0);
  const rows = [...list.waiting.value, ...list.rows.value];
  const first = rows[0]?.id ?? "";
  useEffect(() => {
    const now = serverNow();
    if (!newest.current || !list.isNewest.value) { newest.current = first; notBefore.current = now + SAY_EVERY_MS; return; }
    const fresh = rows.filter(({ id }) => id > newest.current);
    if (!fresh.length || now < notBefore.current) return;
    said.value = strings.live.heard(fresh.length, fresh.filter(({ status }) => status === "failed").length);
    newest.current = first;
    notBefore.current = now + SAY_EVERY_MS;
  }, [first]);
  return <p class="visually-hidden" aria-live="polite">{said.value}</p>;
}
