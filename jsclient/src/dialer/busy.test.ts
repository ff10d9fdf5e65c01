// A bridge that is busy or away before the Welcome, as one that drains, is no reason to wait: behind a balancer another ID finds another bridge (W6).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Stream } from "../engine/stream.js";
import { LinkError } from "./carrier.js";
import { fixture, flush, messageFrame, OPEN } from "../testing.js";
import { CODE_BUSY, TYPE_OPEN } from "../wire/batch.js";

const busy = { close: { code: CODE_BUSY, message: "the bridge is draining", limit: 0, retryAfterMillis: 5_000 } };
const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes!).toString("hex");

test("by exchanges, another ID and key are tried at once; the Welcome comes on those", async (t) => {
  const { carrier, session, tick, open, lost } = await fixture(t, ["longpoll"], false);
  const first = carrier.last.batch;
  await carrier.last.answer(busy);
  await tick(0);
  const second = carrier.last.batch;
  assert.equal(carrier.exchanges.length, 2);
  assert.notEqual(hex(second.session), hex(first.session));
  assert.notEqual(hex(second.key), hex(first.key));
  await carrier.last.answer();
  assert.deepEqual([!!session.welcome, session.phase, lost.length], [true, "open", 0]);
  const stream = await open();
  assert.equal(hex(carrier.last.batch.session), hex(second.session));
  await carrier.last.answer({ ack: 1, frames: [messageFrame(1, 1, Uint8Array.of(7))] });
  assert.deepEqual(await stream.recv(), Uint8Array.of(7));
});

test("eight times soon, then as the bridge asks; given up after 20 s in all", async (t) => {
  const { carrier, tick, lost } = await fixture(t, ["longpoll"], false);
  for (let i = 0; i < 8; i++) {
    await carrier.last.answer(busy);
    await tick(i === 0 ? 0 : 250);
    assert.equal(carrier.exchanges.length, i + 2);
  }
  await carrier.last.answer(busy);
  await tick(4_999);
  assert.equal(carrier.exchanges.length, 9);
  assert.equal(new Set(carrier.exchanges.map((e) => hex(e.batch.session))).size, 9);
  for (let i = 0; i < 8 && lost.length === 0; i++) {
    await tick(2_500);
    for (const e of [...carrier.waiting]) await e.answer(busy);
  }
  assert.deepEqual(lost.map((why) => why.reason), ["unreachable"]);
});

test("an early RPC that was sent to a busy bridge is sent to the next", async (t) => {
  const { carrier, session, tick } = await fixture(t, ["longpoll"], false);
  const stream = new Stream({ ...OPEN, early: true }, 64 << 10);
  session.endpoint.adopt(stream);
  await flush();
  for (const e of [...carrier.waiting].reverse()) await e.answer(busy);
  await tick(250);
  const again = carrier.exchanges.filter((e) => carrier.waiting.has(e) && e.batch.frames.length > 0);
  assert.deepEqual(again.map((e) => e.batch.frames.map(({ seq, type }) => [seq, type])), [[[1, TYPE_OPEN]]]);
});

test("after the Welcome busy changes no ID", async (t) => {
  const { carrier, open, tick, session } = await fixture(t, ["longpoll"]);
  const { sid } = session;
  await open();
  await carrier.last.answer(busy);
  await tick(8_000);
  assert.equal(session.sid, sid);
});

test("by a WebSocket, another ID is tried", async (t) => {
  const { carrier, tick, session, lost } = await fixture(t, ["ws"], false);
  const { sid } = session;
  await carrier.sockets[0]!.open();
  await carrier.sockets[0]!.say(busy);
  await tick(250);
  assert.notEqual(session.sid, sid);
  const socket = carrier.sockets[1]!;
  await socket.open();
  assert.notEqual(hex(socket.batches[0]!.session), hex(carrier.sockets[0]!.batches[0]!.session));
  await socket.say();
  assert.deepEqual([!!session.welcome, lost.length], [true, 0]);
});

for (const status of [502, 503]) {
  test(`status ${status} of a balancer before the Welcome: another ID is tried soon; after it, the ID stays`, async (t) => {
    const { carrier, session, tick } = await fixture(t, ["longpoll"], false);
    const error = new LinkError("status", "no bridge", { status });
    const first = carrier.last.batch;
    await carrier.last.fail(error);
    await tick(250);
    const second = carrier.last.batch;
    assert.notEqual(hex(second.session), hex(first.session));
    assert.notEqual(hex(second.key), hex(first.key));
    await carrier.last.answer();
    const { sid } = session;
    session.endpoint.adopt(new Stream({ ...OPEN }, 64 << 10));
    await flush();
    await carrier.last.fail(error);
    await tick(250);
    assert.equal(session.sid, sid);
  });
}

test("other failures before the Welcome keep the ID: the bridge may have made the session", async (t) => {
  const { carrier, session, tick } = await fixture(t, ["longpoll"], false);
  const { sid } = session;
  for (const error of [new LinkError("network", "reset"), new LinkError("status", "too late", { status: 504 })]) {
    await carrier.last.fail(error);
    await tick(5_000);
  }
  assert.equal(session.sid, sid);
});

test("a WebSocket that is closed as of a bridge that drains: another ID before the Welcome, go_away after it", async (t) => {
  const { carrier, tick, session, away, lost } = await fixture(t, ["ws"], false);
  const { sid } = session;
  await carrier.sockets[0]!.open();
  await carrier.sockets[0]!.lose(true);
  await tick(250);
  assert.notEqual(session.sid, sid);
  const moved = session.sid;
  await carrier.sockets[1]!.open();
  await carrier.sockets[1]!.say();
  await carrier.sockets[1]!.lose(true);
  await tick(250);
  assert.deepEqual([session.sid, away, lost.length, carrier.sockets.length], [moved, [1_000], 0, 3]);
});

test("a WebSocket that cannot be opened before the Welcome: another ID is tried", async (t) => {
  const { carrier, tick, session } = await fixture(t, ["ws"], false);
  const { sid } = session;
  await carrier.sockets[0]!.lose();
  await tick(250);
  assert.notEqual(session.sid, sid);
  assert.equal(carrier.sockets.length, 2);
});
