import { Loading } from "../components/empty";
import { Page } from "../components/page";
import { t } from "../strings";

export default function Overview() {
  return (
    <Page title={t.nav.overview}>
      <Loading />
    </Page>
  );
}
