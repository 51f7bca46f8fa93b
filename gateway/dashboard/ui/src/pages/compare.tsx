import { Loading } from "../components/empty";
import { Page } from "../components/page";

export default function Compare() {
  return (
    <Page title="Compare">
      <Loading />
    </Page>
  );
}
