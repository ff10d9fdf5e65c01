import { lockLine, ownLine, type SharedWorkerLike, workerLine } from "./shared/line.js";
import { Tab } from "./shared/tab.js";
import { base64url } from "./wire/base64.js";

export type { SharedWorkerLike } from "./shared/line.js";

/** SharedOptions configure sharedFetch. */
export interface SharedOptions {
  /**
   * Starts the SharedWorker that carries the requests: one that runs
   * "pollbridge/shared-worker", the same for all tabs. false: none, a tab
   * carries them. Default: the worker beside this module.
   */
  worker?: (() => SharedWorkerLike) | false | undefined;
}

declare const SharedWorker: new (url: URL, options: { type: "module"; name: string }) => SharedWorkerLike;

declare const localStorage: Record<string, string | undefined>;

const GROUP = "pollbridge.group";

/**
 * Returns a fetch for a Channel of each of an origin's tabs, so that all of them
 * together have at most two requests to a bridge under way:
 *
 *     const channel = new Channel("/", { fetch: sharedFetch() });
 *
 * They are carried by a SharedWorker; where there is none, by one of the tabs
 * (which needs Web Locks, and so a secure context); where there is neither, by
 * each tab for itself, held for 2 s at most from the fifth tab on. Nothing is
 * lost when the one that carries them is closed or dies. Call it once in a page.
 * WebSockets stay each tab's own.
 */
export function sharedFetch(options: SharedOptions = {}): typeof fetch {
  const name = randomName();
  const tab = new Tab(name, groupOf());
  const heard = tab.heard.bind(tab);
  const without = (): void => {
    const locks = typeof BroadcastChannel !== "undefined" && globalThis.navigator?.locks;
    tab.use(locks ? lockLine(name, heard) : ownLine(name, heard));
  };
  try {
    tab.use(workerLine(starter(options.worker), heard, without));
  } catch { // no SharedWorker here, or the page's policy forbids it
    without();
  }
  globalThis.addEventListener?.("pagehide", () => tab.leave());
  globalThis.addEventListener?.("pageshow", (event) => (event as Event & { persisted?: boolean }).persisted && tab.back());
  return tab.fetch;
}

function starter(worker: SharedOptions["worker"]): () => SharedWorkerLike {
  if (worker === false) throw new TypeError("no worker is wanted");
  return worker ?? (() => new SharedWorker(new URL("./shared-worker.js", import.meta.url), { type: "module", name: "pollbridge" }));
}

/** Returns the origin's group: one for all tabs where there is storage. */
function groupOf(): string {
  try {
    return (localStorage[GROUP] ??= randomName());
  } catch { // none here, or it is blocked
    return randomName();
  }
}

function randomName(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(16)));
}
