import { Loading } from "../components/empty";
import { Page } from "../components/page";
import { t } from "../strings";

export default function Keys() {
  return (
    <Page title={t.nav.keys}>
      <Loading />
    </Page>
  );
}
