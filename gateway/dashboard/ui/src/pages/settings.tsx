import { Loading } from "../components/empty";
import { Page } from "../components/page";
import { t } from "../strings";

export default function Settings() {
  return (
    <Page title={t.nav.settings}>
      <Loading />
    </Page>
  );
}
