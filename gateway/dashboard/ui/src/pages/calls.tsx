import { Loading } from "../components/empty";
import { Page } from "../components/page";

export default function Calls() {
  return (
    <Page title="Calls">
      <Loading />
    </Page>
  );
}
