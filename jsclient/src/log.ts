// Where what happens to a channel is told.

import { pageStorage } from "./dialer/memory.js";
import type { ChannelEvent } from "./events.js";
import { codeName } from "./status.js";

/** What is told: each event, or RPCs alone. */
const KEY = "pollbridge.log";

/** Returns who gets each event: the channel's logger, and the console where localStorage asks for it. Undefined: nobody. What they throw goes to the console, as it is no matter of the channel's. */
export function loggerOf(logger: ((event: ChannelEvent) => void) | undefined): ((event: ChannelEvent) => void) | undefined {
  const wanted = pageStorage()?.getItem(KEY);
  if (!logger && !wanted) return undefined;
  return (event) => {
    try {
      if (wanted && (wanted !== "rpc" || event.type === "rpc")) console.info(lineOf(event));
      logger?.(event);
    } catch (err) {
      console.error(err);
    }
  };
}

function lineOf({ at, ...event }: ChannelEvent): string {
  if (event.type !== "rpc") return `pollbridge ${event.type} ${JSON.stringify(event)}`;
  const { method, code, reason, ms, sentBytes, receivedBytes, transport } = event;
  return `pollbridge rpc ${method} ${codeName(code)}${reason && ` (${reason})`} in ${Math.round(ms)} ms, ${sentBytes} B sent, ${receivedBytes} B received, over ${transport ?? "nothing"}`;
}
