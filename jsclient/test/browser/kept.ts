// A page that is put into the back/forward cache, and what it does when back.

import type { Call } from "../../src/call.js";
import { Channel, type Transport } from "../../src/index.js";
import { decode, encode, SERVICE } from "../echo.js";

/** What the page keeps between a test's visits to it. */
interface Kept {
  channel: Channel;
  call: Call;
  events: string[];
}

const kept = (): Kept => (globalThis as unknown as { kept: Kept }).kept;

/** Opens a channel with a bidirectional RPC that has echoed once. */
export async function begin(transports: Transport[]): Promise<void> {
  const events: string[] = [];
  for (const type of ["pagehide", "pageshow"]) {
    addEventListener(type, (e) => events.push(`${type} ${(e as PageTransitionEvent).persisted}`));
  }
  const channel = new Channel("/", { transports });
  Object.assign(globalThis, { kept: { channel, events, call: channel.open(SERVICE + "Bidi") } satisfies Kept });
  await say(1);
}

/** Has a number echoed, and tells it with the page's events so far. */
export async function say(number: number): Promise<unknown[]> {
  const { call, events } = kept();
  void call.send(encode({ number }));
  return [Number(decode((await call.messages.next()).value!).number), ...events];
}

/** Ends the RPC. */
export async function finish(): Promise<void> {
  const { call } = kept();
  call.closeSend();
  await call.messages.next();
  await call.status;
}

/** Opens another RPC. */
export function again(): void {
  kept().call = kept().channel.open(SERVICE + "Bidi");
}
