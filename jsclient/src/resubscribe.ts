import { checkOptions, having, type Rules } from "./args.js";
import { type BackoffOptions, newRetry } from "./tune/backoff.js";

/** Messages is what a stream gives: a Call, or what a generated client returns. */
export type Messages<Message> = AsyncIterable<Message> | { readonly messages: AsyncIterable<Message> };

/** ResubscribeOptions configure resubscribe. */
export interface ResubscribeOptions {
  /** Ends it: the RPC is cancelled, and no other begins. */
  signal?: AbortSignal | undefined;
  /** How long to wait before it begins again. Default: as a Channel's. */
  backoff?: BackoffOptions | undefined;
}

const RULES: Rules<ResubscribeOptions> = { signal: having("an AbortSignal", "addEventListener", "removeEventListener"), backoff: having("an object") };

/** Reasons of UNAVAILABLE that another try does not mend. */
const FINAL = ["version", "origin"];

/**
 * Yields the messages of a stream that begins again when it ends UNAVAILABLE, as
 * all streams of a lost session do. start makes the RPC: last is the latest message
 * that was yielded, so that the stream can go on behind it, and undefined at first;
 * signal is for the RPC, which it cancels when the loop is left.
 *
 *     for await (const item of resubscribe((last, signal) => client.watch({ after: last?.id }, { signal }))) show(item);
 *
 * Waits before each further try, with backoff that begins anew with each message.
 * Ends when the stream ends OK; any other status it throws, as start's own errors.
 */
export async function* resubscribe<Message>(
  start: (last: Message | undefined, signal: AbortSignal) => Messages<Message>,
  options: ResubscribeOptions = {},
): AsyncGenerator<Message, void, undefined> {
  const { signal, backoff: waits } = checkOptions("option", options, RULES);
  const backoff = newRetry(waits);
  let last: Message | undefined;
  for (;;) {
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal!.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    try {
      const stream = start(last, controller.signal);
      for await (const message of "messages" in stream ? stream.messages : stream) {
        backoff.reset();
        yield (last = message);
      }
      return;
    } catch (err) {
      if (signal?.aborted || !mended(err)) throw err;
    } finally {
      signal?.removeEventListener("abort", abort);
      controller.abort();
    }
    await pause(backoff.next(), signal);
  }
}

/** Reports whether another try may mend what an RPC ended with, whichever library's error that is. */
function mended(err: unknown): boolean {
  const { code, status, cause } = (err ?? {}) as { code?: unknown; status?: Why; cause?: { status?: Why } };
  const reason = (status ?? cause?.status)?.reason;
  return (code === 14 || code === "UNAVAILABLE") && !FINAL.includes(reason ?? "");
}

interface Why {
  readonly reason?: string;
}

/** Waits; rejects with the signal's reason when that aborts. */
function pause(millis: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, millis);
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
  });
}
