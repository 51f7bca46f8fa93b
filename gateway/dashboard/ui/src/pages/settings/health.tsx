import { useGet, type Stats } from "../../api";
import { Card } from "../../components/card";
import { count, duration } from "../../format";
import { Icon } from "../../icons";
import { health, liveStats } from "../../live";
import { strings } from "../../strings/settings";

const s = strings.health;

export function HealthCard() {
  const stats = useGet<Stats>("stats", { window: "5m" });
  const recovered = stats.data.value?.recovered;
  return (
    <Card title={s.title}>
      <dl class="facts">
        {health.value?.checks.map((check) => (
          <>
            <dt>{s.names[check.name] ?? check.name}</dt>
            <dd>
              {check.ok
                ? <span class="state succeeded"><Icon name="succeeded" size={14} />{s.ok}</span>
                : <span class="state failed"><Icon name="failed" size={14} />{check.detail ?? s.failed}</span>}
            </dd>
          </>
        ))}
        {liveStats.value && <><dt>{s.lag}</dt><dd>{duration(liveStats.value.loop_lag_ms)}</dd></>}
        {recovered && <><dt>{s.recovered}</dt><dd>{recovered.queued + recovered.retried + recovered.failed === 0 ? s.nothing : s.recoveredOf(count(recovered.queued), count(recovered.retried), count(recovered.failed))}</dd></>}
      </dl>
    </Card>
  );
}
