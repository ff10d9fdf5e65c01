// The ways from a tab to a hub.

import { type Ask, Hub, type Tell } from "./hub.js";

/** Line is a way to a hub. */
export interface Line {
  post(ask: Ask): void;
  /** Looks for a hub again, when the one that there was says nothing. */
  renew(): void;
  /** The tab is put aside or goes; renew brings the line back. */
  close(): void;
}

/** The part of a SharedWorker that is used. */
export interface SharedWorkerLike {
  readonly port: MessagePort;
  onerror: ((event: never) => void) | null;
}

/** Names what tabs of one origin share; the number changes with what is said. */
const NAME = "pollbridge/1";

/** Returns the line to a hub in a SharedWorker. failed is called if there can be none. */
export function workerLine(start: () => SharedWorkerLike, heard: (tell: Tell) => void, failed: () => void): Line {
  let port: MessagePort | undefined;
  let watching: AbortController | undefined;
  let worked = false;
  const close = (): void => {
    port?.close();
    port = undefined;
    watching?.abort();
  };
  const renew = (): void => {
    close();
    const { signal } = (watching = new AbortController());
    const worker = start();
    worker.onerror = () => {
      worker.onerror = null;
      if (!worked) failed(); // else it is the network that fails, and it is looked for again
    };
    port = worker.port;
    port.onmessage = ({ data }: MessageEvent<Tell>) => {
      worked = true;
      if (data.type === "ready" && data.lock) whenFree(data.lock, signal, renew);
      heard(data);
    };
  };
  renew();
  return { post: (ask) => port?.postMessage(ask), renew, close };
}

/** Takes a Web Lock for as long as this worker lives. Resolves with its name; undefined: there are none here. */
export function lockForLife(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const { locks } = globalThis.navigator ?? {};
    if (!locks) return resolve(undefined);
    const name = `${NAME} worker ${crypto.randomUUID()}`;
    locks.request(name, () => (resolve(name), new Promise(() => undefined))).catch(() => resolve(undefined));
  });
}

/** Calls freed once nobody holds a Web Lock any more. */
function whenFree(name: string, signal: AbortSignal, freed: () => void): void {
  const took = (): void => void setTimeout(() => signal.aborted || freed()); // not while it is held here
  navigator.locks?.request(name, { mode: "shared", signal }, took).catch(() => undefined); // not watched any more
}

/** Returns the line to a hub in the tab that holds a Web Lock. */
export function lockLine(tab: string, heard: (tell: Tell) => void): Line {
  let toHub: BroadcastChannel | undefined;
  let channels: BroadcastChannel[] = [];
  const open = (name: string): BroadcastChannel => {
    const channel = new BroadcastChannel(name);
    channels.push(channel);
    return channel;
  };
  const listen = (name: string): void => {
    open(name).onmessage = (event: MessageEvent<Tell>) => heard(event.data);
  };
  let resign: (() => void) | undefined;
  const join = (): void => {
    if (resign) return;
    toHub = open(`${NAME} hub`);
    listen(`${NAME} ${tab}`);
    listen(NAME);
    const resigned = new Promise<void>((resolve) => (resign = resolve));
    const controller = new AbortController();
    void resigned.then(() => controller.abort());
    navigator.locks.request(NAME, { signal: controller.signal }, () => lead(resigned)).catch(() => undefined); // it left the queue
  };
  join();
  return {
    post: (ask) => toHub?.postMessage(ask),
    renew: join,
    close() {
      resign?.();
      resign = undefined;
      for (const channel of channels) channel.close(); // one that hears something keeps the page out of the back/forward cache
      channels = [];
      toHub = undefined;
    },
  };
}

/** Runs the hub of all tabs until resigned. */
async function lead(resigned: Promise<void>): Promise<void> {
  const hub = new Hub({ fetch: (input, init) => fetch(input, init), holdMillis: () => 0 });
  const asks = new BroadcastChannel(`${NAME} hub`);
  const tabs = new Map<string, BroadcastChannel>();
  const to = (tab: string): BroadcastChannel => {
    const channel = tabs.get(tab) ?? new BroadcastChannel(`${NAME} ${tab}`);
    tabs.set(tab, channel);
    return channel;
  };
  asks.onmessage = ({ data }: MessageEvent<Ask>) => {
    hub.take(data, (tell) => to(data.tab).postMessage(tell));
    if (data.type !== "gone") return;
    tabs.get(data.tab)?.close();
    tabs.delete(data.tab);
  };
  const all = new BroadcastChannel(NAME);
  all.postMessage({ type: "ready" } satisfies Tell);
  await resigned;
  hub.close();
  for (const channel of [asks, all, ...tabs.values()]) channel.close();
}

/** With more tabs than this, each for itself, bundles are held for a short time only. */
const MANY = 4;
export const SHORT_HOLD = 2_000;

/** What tabs say of themselves. */
interface Presence {
  readonly tab: string;
  readonly type: "here" | "too" | "gone";
}

/** Returns the line to a hub in the tab itself, for that tab alone; it counts the others. */
export function ownLine(tab: string, heard: (tell: Tell) => void): Line {
  const others = new Set<string>();
  const channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel(`${NAME} tabs`);
  const say = (type: Presence["type"]): void => channel?.postMessage({ tab, type } satisfies Presence);
  if (channel) {
    channel.onmessage = ({ data }: MessageEvent<Presence>) => {
      if (data.type === "gone") others.delete(data.tab);
      else others.add(data.tab);
      if (data.type === "here") say("too");
    };
  }
  const hub = new Hub({ fetch: (input, init) => fetch(input, init), holdMillis: () => (others.size + 1 > MANY ? SHORT_HOLD : 0), group: tab });
  say("here");
  return {
    post: (ask) => hub.take(ask, heard),
    renew: () => say("here"),
    close: () => say("gone"),
  };
}
