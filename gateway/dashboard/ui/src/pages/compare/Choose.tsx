// Which two: their ids, or the way to the list.

import { useSignal } from "@preact/signals";
import { get, type Call, type List } from "../../api";
import { Button, ButtonLink } from "../../components/button";
import { Empty } from "../../components/empty";
import { toastError } from "../../components/toast";
import { href, navigate } from "../../router";
import { strings } from "../../strings/compare";

export function Choose({ a, b }: { a: string; b: string }) {
  const s = strings.choose;
  const one = useSignal(a);
  const other = useSignal(b);
  const go = (event: Event) => {
    event.preventDefault();
    navigate(href("compare", { a: one.value.trim(), b: other.value.trim() }));
  };
  const newest = async () => {
    try {
      const { data } = await get<List<Call>>("calls", { limit: 2 });
      const [b_, a_] = data;
      if (a_ && b_) navigate(href("compare", { a: a_.id, b: b_.id }));
    } catch (error) {
      toastError(error);
    }
  };
  return (
    <Empty icon="compare" title={s.title}>
      <p>{s.body}</p>
      <form class="compare-choose" onSubmit={go}>
        <label class="field"><span>{s.a}</span><input type="text" class="mono" placeholder="call_…" autocomplete="off" value={one.value} onInput={(event) => { one.value = event.currentTarget.value; }} /></label>
        <label class="field"><span>{s.b}</span><input type="text" class="mono" placeholder="call_…" autocomplete="off" value={other.value} onInput={(event) => { other.value = event.currentTarget.value; }} /></label>
        <div class="empty-actions">
          <Button type="submit" kind="primary" disabled={!one.value.trim() || !other.value.trim()}>{s.compare}</Button>
          <Button onClick={() => void newest()}>{s.newest}</Button>
          <ButtonLink kind="ghost" href={href("calls")}>{s.list}</ButtonLink>
        </div>
      </form>
    </Empty>
  );
}
