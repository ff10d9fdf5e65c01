// What the client must do against a real bridge, in Node and in browsers alike.
// Each scenario throws when something is not as it must be.

import type { Call, Channel, Metadata } from "../src/index.js";
import { decode, encode, payload, type Reply, same, type Script, SERVICE } from "./echo.js";
import { feed } from "./wrong.js";

/** What lies around a scenario. */
export interface Stage {
  channel: Channel;
  /** Cuts every connection to the bridge. */
  cut(): Promise<void>;
  /** Cuts every connection and refuses new ones for so many milliseconds. */
  outage(millis: number): Promise<void>;
  /** How many RPCs the backend saw: started, active, cancelled. */
  rpcs(): Promise<{ Started: number; Active: number; Cancelled: number }>;
}

export type Scenario = (stage: Stage) => Promise<void>;

function check(ok: boolean, what: string): asserts ok {
  if (!ok) throw new Error(what);
}

function equal(got: unknown, want: unknown, what: string): void {
  check(JSON.stringify(got) === JSON.stringify(want), `${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

async function next(call: Call): Promise<Reply> {
  const { value, done } = await call.messages.next();
  check(!done, "the messages ended early");
  return decode(value);
}

async function rest(call: Call): Promise<Reply[]> {
  const replies: Reply[] = [];
  for await (const raw of call.messages) replies.push(decode(raw));
  return replies;
}

/** Sends numbered messages and waits for each one's echo before the next. */
async function pingPong(channel: Channel, count: number, size: number, between?: (i: number) => Promise<void>): Promise<void> {
  const call = channel.open(SERVICE + "Bidi");
  for (let i = 1; i <= count; i++) {
    await call.send(encode({ number: i, payload: payload(i, size) }));
    const reply = await next(call);
    equal(reply.number, i, "echo");
    check(same(reply.payload, payload(i, size)), `echo ${i} has other bytes`);
    await between?.(i);
  }
  call.closeSend();
  equal((await rest(call)).length, 0, "messages after the last");
  equal((await call.status).code, 0, "status");
}

/** Reads numbered replies of one server stream. */
async function serverStream(channel: Channel, script: Script, between?: (i: number) => Promise<void>): Promise<void> {
  const call = channel.open(SERVICE + "ServerStream");
  await call.send(encode({ number: 1, payload: payload(1, 100), script }));
  call.closeSend();
  let i = 0;
  for await (const raw of call.messages) {
    equal(decode(raw).number, ++i, "reply");
    await between?.(i);
  }
  equal(i, script.replies, "number of replies");
}

/** Sends numbered requests, many at once, and has them summed up. */
async function clientStream(channel: Channel, count: number, size: number): Promise<void> {
  const call = channel.open(SERVICE + "ClientStream");
  for (let i = 1; i <= count; i++) await call.send(encode({ number: i, payload: payload(i, size) }));
  call.closeSend();
  const [reply, ...more] = await rest(call);
  equal(more.length, 0, "further replies");
  equal([reply?.requests, reply?.requestBytes], [count, count * size], "requests and their bytes");
}

const fourKinds: Scenario = async ({ channel }) => {
  for (let i = 1; i <= 5; i++) {
    const sent = payload(i, 1000);
    const { message } = await channel.unary(SERVICE + "Unary", encode({ number: i, payload: sent }));
    check(same(decode(message).payload, sent), "a unary RPC's bytes differ");
  }
  await serverStream(channel, { replies: 300 });
  await clientStream(channel, 300, 500);
  await pingPong(channel, 50, 300);
};

const metadata: Scenario = async ({ channel }) => {
  const sent: Metadata = [["x-text", "one"], ["x-text", "two"], ["x-raw-bin", Uint8Array.of(0, 255, 1)]];
  const call = channel.open(SERVICE + "Unary", { metadata: sent, timeoutMs: 60_000 });
  const value = Uint8Array.of(118);
  const script: Script = {
    reflect: true,
    headers: [{ key: "h", value }],
    trailers: [{ key: "t-bin", value: Uint8Array.of(0, 254) }],
  };
  await call.send(encode({ number: 1, script }));
  call.closeSend();
  const [reply] = await rest(call);
  const got = reply!.metadata.filter((p) => p.key.startsWith("x-")).map((p) => [p.key, Array.from(p.value)]);
  equal(got, [["x-raw-bin", [0, 255, 1]], ["x-text", [111, 110, 101]], ["x-text", [116, 119, 111]]], "metadata at the backend");
  check(reply!.timeoutMs > 50_000 && reply!.timeoutMs <= 60_000, `time left at the backend: ${reply!.timeoutMs} ms`);
  equal((await call.headers).find(([key]) => key === "h"), ["h", "v"], "header");

  const failing = channel.open(SERVICE + "Unary");
  const details = [{ key: "type.googleapis.com/x", value }];
  const message = "sorry: 100 % \u{1f600}";
  await failing.send(encode({ number: 1, script: { ...script, status: 9, message, details } }));
  failing.closeSend();
  const error = await rest(failing).then(() => undefined, (err: Error) => err);
  equal(error?.name, "StatusError", "error of the messages");
  const status = await failing.status;
  equal([status.code, status.message, status.origin, status.reason], [9, message, "backend", ""], "status");
  check(status.details.length > 0, "the status has lost its details");
  const trailer = status.trailers.find(([key]) => key === "t-bin")?.[1];
  check(trailer instanceof Uint8Array && same(trailer, Uint8Array.of(0, 254)), "the trailer is not what was sent");
};

const large: Scenario = async ({ channel }) => {
  await pingPong(channel, 3, 3 << 20);
  await Promise.all([1, 2, 3].map(() => pingPong(channel, 2, 1 << 20)));
};

const manyStreams: Scenario = async ({ channel }) => {
  const calls = Array.from({ length: 1000 }, () => channel.open(SERVICE + "Bidi"));
  for (let round = 1; round <= 3; round++) {
    await Promise.all(calls.map((call, i) => call.send(encode({ number: round, payload: payload(1000 * round + i, 64) }))));
    await Promise.all(
      calls.map(async (call, i) => {
        const reply = await next(call);
        equal(reply.number, round, `echo on stream ${i}`);
        check(same(reply.payload, payload(1000 * round + i, 64)), `stream ${i} got another one's bytes`);
      }),
    );
  }
  for (const call of calls) call.closeSend();
  const codes = await Promise.all(calls.map(async (call) => (await call.status).code));
  equal(codes.filter((code) => code !== 0).length, 0, "streams that failed");
};

