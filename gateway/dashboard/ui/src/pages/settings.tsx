// How the gateway is set up and how its journal is. Nothing here is changed but by config.toml, retention
// aside; what belongs to this browser is kept in this browser.

import { Page } from "../components/page";
import { may } from "../session";
import { t } from "../strings";
import { About } from "./settings/about";
import { Audit } from "./settings/audit";
import { Configuration } from "./settings/configuration";
import { HealthCard } from "./settings/health";
import { JournalCard } from "./settings/journal";
import { Preferences } from "./settings/preferences";

export default function Settings() {
  return (
    <Page title={t.nav.settings} class="settings">
      <div class="settings-top">
        <div class="stack">
          {may("read-all") && <JournalCard />}
          <About />
        </div>
        <div class="stack">
          {may("read-all") && <HealthCard />}
          <Preferences />
        </div>
      </div>
      {may("read-all") && <Configuration />}
      {may("admin") && <Audit />}
    </Page>
  );
}
