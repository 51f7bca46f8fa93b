// The upstreams: each with its slots and queue, and one by itself, tuned while it runs.

import { segments } from "../router";
import { AllUpstreams } from "./upstreams/All";
import { OneUpstream } from "./upstreams/One";

export default function Upstreams() {
  const name = segments.value[1];
  return name === undefined ? <AllUpstreams /> : <OneUpstream key={name} name={name} />;
}
