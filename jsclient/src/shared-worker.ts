// The script of the SharedWorker that carries the requests of all tabs. It is
// to be run, not imported: see pollbridge/shared.

import { type Ask, Hub, type Tell } from "./shared/hub.js";
import { lockForLife } from "./shared/line.js";

const hub = new Hub({ fetch: (input, init) => fetch(input, init), holdMillis: () => 0 });
const locked = lockForLife();

globalThis.addEventListener?.("connect", (event) => {
  const port = (event as MessageEvent).ports[0]!;
  const tell = (what: Tell): void => port.postMessage(what);
  port.onmessage = ({ data }: MessageEvent<Ask>) => hub.take(data, tell);
  void locked.then((lock) => tell({ type: "ready", lock }));
});
