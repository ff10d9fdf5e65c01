// Frames that no network lets through end their own RPC, and nothing else; no value of a caller's makes a batch that a bridge cannot read.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Channel } from "../channel.js";
import { newOpen } from "../call.js";
import { Stream } from "../engine/stream.js";
import { channelTo, echo, endFrame, type FakeExchange, type Fixture, fixture, flush, messageFrame, OPEN } from "../testing.js";
import { CODE_TOO_LARGE, type Frame, TYPE_CANCEL, TYPE_HALF_CLOSE, TYPE_MESSAGE, TYPE_OPEN } from "../wire/batch.js";
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

/** Plays such a network, and a bridge behind it that answers unary RPCs, until none is open. Returns how many bodies were refused, and the frames that were taken. */
async function play(f: Fixture, refuse: (e: FakeExchange) => Promise<void>): Promise<{ refused: number; taken: Frame[] }> {
  const came = new Map<number, Frame>();
  const taken: Frame[] = [];
  let refused = 0;
  let sent = 0;
  for (let i = 0; i < 200 && (f.session.endpoint.numStreams > 0 || f.session.endpoint.out.sendable || f.carrier.waiting.size > 0); i++) {
    for (const e of [...f.carrier.waiting]) {
      if (encodeBatch(e.batch).length > 20_000) {
        refused++;
        await refuse(e);
        continue;
      }
      const answers: Frame[] = [];
      for (const frame of e.batch.frames) came.set(frame.seq, frame);
      for (let frame; (frame = came.get(taken.length + 1)); ) {
        taken.push(frame);
        const open = taken.some(({ type, stream }) => type === TYPE_OPEN && stream === frame!.stream);
        if (open && frame.type === TYPE_HALF_CLOSE) answers.push(messageFrame(++sent, frame.stream, Uint8Array.of(2)), endFrame(++sent, frame.stream));
      }
      await e.answer({ ack: taken.length, frames: answers });
    }
    await f.tick(500);
  }
  return { refused, taken };
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
