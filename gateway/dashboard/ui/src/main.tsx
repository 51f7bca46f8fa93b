// Where the dashboard begins: router, clock, event stream and keys, then the frame around the pages.

import { render } from "preact";
import { startClock } from "./clock";
import { Frame } from "./frame";
import { startKeys } from "./keys";
import { startLive } from "./live";
import { startRouter } from "./router";
import "./theme";

startRouter();
startClock();
startKeys();
startLive();
render(<Frame />, document.getElementById("app")!);
