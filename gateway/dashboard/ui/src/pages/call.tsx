import { Loading } from "../components/empty";
import { Page } from "../components/page";

export default function Call() {
  return (
    <Page title="Call">
      <Loading />
    </Page>
  );
}
