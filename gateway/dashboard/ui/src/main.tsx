// Where the dashboard begins: router, clock and keys, who looks at it and then the event stream, and the
// frame around the pages.

import { render } from "preact";
import { startClock } from "./clock";
import { Frame } from "./frame";
import { startKeys } from "./keys";
import { startLive } from "./live";
import { startRouter } from "./router";
import { startSession } from "./session";
import "./theme";

startRouter();
startClock();
startKeys();
void startSession().then(startLive);
render(<Frame />, document.getElementById("app")!);
