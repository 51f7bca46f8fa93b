// Gateway keys: who may use the gateway, within which bounds; making, bounding and revoking them.

import { segments } from "../router";
import { AllKeys } from "./keys/All";
import { OneKey } from "./keys/One";

export default function Keys() {
  const id = segments.value[1];
  return id === undefined ? <AllKeys /> : <OneKey key={id} id={id} />;
}
