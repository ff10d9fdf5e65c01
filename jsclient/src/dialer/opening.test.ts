// What opening a session costs, in exchanges: each is a round trip.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Stream } from "../engine/stream.js";
import { endFrame, type Fixture, fixture, flush, messageFrame, OPEN } from "../testing.js";
import { type Frame, FRAME_COST, TYPE_HALF_CLOSE, TYPE_MESSAGE, TYPE_OPEN, TYPE_WINDOW } from "../wire/batch.js";

const UNARY = [TYPE_OPEN, TYPE_MESSAGE, TYPE_HALF_CLOSE];

/** Opens the session, after what was made before. */
function begin({ session, ladder }: Fixture): Promise<void> {
  session.start(ladder);
  return flush();
}

/** Makes a unary RPC; early: one declared idempotent (O4). */
function unary({ session }: Fixture, early: boolean): Stream {
  const stream = new Stream({ ...OPEN, singleRequest: true, singleResponse: true, early }, 64 << 10);
  session.endpoint.adopt(stream);
  void stream.send(Uint8Array.of(1));
  stream.closeSend();
  return stream;
}

const result = { ack: 3, frames: [messageFrame(1, 1, Uint8Array.of(2)), endFrame(2, 1)] };

test("an RPC declared idempotent travels with the Hello, is held there and answered with the Welcome: one round trip (O4)", async (t) => {
  const f = await fixture(t, ["longpoll"], false, false);
  const stream = unary(f, true);
  await begin(f);
  const { batch } = f.carrier.last;
  assert.ok(batch.hello);
  assert.deepEqual([batch.holdMillis, batch.frames.map((frame) => frame.type)], [1_500, UNARY]);
  await f.carrier.last.answer(result);
  assert.equal(stream.status?.status, 0);
  assert.equal(f.carrier.exchanges.length, 1);
});

test("any other RPC waits for the Welcome: two round trips", async (t) => {
  const f = await fixture(t, ["longpoll"], false, false);
  const stream = unary(f, false);
  await begin(f);
  assert.deepEqual([f.carrier.last.batch.holdMillis, f.carrier.last.batch.frames.length], [0, 0]);
  await f.carrier.last.answer();
  assert.deepEqual(f.carrier.last.batch.frames.map((frame) => frame.type), UNARY);
  await f.carrier.last.answer(result);
  assert.equal(stream.status?.status, 0);
  assert.equal(f.carrier.exchanges.length, 2);
});

test("an idempotent RPC made while the Hello is out goes beside it at once", async (t) => {
  const f = await fixture(t, ["longpoll"], false);
  const stream = unary(f, true);
  await flush();
  assert.equal(f.carrier.exchanges.length, 2);
  assert.ok(f.carrier.last.batch.hello);
  await f.carrier.last.answer(result);
  assert.equal(stream.status?.status, 0);
});

test("an RPC that must wait for the Welcome asks for it beside an idempotent one that is held", async (t) => {
  const f = await fixture(t, ["longpoll"], false, false);
  unary(f, true);
  const other = unary(f, false);
  await begin(f);
  assert.equal(f.carrier.exchanges.length, 2);
  assert.deepEqual([f.carrier.last.batch.holdMillis, f.carrier.last.batch.frames.length], [0, 0]);
  await f.carrier.last.answer({ ack: 3 });
  assert.deepEqual(f.carrier.last.batch.frames.map((frame) => frame.stream), [2, 2, 2]);
  await f.carrier.last.answer({ ack: 6, frames: [messageFrame(1, 2, Uint8Array.of(2)), endFrame(2, 2)] });
  assert.equal(other.status?.status, 0);
});

test("a single request that is long goes before its half-close, for which its sender waits", async (t) => {
  const { session, carrier } = await fixture(t, ["longpoll"]);
  const stream = new Stream({ ...OPEN, singleRequest: true }, 64 << 10);
  session.endpoint.adopt(stream);
  void stream.send(new Uint8Array(100_000)).then(() => stream.closeSend());
  await flush();
  const frames = carrier.exchanges.flatMap((exchange) => exchange.batch.frames.map((frame) => frame.type));
  assert.deepEqual([...new Set(frames)], [TYPE_OPEN, TYPE_MESSAGE]);
});

for (const early of [true, false]) {
  test(`where WebSockets vanish the first result comes after ${early ? "one round trip" : "two round trips"}`, async (t) => {
    const f = await fixture(t, ["longpoll", "ws"], false, false);
    const stream = unary(f, early);
    await begin(f);
    if (!early) await f.carrier.last.answer();
    await f.carrier.last.answer(result);
    assert.equal(stream.status?.status, 0);
    assert.deepEqual([f.carrier.exchanges.length, f.carrier.sockets.length], [early ? 1 : 2, 0], "a WebSocket is dialled behind the result");
    await f.tick(0);
    assert.equal(f.carrier.sockets.length, 1);
  });
}

// What holds new RPCs back holds none that the bridge knows: nothing would let it go.
for (const [why, hold] of [
  ["another token is asked for", async ({ session }) => void session.renew(() => new Promise(() => undefined))],
  ["the bridge is asked whether it is there", async ({ carrier, open, tick }) => {
    for (const exchange of [...carrier.waiting]) await exchange.fail();
    await tick(2_000);
    for (const exchange of [...carrier.waiting]) await exchange.fail();
    assert.equal((await open()).sendSide.waits, true);
  }],
] as [string, (f: Fixture) => Promise<void>][]) {
  test(`an RPC that has begun goes on while ${why}`, async (t) => {
    const f = await fixture(t, ["longpoll"]);
    const stream = await f.open();
    assert.equal(stream.id, 1);
    await f.carrier.last.answer({ ack: 1 });
    await hold(f);
    void stream.send(new Uint8Array(100_000)); // over the window
    stream.closeSend();
    let sent = 0;
    const drain = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) {
        await f.tick(100);
        for (const exchange of [...f.carrier.waiting]) {
          for (const { stream, data } of exchange.batch.frames) sent += stream === 1 ? data?.length ?? 0 : 0;
          if (exchange.batch.frames.length > 0) await exchange.answer({ ack: f.session.endpoint.out.lastSeq });
        }
      }
    };
    await drain();
    const before = sent;
    await [...f.carrier.waiting][0]!.answer({ frames: [{ seq: 1, stream: 1, type: TYPE_WINDOW, limit: 200_000 } as Frame] });
    await drain();
    assert.deepEqual([before, sent, f.session.endpoint.out.acked], [(64 << 10) - FRAME_COST, 100_000, f.session.endpoint.out.lastSeq]);
  });
}
