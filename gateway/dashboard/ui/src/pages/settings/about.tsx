import { apiUrl, gatewayUrl } from "../../api";
import { Card } from "../../components/card";
import { CopyButton } from "../../components/copy";
import { version } from "../../live";
import { may } from "../../session";
import { strings } from "../../strings/settings";

const s = strings.about;
const files = new URL(".", import.meta.url);

export function About() {
  return (
    <Card title={s.title}>
      <dl class="facts">
        <dt>{s.version}</dt><dd>{version.value ?? "–"}</dd>
        <dt>{s.build}</dt><dd><code>{files.pathname.split("/").at(-2)}</code></dd>
        <dt>{s.clients}</dt><dd class="row"><code>{gatewayUrl()}</code><CopyButton text={gatewayUrl()} /></dd>
        <dt>{s.links}</dt>
        <dd class="row wrap">
          <a href={apiUrl("openapi.json")} target="_blank" rel="noreferrer">{s.api}</a>
          {may("read-all") && <a href={apiUrl("metrics")} target="_blank" rel="noreferrer">{s.metrics}</a>}
          <a href={new URL("licenses.txt", files).href} target="_blank" rel="noreferrer">{s.licences}</a>
        </dd>
      </dl>
    </Card>
  );
}
