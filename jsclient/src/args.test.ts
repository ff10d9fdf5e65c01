import assert from "node:assert/strict";
import { test } from "node:test";
import { Channel, Code } from "./index.js";
import { type Bridge, channelTo, echo, endFrame, fixture, flush, messageFrame, WELCOME } from "./testing.js";
import { type Frame, TYPE_MESSAGE, TYPE_OPEN } from "./wire/batch.js";

const one = Uint8Array.of(1);
const shared = Uint8Array.of(9, 1, 2, 9).buffer;

/** A bridge that answers each RPC of a session with one byte. */
function echoing(seen: (frame: Frame) => unknown): Bridge {
  let seq = 0;
  return (batch) => {
    if (batch.hello) return { welcome: WELCOME };
    for (const frame of batch.frames) seen(frame);
    const opened = batch.frames.filter((f) => f.type === TYPE_OPEN);
    const frames = opened.flatMap(({ stream }) => [messageFrame(++seq, stream, one), endFrame(++seq, stream)]);
    return batch.frames.length > 0 ? { ack: batch.frames.at(-1)!.seq, frames } : undefined;
  };
}

test("messages are bytes of any kind, copied; anything else is a TypeError of that call alone", async (t) => {
  const sent: Uint8Array[] = [];
  const channel = channelTo(t, echoing((f) => f.type === TYPE_MESSAGE && sent.push(f.data!)));
  const taken = [Uint8Array.of(1, 2), shared.slice(1, 3), new DataView(shared, 1, 2), new Uint16Array(shared.slice(1, 3)), Buffer.from([1, 2])];
  for (const message of taken) await channel.unary("s/m", message);
  assert.deepEqual(sent.map((bytes) => [...bytes]), taken.map(() => [1, 2]));
  const refused: [unknown, string][] = [["secret", "String"], [[1, 2], "Array"], [undefined, "Undefined"], [null, "Null"], [{}, "Object"], [{ slice: () => one }, "Object"], [new Blob(), "Blob"]];
  for (const [message, kind] of refused) {
    const error = { name: "TypeError", message: `message: must be a Uint8Array, another view or an ArrayBuffer, not ${kind}` };
    await assert.rejects(channel.unary("s/m", message as never), error);
    const call = channel.open("s/m");
    assert.throws(() => call.send(message as never), error);
    call.cancel();
  }
  await channel.unary("s/m", one);
});

test("metadata is pairs, an object, Headers or a Map; anything else is a TypeError that names the key and no value", async (t) => {
  const seen: string[][] = [];
  const channel = channelTo(t, echoing(({ open }) => open && seen.push(open.metadata.map(({ key, value }) => `${key}: ${Buffer.from(value).toString("latin1")}`))));
  const bin = new ArrayBuffer(1);
  const taken = [
    [["A", "b"], ["x-bin", bin]] as const,
    { A: "b", "x-bin": new DataView(bin) },
    new Map<string, string | ArrayBuffer>([["A", "b"], ["x-bin", bin]]),
    new Headers({ A: "b", "x-bin": "AA==" }),
  ];
  for (const metadata of taken) await channel.unary("s/m", one, { metadata });
  assert.deepEqual(seen, taken.map(() => ["a: b", "x-bin: \0"]));
  const refused: [unknown, RegExp][] = [
    ["secret", /^metadata: must be pairs, an object, Headers or a Map, not String$/],
    [["key", "secret"], /^metadata: must be pairs of key and value, not String$/],
    [{ a: ["secret"] }, /^metadata a: must be printable ASCII, not Array$/],
    [{ a: "sëcret" }, /^metadata a: must be printable ASCII, not String$/],
    [{ "a-bin": "secret" }, /^metadata a-bin: must be a Uint8Array, another view or an ArrayBuffer, not String$/],
    [new Headers({ "a-bin": "?" }), /^metadata a-bin: the value of a -bin key must be base64$/],
    [new Set([["a", "secret"]]), /^metadata: must be pairs, an object, Headers or a Map, not Set$/],
  ];
  for (const [metadata, message] of refused) {
    assert.throws(() => channel.open("s/m", { metadata: metadata as never }), { name: "TypeError", message });
  }
});

