// What the simulation and the Go engine's tests found, each made small.

import assert from "node:assert/strict";
import { test } from "node:test";
import { endFrame, fixture, flush, messageFrame, WELCOME } from "../testing.js";
import { MAX_FRAGMENT, TYPE_OPEN } from "../wire/batch.js";

test("a full WebSocket still carries the frame that closes a gap: what fills it cannot be acked before", async (t) => {
  const { carrier, open, session } = await fixture(t, ["longpoll", "ws"]);
  const socket = carrier.sockets[0]!;
  await open();
  const poll = carrier.last;
  await socket.open();
  await socket.prove();
  for (let i = 0; i < 8; i++) void (await open()).send(new Uint8Array(MAX_FRAGMENT));
  await flush();
  assert.ok(session.endpoint.path.maxInFlight() - session.endpoint.out.inFlightOn(session.preferred) <= MAX_FRAGMENT, "the WebSocket is not full");
  const before = socket.batches.length;
  await poll.fail();
  assert.deepEqual(socket.batches.slice(before).flatMap((b) => b.frames.map((f) => [f.seq, f.type])), [[1, TYPE_OPEN]]);
});

test("both: right after its proof a WebSocket falls silent: an exchange beside it is answered at once", async (t) => {
  const { carrier, open, tick, session } = await fixture(t, ["longpoll", "ws"]);
  const socket = carrier.sockets[0]!;
  await socket.open();
  await socket.prove();
  await open();
  const before = carrier.exchanges.length;
  await tick(1_000);
  assert.equal(carrier.exchanges.length, before);
  await tick(1_000);
  assert.equal(carrier.exchanges.length, before + 1);
  assert.equal(carrier.last.batch.holdMillis, 0);
  await carrier.last.fail();
  await tick(250);
  assert.deepEqual([carrier.exchanges.length, carrier.last.batch.holdMillis], [before + 2, 0]);
  await carrier.last.answer();
  assert.equal(session.preferred, 0);
});

test("both: exchanges that bring no Welcome are helped by a WebSocket after 3 s, and by a second Hello", async (t) => {
  const { carrier, tick, session, open } = await fixture(t, ["longpoll", "ws"], false);
  await tick(2_999);
  assert.deepEqual([carrier.exchanges.length, carrier.sockets.length], [1, 0]);
  await tick(1);
  await tick(0);
  assert.deepEqual([carrier.exchanges.length, carrier.sockets.length], [2, 1]);
  assert.ok(carrier.last.batch.hello);
  const socket = carrier.sockets[0]!;
  await socket.open();
  assert.ok(socket.batches[0]!.hello);
  await socket.prove({ welcome: WELCOME });
  assert.ok(session.preferred > 0);
  await open();
  assert.deepEqual(socket.batches.at(-1)!.frames.map((f) => f.type), [TYPE_OPEN]);
});

for (const used of [false, true]) {
  test(`a session that was ${used ? "" : "not "}used ${used ? "does not expire" : "expires"} before the bridge would forget an unused one`, async (t) => {
    const { open, tick, carrier, lost } = await fixture(t, ["longpoll"]);
    if (used) {
      await open();
      await carrier.last.answer({ ack: 1, frames: [endFrame(1, 1)] });
    }
    await tick(24_000);
    assert.deepEqual(lost.map((why) => why.reason), used ? [] : ["expired"]);
  });
}

test("a resume window beyond what a timer can count is not an endless loop", async (t) => {
  const delays: number[] = [];
  const { carrier, open, tick } = await fixture(t, ["longpoll"], false);
  const real = globalThis.setTimeout;
  t.mock.method(globalThis, "setTimeout", (what: () => void, millis: number) => (delays.push(millis), real(what, millis)));
  await carrier.last.answer({ welcome: { ...WELCOME, resumeMillis: 2 ** 32 - 1 } });
  await open();
  await carrier.last.answer({ ack: 1, frames: [endFrame(1, 1)] });
  await tick(24_000);
  assert.ok(Math.max(...delays) > 1_000_000, String(delays));
  assert.ok(delays.every((millis) => millis < 2 ** 31), String(delays));
});

test("frames dropped ahead of order are asked for at once, then once a second", async (t) => {
  const { carrier, open, tick, session } = await fixture(t, ["longpoll"]);
  await open();
  await carrier.last.answer({ ack: 1 });
  const ahead = Array.from({ length: 450 }, (_, i) => messageFrame(i + 2, 1, new Uint8Array(16 << 10)));
  await carrier.last.answer({ frames: ahead });
  assert.equal(session.endpoint.inbox.hasGap, true);
  assert.equal(carrier.last.batch.resend, true);
  const poll = carrier.last;
  await tick(1_000);
  session.endpoint.wake();
  await flush();
  assert.notEqual(carrier.last, poll);
  assert.equal(carrier.last.batch.resend, true);
});
