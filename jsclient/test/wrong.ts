// Every public entry fed with what it does not take, in Node and in browsers alike:
// each settles, and the channel goes on.

import { type Call, Channel, type ChannelOptions } from "../src/index.js";
import { decode, encode, SERVICE } from "./echo.js";

/** Values of every kind, most of them wrong wherever they are given. */
const values: readonly unknown[] = [
  undefined, null, true, false, 0, -1, 1.5, NaN, Infinity, 1e300, 2 ** 53, 10n, "", "text", "x".repeat(300_000), "ü\n\u0000", Symbol("s"),
  {}, { length: 4 }, { toString: null }, Object.create(null), [], [1, 2], [null], [["a"]], [["a", 1]], [["a", "b", "c"]], [["x-bin", "text"]], [["x-bin", new ArrayBuffer(3)]],
  () => undefined, async () => "text", class {}, new Date(), new Date(NaN), /x/, new Map(), new Map([["a", "b"]]), new Set([1]), new Error("no"),
  new ArrayBuffer(8), new DataView(new ArrayBuffer(8), 1), new Uint16Array(3), new Float64Array(2), new Uint8Array(3), new Headers({ a: "b" }), new URL("http://other.test"),
  Promise.resolve(1), new AbortController(), AbortSignal.abort(), new Blob(["x"]), new Proxy({}, {}), function* () { yield 1; },
];

/** The settings of an RPC, and of a channel. */
const callOptions = ["metadata", "timeoutMs", "signal", "compression", "idempotent", "singleRequest", "singleResponse", "waitForReady", "timeout"];
const channelOptions = ["transports", "lazy", "auth", "credentials", "fetch", "WebSocket", "resendIdempotent", "maxMessageBytes", "holdMs", "backoff", "storage", "logger", "transport"];
const backoffOptions = ["leastMs", "mostMs", "idleMs", "maxMs"];

/** How an entry took a value: it "threw" a TypeError, or anything else went well. */
type Taken = "threw" | "took";

/** Gives a value to an entry. Throws if that throws what is neither a TypeError nor the RPC's status. */
async function give(entry: () => unknown): Promise<Taken> {
  try {
    await entry();
    return "took";
  } catch (err) {
    if (err instanceof TypeError) return "threw";
    if ((err as Error)?.name === "StatusError") return "took";
    throw err;
  }
}

/** Ends a call, whatever it is, and waits until it has. */
async function settle(call: Call): Promise<void> {
  call.closeSend();
  call.cancel();
  await Promise.all([call.status, call.headers]);
}

/** Feeds a channel with everything. Returns how often a value was taken, and how often it was refused. */
export async function feed(channel: Channel): Promise<Record<Taken, number>> {
  const url = "http://other.test";
  const counts = { took: 0, threw: 0 };
  const say = async (entry: () => unknown): Promise<void> => void counts[await give(entry)]++;
  const any = channel as unknown as Record<"open" | "unary", (...args: unknown[]) => never>;
  const path = SERVICE + "Unary";
  const one = encode({ number: 1 });
  for (const value of values) {
    await say(() => settle(any.open(value)));
    await say(() => settle(any.open(path, value)));
    await say(() => any.unary(value, one));
    await say(() => any.unary(path, value, { timeoutMs: 20 }));
    await say(() => any.unary(path, one, value));
    for (const name of callOptions) await say(() => settle(any.open(path, { [name]: value })));
    for (const name of ["key", "key-bin"]) await say(() => settle(any.open(path, { metadata: { [name]: value } })));
    const call = channel.open(SERVICE + "BidiStream");
    await say(() => Promise.race([call.send(value as never), call.status]));
    await settle(call);
    await say(() => new Channel(value as never, { lazy: true }).close());
    await say(() => new Channel(url, value as never).close());
    for (const name of channelOptions) await say(() => new Channel(url, { lazy: true, [name]: value } as ChannelOptions).close());
    for (const name of backoffOptions) await say(() => new Channel(url, { lazy: true, backoff: { [name]: value } }).close());
  }
  const { message } = await channel.unary(path, one);
  if (decode(message).number !== 1) throw new Error("the channel does not go on");
  return counts;
}