/** Connections are cut again and again while all kinds run: nothing is lost, repeated or reordered. */
const cuts: Scenario = async ({ channel, cut }) => {
  const every = (n: number) => async (i: number): Promise<void> => {
    if (i % n === 0) await cut();
  };
  await pingPong(channel, 60, 200, every(12));
  await Promise.all([
    pingPong(channel, 40, 5000, every(13)),
    serverStream(channel, { replies: 400, delayMs: 2 }, every(90)),
    clientStream(channel, 500, 3000),
  ]);
};

const disrupt: Scenario = async ({ channel }) => {
  await pingPong(channel, 40, 200, async (i) => {
    if (i % 10 === 0) channel.disrupt();
  });
};

/** The bridge is out of reach for a while; RPCs go on afterwards. */
const outage: Scenario = async ({ channel, outage }) => {
  await pingPong(channel, 20, 200, async (i) => {
    if (i === 10) await outage(1500);
  });
  equal(channel.state, "open", "state after the outage");
};

const cancelling: Scenario = async ({ channel, rpcs }) => {
  const before = await rpcs();
  const reader = channel.open(SERVICE + "ServerStream");
  await reader.send(encode({ number: 1, script: { replies: 1_000_000, replyBytes: 100 } }));
  reader.closeSend();
  let got = 0;
  for await (const raw of reader.messages) {
    equal(decode(raw).number, ++got, "reply");
    if (got === 3) break;
  }
  equal((await reader.status).reason, "cancelled", "reason after leaving early");

  const controller = new AbortController();
  const aborted = channel.open(SERVICE + "Bidi", { signal: controller.signal });
  await aborted.send(encode({ number: 1 }));
  await next(aborted);
  controller.abort();
  equal((await aborted.status).code, 1, "status after abort");

  const late = channel.open(SERVICE + "Unary", { timeoutMs: 150 });
  await late.send(encode({ number: 1, script: { hang: true } }));
  late.closeSend();
  equal((await late.status).code, 4, "status after the deadline");

  // The late one may have ended before it arrived; what follows it says that it has arrived, or never will.
  await serverStream(channel, { replies: 1 });
  for (;;) {
    const now = await rpcs();
    if (now.Active === 0 && now.Cancelled >= before.Cancelled + 2) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

/** A reader that stops takes no more than its window, and holds nobody up. */
const backpressure: Scenario = async ({ channel }) => {
  const slow = channel.open(SERVICE + "ServerStream");
  await slow.send(encode({ number: 1, script: { replies: 2000, replyBytes: 1000 } }));
  slow.closeSend();
  await next(slow);
  await pingPong(channel, 20, 1000);
  await serverStream(channel, { replies: 500, replyBytes: 1000 });
  equal((await rest(slow)).length, 1999, "replies after the pause");
};

/** Every scenario, by name. */
/** Metadata over the limit ends its RPC with a status that names both sizes: keys, values, and 32 bytes for each pair. */
const metadataLimit: Scenario = async ({ channel }) => {
  const over = async (what: string, metadata: Metadata, script: Script): Promise<number> => {
    const call = channel.open(SERVICE + "Unary", { metadata });
    void call.send(encode({ number: 1, script })).catch(() => undefined);
    call.closeSend();
    const { code, message } = await call.status;
    equal(code, 8, what);
    const size = new RegExp(`^${what} of (\\d+) bytes (?:is|are) over the limit of 65536$`).exec(message);
    check(size !== null, `${what}: ${message}`);
    return Number(size[1]);
  };
  const k = "x".repeat(65536);
  const more = "y".repeat(100);
  const first = await over("metadata", [["k", k]], {});
  equal((await over("metadata", [["k", k], ["more", more]], {})) - first, 4 + 100 + 32, "what a further pair counts");
  const headers = [{ key: "k", value: new TextEncoder().encode(k) }];
  check((await over("headers", [], { headers })) > 65536, "the size of the headers");
};

/** Nothing that a caller passes hangs or kills the channel. */
const wrongArguments: Scenario = async ({ channel }) => {
  const { took, threw } = await feed(channel);
  check(took > 100 && threw > 1_000, `${took} taken, ${threw} refused`);
};

export const scenarios: Record<string, Scenario> = {
  "four kinds": fourKinds,
  "metadata and status": metadata,
  "metadata over the limit": metadataLimit,
  "large messages": large,
  "1,000 streams": manyStreams,
  "connections cut": cuts,
  "links disrupted": disrupt,
  outage,
  "cancel, abort, deadline": cancelling,
  backpressure,
  "wrong arguments": wrongArguments,
};
