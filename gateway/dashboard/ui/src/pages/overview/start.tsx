import { useSignal } from "@preact/signals";
import { gatewayUrl, type Upstream } from "../../api";
import { CodeBlock } from "../../components/copy";
import { Empty } from "../../components/empty";
import { Tabs } from "../../components/tabs";
import { liveUpstreams } from "../../live";
import { strings } from "../../strings/overview";

const s = strings.start;

/** What stands here before the first call: how to make it. */
export function Start() {
  const tool = useSignal<"curl" | "python" | "sdk">("curl");
  const upstream = [...liveUpstreams.value.values()].find((each) => each.dialect === "openai");
  const simulated = liveUpstreams.value.size > 0 && [...liveUpstreams.value.values()].every((each) => each.base_url.startsWith("mock:"));
  return (
    <div class="card start">
      <Empty icon="calls" title={s.title}>
        <p>{s.body}</p>
        {simulated && <p>{s.simulated}</p>}
      </Empty>
      <Tabs label={s.with} selected={tool.value} onSelect={(id) => { tool.value = id as "curl"; }} tabs={[{ id: "curl", label: s.curl }, { id: "python", label: s.python }, { id: "sdk", label: s.sdk }]}>
        <CodeBlock text={example(tool.value, upstream)} label={s.code(s[tool.value])} />
      </Tabs>
    </div>
  );
}

function example(tool: "curl" | "python" | "sdk", upstream: Upstream | undefined): string {
  const url = gatewayUrl();
  const model = upstream?.models.find((each) => !/[*?[]/.test(each)) ?? "gpt-4o-mini";
  switch (tool) {
    case "curl":
      return `curl ${url}/v1/chat/completions \\
  -H 'Content-Type: application/json' \\
  -d '{"model": "${model}", "messages": [{"role": "user", "content": "Hello"}]}'`;
    case "python":
      return `import json, urllib.request

request = urllib.request.Request(
    "${url}/v1/chat/completions",
    data=json.dumps({
        "model": "${model}",
        "messages": [{"role": "user", "content": "Hello"}],
    }).encode(),
    headers={"Content-Type": "application/json"},
)
with urllib.request.urlopen(request) as answer:
    print(json.load(answer)["choices"][0]["message"]["content"])`;
    case "sdk":
      return `from openai import OpenAI

client = OpenAI(base_url="${url}/v1", api_key="unused")
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`;
  }
}
