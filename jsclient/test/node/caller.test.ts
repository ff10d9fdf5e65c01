// Whatever a caller passes, a real bridge can read what the client makes of it, and
// no RPC but the caller's own suffers. FUZZ_MS is how long, FUZZ_SEED where to begin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";
import { type CallOptions, Channel, type ChannelOptions, type MetadataInit } from "../../src/index.js";
import { encode, SERVICE } from "../echo.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";

const millis = Number(process.env["FUZZ_MS"] ?? 1_000);
let seed = Number(process.env["FUZZ_SEED"] ?? 1);

function random(below: number): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
}

const oneOf = <T>(...values: T[]): T => values[random(values.length)]!;
const chance = (percent: number): boolean => random(100) < percent;
const times = <T>(n: number, make: () => T): T[] => Array.from({ length: n }, make);

let bridge: TestBridge;
before(async () => (bridge = await startTestBridge()));
after(() => bridge.stop());

const size = (): number => oneOf(0, 1, random(100), random(5_000), random(100_000));
const bytes = (): Uint8Array => new Uint8Array(size()).fill(random(256));
const printable = (): string => String.fromCharCode(32 + random(95)).repeat(size() % 10_000);
const text = (): string => oneOf(printable(), String.fromCharCode(...times(random(40), () => random(65_536))), "", "\0", "a\r\nb", "é", "\ud800");

/** The call is to have what is wrong, too. */
let wild = false;

const number = (): number =>
  oneOf(0, -0, 1e-9, 0.5, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e20, Number.MAX_VALUE, Infinity, -1, NaN, random(1_000), 10 ** random(40), random(2 ** 31) * 2 ** random(64));

/** In a wild call sometimes a value that the types forbid. */
function any<T>(right: () => T): T {
  return wild && chance(5) ? oneOf<unknown>(null, undefined, 1, "1", {}, [], 1n, true) as T : right();
}

function method(): string {
  const name = (): string => oneOf("a", "_", "A1", "a.b", "..", "a..b", "%2e", "é", "x".repeat(size() % 5_000), text());
  return !wild || chance(80) ? SERVICE + oneOf("Unary", "Bidi", "None") : oneOf("", "/") + name() + "/" + name();
}

function metadata(): MetadataInit {
  const pairs = times(oneOf(0, 1, 3, random(50)), (): [string, string | Uint8Array] => {
    const key = oneOf("key", "KEY", "a.b_c-1", "host", "te", "connection", "content-type", ...(wild && chance(20) ? ["grpc-timeout", ":path", "", text()] : []));
    return chance(40) ? [`${key}-bin`, any(() => bytes().subarray(0, 10_000))] : [key, any(wild && chance(10) ? text : printable)];
  });
  if (chance(50)) return pairs;
  return oneOf<() => MetadataInit>(() => Object.fromEntries(pairs), () => new Map(pairs), () => new Headers(pairs as [string, string][]))();
}

const options = (): CallOptions => ({
  ...(chance(50) && { metadata: metadata() }),
  ...(chance(50) && { timeoutMs: any(number) }),
  ...(chance(20) && { compression: any(() => oneOf("gzip", "identity", "none", "", text())) }),
  ...(chance(30) && { idempotent: any(() => chance(50)) }),
  ...(chance(30) && { singleRequest: any(() => chance(50)) }),
  ...(chance(30) && { singleResponse: any(() => chance(50)) }),
  ...(chance(20) && { waitForReady: any(() => chance(50)) }),
});

const message = (): Uint8Array | DataView => oneOf<Uint8Array | DataView>(encode({ number: random(10) }), bytes(), new DataView(new ArrayBuffer(3)));

/** Does what a caller may do with an RPC, and what not. */
function call(channel: Channel): void {
  wild = chance(40);
  const rpc = channel.open(any(method), options());
  for (let n = oneOf(0, 1, random(20)); n > 0; n--) void rpc.send(any(message)).catch(() => undefined);
  if (chance(70)) rpc.closeSend();
  if (chance(20)) rpc.cancel();
  if (chance(50)) void rpc.messages.next().catch(() => undefined);
}

/** Opens a channel; undefined: it does not take these options. */
function open(given: ChannelOptions): Channel | undefined {
  try {
    return new Channel(bridge.url, given);
  } catch (err) {
    assert.ok(err instanceof TypeError, String(err));
    return undefined;
  }
}

function channelOptions(): ChannelOptions {
  wild = chance(20);
  const token = text();
  return {
    transports: oneOf(["longpoll"], ["ws"], ["longpoll", "ws"]),
    WebSocket,
    lazy: chance(50),
    ...(chance(50) && { auth: () => token }),
    ...(chance(30) && { maxMessageBytes: any(number) }),
    ...(chance(30) && { holdMs: any(number) }),
    ...(chance(30) && { backoff: any(() => ({ leastMs: number(), mostMs: number(), idleMs: number() })) }),
  };
}

/** What the bridge has refused as none of its protocol's. */
const refused = (): Promise<number[]> =>
  Promise.all(['pollbridge_refusals_total{reason="garbled"}', 'pollbridge_refusals_total{reason="too_large"}', 'pollbridge_sessions_closed_total{reason="protocol_violation"}'].map(bridge.metric));

/** A longer message than the reply to an RPC that is well. */
const REPLY = 100;
/** So long an RPC waits only behind one that stops the session, in milliseconds. */
const STUCK = 20_000;

/** Makes RPCs of any kind on a channel, and one that is well: it must end as if it were alone. Returns how many were made. */
async function round(): Promise<number> {
  const given = channelOptions();
  const channel = open(given);
  if (!channel) return 0;
  try {
    let made = 0;
    for (let n = random(20); n >= 0; n--) {
      try {
        call(channel);
        made++;
      } catch (err) {
        assert.ok(err instanceof TypeError, String(err));
      }
    }
    if ((given.maxMessageBytes ?? REPLY) >= REPLY) await channel.unary(SERVICE + "Unary", encode({ number: 1 }), { timeoutMs: STUCK });
    return made;
  } finally {
    channel.close();
  }
}

test("whatever a caller passes, the bridge can read it, and other RPCs go on", { timeout: 60_000 + millis }, async (t) => {
  t.mock.method(console, "warn", () => undefined); // of tokens that the bridge does not look at
  let made = 0;
  for (const stop = performance.now() + millis; made === 0 || performance.now() < stop; ) {
    const from = seed;
    try {
      made += await round().finally(async () => assert.deepEqual(await refused(), [0, 0, 0], "garbled, too large, protocol violations"));
    } catch (err) {
      throw new Error(`FUZZ_SEED=${from}: ${String(err)}`, { cause: err });
    }
  }
  assert.ok(made > 0);
  t.diagnostic(`${made} RPCs`);
});