test("options that are unknown or of another type are refused by name", (t) => {
  const make = (options: object): (() => Channel) => () => new Channel("http://bridge.test", { lazy: true, ...options });
  assert.throws(make({ transport: ["ws"] }), /^TypeError: option transport: there is none of this name, but transports, lazy, /);
  assert.throws(make({ transports: "ws" }), /^TypeError: option transports "ws": must be an Array of "longpoll", "ws" or both$/);
  assert.throws(make({ holdMs: "x" }), /^TypeError: option holdMs "x": must be whole milliseconds/);
  assert.throws(make({ holdMs: Infinity }), /holdMs Infinity/);
  assert.throws(make({ backoff: 5 }), /^TypeError: option backoff 5: must be an object$/);
  assert.throws(make({ backoff: { mostMs: NaN } }), /^TypeError: option backoff mostMs NaN/);
  assert.throws(make({ maxMessageBytes: 0.5 }), /maxMessageBytes 0.5: must be a whole number/);
  assert.throws(make({ storage: {} }), /^TypeError: option storage Object: must be a Storage, or null$/);
  const channel = channelTo(t, () => undefined, { lazy: true });
  const open = (options: object): (() => unknown) => () => channel.open("s/m", options);
  assert.throws(open({ timeout: 5 }), /^TypeError: option timeout: there is none of this name, but metadata, timeoutMs, /);
  assert.throws(open({ timeoutMs: "5" }), /^TypeError: option timeoutMs "5": must be 0 or more milliseconds$/);
  assert.throws(open({ signal: new AbortController() }), /^TypeError: option signal AbortController: must be an AbortSignal$/);
  assert.throws(open({ compression: "x".repeat(201) }), /^TypeError: option compression text of 201 characters: must be/);
});

test("a deadline longer than the wire can say is none; one is told in whole milliseconds", async (t) => {
  const timeouts: (number | undefined)[] = [];
  const channel = channelTo(t, (batch) => {
    for (const { open } of batch.frames) if (open) timeouts.push(open.timeoutMicros);
    return batch.hello ? { welcome: WELCOME } : undefined;
  });
  const calls = [1e300, 20.4567].map((timeoutMs) => channel.open("s/m", { timeoutMs }));
  assert.equal((await calls[1]!.status).message, "deadline of 20 ms exceeded");
  assert.deepEqual(timeouts, [undefined, 20_457]);
});

test("what the engine throws ends its session with one error, and its RPCs; the next one finds another", async (t) => {
  const { session, carrier, lost, open } = await fixture(t, ["longpoll"]);
  const stream = await open();
  t.mock.method(session.endpoint.out, "fill", () => {
    throw new RangeError("offset is out of bounds");
  });
  await carrier.last.answer({ ack: 1 });
  void stream.send(one);
  await flush();
  assert.deepEqual(lost.map(({ reason, message }) => [reason, message]), [["internal", "internal error: RangeError: offset is out of bounds"]]);
  const { status, reason, message } = await stream.ended;
  assert.deepEqual([status, reason], [Code.Internal, "internal"]);
  assert.match(message, /RangeError/);
});

test("an answer at which the engine throws leaves nothing mute", async (t) => {
  const { session, carrier, lost, open } = await fixture(t, ["longpoll"]);
  const stream = await open();
  t.mock.method(session.endpoint, "receive", () => assert.fail("thrown within"));
  await carrier.last.answer({ ack: 1 });
  assert.deepEqual(lost.map(({ reason }) => reason), ["internal"]);
  assert.equal((await stream.ended).reason, "internal");
});

test("a logger, a fetch and an auth that misbehave harm no session", async (t) => {
  const thrown: unknown[] = [];
  t.mock.method(console, "error", (err: unknown) => void thrown.push(err));
  const channel = channelTo(t, echo(1), {
    logger: () => {
      throw new Error("of the logger");
    },
  });
  await channel.unary("s/m", one);
  assert.ok(thrown.length > 0 && thrown.every((err) => /of the logger/.test(String(err))), String(thrown));
  for (const nothing of [undefined, null, {}, "x", 5]) {
    const broken = channelTo(t, echo(1), { fetch: (async () => nothing) as never });
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(broken.state, "connecting");
    assert.equal(broken.lastError?.reason, "network");
    const rejecting = channelTo(t, echo(1), { fetch: () => Promise.reject(nothing) });
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(rejecting.lastError?.reason, "network");
  }
  const { code, message } = await channelTo(t, echo(1), { auth: (() => ({ secret: 1 })) as never }).open("s/m").status;
  assert.deepEqual([code, message], [Code.Unauthenticated, "no credential: TypeError: auth must return text, not Object"]);
});
