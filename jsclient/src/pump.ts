import type { CallLike } from "./like.js";

/** What became of the messages that pump was given. */
export interface Pumped {
  /** What their iterable threw, for which the RPC was cancelled. */
  error?: unknown;
}

/**
 * Sends the messages of an iterable as fast as the RPC takes them, then the
 * half-close. Stops when the RPC is over; cancels it when the iterable throws.
 */
export function pump(call: CallLike, messages: AsyncIterable<Uint8Array>): Pumped {
  const pumped: Pumped = {};
  let over = false;
  void call.status.then(() => (over = true));
  const run = async (): Promise<void> => {
    for await (const message of messages) {
      if (!over) await call.send(message).catch(() => undefined); // its status tells why
      if (over) return;
    }
    call.closeSend();
  };
  run().catch((err: unknown) => {
    if (over) return;
    pumped.error = err;
    call.cancel();
  });
  return pumped;
}
