import { Loading } from "../components/empty";
import { Page } from "../components/page";

export default function Upstreams() {
  return (
    <Page title="Upstreams">
      <Loading />
    </Page>
  );
}
