// Starts ReDoc on the station's own document, without its telemetry.
import { init } from "./redoc.js";

globalThis.Worker = undefined; // its search would compile code for a worker, which the policy forbids
const place = document.getElementById("reference");
init("/openapi.json", { disableTelemetry: true, hideLoading: true, navigation: { actions: { hide: true } } }, place);
new MutationObserver((_changes, observer) => {
  if (place.childElementCount > 0) {
    document.getElementById("loading")?.remove();
    observer.disconnect();
  }
}).observe(place, { childList: true });
