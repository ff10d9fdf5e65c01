// Frames that no network lets through end their own RPC, and nothing else; no value of a caller's makes a batch that a bridge cannot read.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Channel } from "../channel.js";
import { newOpen } from "../call.js";
import { Stream } from "../engine/stream.js";
import { channelTo, echo, endFrame, type FakeExchange, type FakeSocket, type Fixture, fixture, flush, messageFrame, OPEN } from "../testing.js";
import { type Batch, CODE_TOO_LARGE, type Frame, TYPE_CANCEL, TYPE_HALF_CLOSE, TYPE_MESSAGE, TYPE_OPEN } from "../wire/batch.js";
import { encodeBatch, newBatch, parseBatch } from "../wire/codec.js";
import { LinkError } from "./carrier.js";

const LONG = [{ key: "long", value: new Uint8Array(30_000) }];

function unary({ session }: Fixture, metadata = OPEN.metadata): Stream {
  const stream = new Stream({ ...OPEN, metadata, singleRequest: true, singleResponse: true }, 64 << 10);
  session.endpoint.adopt(stream);
  void stream.send(Uint8Array.of(1));
  stream.closeSend();
  return stream;
}

/** How a network, or a bridge, keeps back bodies over 20,000 bytes. */
const refusals = {
  "413": (e: FakeExchange) => e.fail(new LinkError("status", "HTTP status 413", { status: 413 })),
  too_large: (e: FakeExchange) => e.answer({ close: { code: CODE_TOO_LARGE, message: "too large", limit: 20_000, retryAfterMillis: 0 } }),
  "a break": (e: FakeExchange) => e.fail(),
  "a page": (e: FakeExchange) => e.fail(new LinkError("status", "HTTP status 502", { status: 502 })),
};

/** A bridge that answers unary RPCs: what it takes, in order, and its answer to a batch. */
class Unary {
  readonly taken: Frame[] = [];
  readonly #came = new Map<number, Frame>();
  #sent = 0;

  answer(batch: Batch): Partial<Batch> {
    const frames: Frame[] = [];
    for (const frame of batch.frames) this.#came.set(frame.seq, frame);
    for (let frame; (frame = this.#came.get(this.taken.length + 1)); ) {
      this.taken.push(frame);
      const { stream } = frame;
      const open = this.taken.some((other) => other.type === TYPE_OPEN && other.stream === stream);
      if (open && frame.type === TYPE_HALF_CLOSE) frames.push(messageFrame(++this.#sent, stream, Uint8Array.of(2)), endFrame(++this.#sent, stream));
    }
    return { ack: this.taken.length, frames };
  }
}

const tooLong = (batch: Batch, limit = 20_000): boolean => encodeBatch(batch).length > limit;

/** Plays a network that keeps back bodies longer than limit, and a bridge behind it that answers unary RPCs, until none is open. Returns how many bodies were refused, and the frames that were taken. */
async function play(f: Fixture, refuse: (e: FakeExchange) => Promise<void>, limit?: number, bridge = new Unary()): Promise<{ refused: number; taken: Frame[] }> {
  let refused = 0;
  for (let i = 0; i < 200 && (f.session.endpoint.numStreams > 0 || f.session.endpoint.out.sendable || f.carrier.waiting.size > 0); i++) {
    for (const e of [...f.carrier.waiting]) {
      if (!tooLong(e.batch, limit)) await e.answer(bridge.answer(e.batch));
      else {
        refused++;
        await refuse(e);
      }
    }
    await f.tick(500);
  }
  return { refused, taken: bridge.taken };
}

/** Plays a network that cuts WebSockets at longer messages than limit, and the same bridge, until no RPC is open. Returns how many it cut, and the frames that were taken. */
async function playSockets(f: Fixture, limit?: number, bridge = new Unary()): Promise<{ cuts: number; taken: Frame[] }> {
  let socket: FakeSocket | undefined;
  let seen = 0;
  let cuts = 0;
  for (let i = 0; i < 400 && (f.session.endpoint.numStreams > 0 || f.session.endpoint.out.sent.length > 0); i++) {
    if (socket !== f.carrier.sockets.at(-1)) {
      seen = 0;
      socket = f.carrier.sockets.at(-1)!;
      await socket.open();
    }
    while (!socket!.closed && seen < socket!.batches.length) {
      const batch = socket!.batches[seen++]!;
      if (!tooLong(batch, limit)) await socket!.say({ pong: batch.ping, ...bridge.answer(batch) });
      else {
        cuts++;
        await socket!.lose();
      }
    }
    await f.tick(250);
  }
  return { cuts, taken: bridge.taken };
}

for (const [how, refuse] of Object.entries(refusals)) {
  test(`an RPC whose metadata is too long ends with its length, its neighbours go on: ${how}`, async (t) => {
    const f = await fixture(t, ["longpoll"]);
    const streams = [unary(f), unary(f, LONG), unary(f)];
    await flush();
    const { refused } = await play(f, refuse);
    const [before, long, after] = streams.map((stream) => stream.status);
    assert.deepEqual([before?.status, after?.status], [0, 0]);
    assert.deepEqual([long?.status, long?.reason], [8, "limit"]);
    assert.match(long!.message, /^request metadata: a batch of 30\d\d\d bytes is too long/);
    assert.ok(refused <= 20, `${refused} bodies were refused`);
    assert.deepEqual([f.lost.length, f.session.endpoint.numStreams], [0, 0]);
  });
}

test("the number of a frame that is refused is filled, so that the bridge takes what is behind it", async (t) => {
  const f = await fixture(t, ["longpoll"]);
  unary(f, LONG);
  await flush();
  const { taken } = await play(f, refusals["413"]);
  assert.deepEqual(taken.map(({ type }) => type), [TYPE_CANCEL, TYPE_MESSAGE, TYPE_HALF_CLOSE, TYPE_CANCEL]);
});

test("an RPC whose metadata is too long for a WebSocket alone ends with its length, its neighbours go on", async (t) => {
  const f = await fixture(t, ["ws"]);
  const streams = [unary(f), unary(f, LONG), unary(f)];
  await flush();
  const { cuts, taken } = await playSockets(f);
  const [before, long, after] = streams.map((stream) => stream.status);
  assert.deepEqual([before?.status, after?.status], [0, 0]);
  assert.deepEqual([long?.status, long?.reason], [8, "limit"]);
  assert.match(long!.message, /^request metadata: a batch of 30\d\d\d bytes is too long for the network: it was sent again 6 times$/);
  assert.deepEqual(taken.filter(({ stream }) => stream === 2).map(({ type }) => type), [TYPE_CANCEL, TYPE_MESSAGE, TYPE_HALF_CLOSE, TYPE_CANCEL]);
  assert.deepEqual([f.lost.length, f.session.endpoint.numStreams], [0, 0]);
  assert.equal(cuts, 12);
});

for (const transport of ["ws", "longpoll"] as const) {
  test(`a part of a message that is longer than what gets through ends its RPC, and no other is as long: ${transport}`, async (t) => {
    const f = await fixture(t, [transport]);
    const bridge = new Unary();
    const upload = async (limit: number): Promise<Stream> => {
      const stream = new Stream({ ...OPEN, singleRequest: true, singleResponse: true }, 64 << 10);
      f.session.endpoint.adopt(stream);
      void stream.send(new Uint8Array(40_000));
      stream.closeSend();
      await flush();
      if (transport === "ws") await playSockets(f, limit, bridge);
      else await play(f, refusals["a page"], limit, bridge);
      return stream;
    };
    for (const limit of [1 << 20, 1 << 20]) assert.equal((await upload(limit)).status?.status, 0, `limit ${limit}`);
    const long = await upload(6_000);
    assert.deepEqual([long.status?.status, long.status?.reason], [8, "limit"]);
    assert.match(long.status!.message, /^a part of a message: a batch of \d{4,5} bytes is too long for the network/);
    for (const limit of [6_000, 6_000]) assert.equal((await upload(limit)).status?.status, 0, "behind it");
    assert.deepEqual(f.lost, []);
  });
}

test("the last ping of an answer is ponged with every exchange, and such an answer lets the next one go at once", async (t) => {
  const f = await fixture(t, ["longpoll"]);
  unary(f);
  await flush();
  for (const [ping, pong] of [[0, 0], [7, 7], [0, 7], [9, 9]] as const) {
    const before = f.carrier.last;
    await before.answer({ ping, ack: 3 });
    await flush();
    assert.notEqual(f.carrier.last, before);
    assert.equal(f.carrier.last.batch.pong, pong);
  }
});

test("one break ends no RPC, however long its metadata", async (t) => {
  const f = await fixture(t, ["longpoll"]);
  const stream = unary(f, [{ key: "long", value: new Uint8Array(50_000) }]);
  await flush();
  for (let i = 0; i < 2; i++) {
    await f.carrier.last.fail();
    await f.tick(500);
  }
  assert.equal(stream.status, undefined);
});

const timeouts = [0, 1e-9, 0.5, 1, 2 ** 31, 2 ** 53, 1e15, 1e20, 1e300, Number.MAX_VALUE, Infinity, undefined];

test("whatever timeout a caller names, a bridge can read the batch", () => {
  for (const timeoutMs of timeouts) {
    const open = newOpen("/s/m", { timeoutMs });
    const batch = { ...newBatch(), frames: [{ seq: 1, stream: 1, type: TYPE_OPEN, open }] };
    const [frame] = parseBatch(encodeBatch(batch)).frames;
    assert.equal(frame!.open!.timeoutMicros, open.timeoutMicros, `${timeoutMs}`);
    assert.ok(open.timeoutMicros === undefined || Number.isSafeInteger(open.timeoutMicros), `${timeoutMs}`);
  }
  for (const timeoutMs of [-1, NaN, -Infinity]) assert.throws(() => newOpen("/s/m", { timeoutMs }), /timeoutMs/);
});

test("a timeout longer than anybody lives stops nothing", async (t: TestContext) => {
  const channel = channelTo(t, echo(1));
  const { message } = await channel.unary("s/m", Uint8Array.of(1), { timeoutMs: 1e20 });
  assert.deepEqual([...message], [0]);
});

test("an option that could not be said to a bridge is refused by name", () => {
  for (const value of [NaN, -1, 1.5, Infinity, 1e300]) {
    assert.throws(() => new Channel("http://b.test", { maxMessageBytes: value, lazy: true }), /^TypeError: option maxMessageBytes/, `${value}`);
    assert.throws(() => new Channel("http://b.test", { holdMs: value, lazy: true }), /^TypeError: option holdMs/, `${value}`);
  }
});
