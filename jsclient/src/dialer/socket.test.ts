// WebSockets in time (PROTOCOL.md, section 6).

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { endFrame, type FakeSocket, type Fixture, fixture, flush, messageFrame, WELCOME } from "../testing.js";

/** A session on its WebSocket, with one RPC open whose OPEN was acked. */
async function carried(f: Fixture): Promise<FakeSocket> {
  const socket = f.carrier.sockets.at(-1)!;
  await socket.open();
  if (f.carrier.exchanges.length > 0) await socket.prove();
  else await socket.say({ welcome: WELCOME, pong: socket.batches[0]!.ping });
  await f.open();
  await socket.say({ ack: f.session.endpoint.out.lastSeq });
  return socket;
}

/** Answers the ping that went last. */
const pong = (socket: FakeSocket, fields = {}): Promise<void> => socket.say({ pong: socket.batches.filter((b) => b.ping > 0).at(-1)!.ping, ...fields });

const pings = (socket: FakeSocket): number => socket.batches.filter((b) => b.ping > 0).length;

test("a ping goes when nothing came for q = 1 s while an RPC is open, for 20 s while there is none", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  const socket = await carried(f);
  const before = pings(socket);
  for (let i = 1; i <= 3; i++) {
    await f.tick(999);
    assert.equal(pings(socket), before + i - 1);
    await f.tick(1);
    assert.equal(pings(socket), before + i);
    await pong(socket);
  }
  await socket.say({ ack: 1, frames: [endFrame(1, 1)] });
  await f.tick(15_000);
  await socket.say({ ping: 1 }); // as the bridge does: nothing is missing
  await f.tick(19_999);
  assert.equal(pings(socket), before + 3);
  await f.tick(1);
  assert.equal(pings(socket), before + 4);
  assert.equal(socket.closed, false);
});

test("a ping goes when frames were unacked for q, whatever comes; a pong clears what went before its ping", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  const socket = await carried(f);
  const before = pings(socket);
  const stream = await f.open();
  void stream.send(Uint8Array.of(1));
  await flush();
  for (let i = 1; i <= 4; i++) {
    await f.tick(500);
    await socket.say({ ack: 1, frames: [messageFrame(i, 1, Uint8Array.of(1))] });
  }
  assert.equal(pings(socket), before + 1);
  await pong(socket, { ack: 1 });
  await f.tick(500);
  assert.equal(pings(socket), before + 2, "a second after the ping that was answered");
});

test("the time for a pong is doubled for each suspicion since the last pong, three times at most", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  const socket = await carried(f);
  const seen: number[] = [];
  for (const suspicions of [0, 1, 2, 3, 7, 0]) {
    f.ladder.tuner.suspicions = suspicions;
    f.session.endpoint.path.rtt = () => undefined;
    await f.tick(1_000);
    const asked = f.carrier.exchanges.length;
    let millis = 0;
    for (; f.carrier.exchanges.length === asked; millis += 500) await f.tick(500);
    seen.push(millis);
    assert.equal(f.ladder.tuner.suspicions, suspicions + 1);
    await pong(socket);
    assert.equal(f.ladder.tuner.suspicions, 0);
    await f.carrier.last.answer();
  }
  assert.deepEqual(seen, [1_000, 2_000, 4_000, 8_000, 8_000, 1_000]);
});

test("bytes in flight give a pong the time that they take", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  const socket = await carried(f);
  f.session.endpoint.path.rate.value = 16.384; // bytes per millisecond
  const stream = await f.open();
  void stream.send(new Uint8Array(40_000));
  await flush();
  const allowed = (f.session.endpoint.out.inFlightOn(socket.batches[0]!.x) - 4_096) / 8.192;
  const asked = f.carrier.exchanges.length;
  await f.tick(1_000);
  await f.tick(1_000 + Math.floor(allowed));
  assert.equal(f.carrier.exchanges.length, asked);
  await f.tick(2);
  assert.equal(f.carrier.exchanges.length, asked + 1);
});

test("frames stay on a suspected WebSocket on which others come, if what was unacked at the ping got through", async (t) => {
  for (const through of [true, false]) {
    const f = await fixture(t, ["longpoll", "ws"]);
    const socket = await carried(f);
    await f.open();
    await f.tick(1_000);
    await f.tick(1_000);
    await socket.say({ ack: 1, frames: [messageFrame(1, 1, Uint8Array.of(1))] });
    await f.carrier.last.answer({ ack: through ? 2 : 1 });
    assert.equal(f.session.preferred > 0, through);
    mock.timers.reset();
  }
});

test("a suspected WebSocket carries frames again when the pong comes after all", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  const socket = await carried(f);
  await f.tick(1_000);
  await f.tick(1_000);
  await f.carrier.last.answer({ ack: 1 });
  assert.equal(f.session.preferred, 0);
  await socket.say({ ack: 1, frames: [messageFrame(1, 1, Uint8Array.of(1))] });
  assert.equal(f.session.preferred, 0, "a frame is no pong");
  await pong(socket);
  assert.equal(f.session.preferred, socket.batches[0]!.x);
});

test("a WebSocket is given up 10 s after its ping", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  const socket = await carried(f);
  for (let millis = 0; millis < 10_500; millis += 500) await f.tick(500);
  assert.equal(socket.closed, false);
  await f.tick(500);
  assert.equal(socket.closed, true);
});

test("after two WebSockets broke with nothing acked one batch is in flight, until something is acked", async (t) => {
  const f = await fixture(t, ["ws"]);
  let socket = f.carrier.sockets[0]!;
  await socket.open();
  await socket.say({ welcome: { ...WELCOME, streamWindow: 1 << 20 } });
  const { out } = f.session.endpoint;
  const inFlight = (): number => out.inFlightOn(f.session.preferred);
  void (await f.open()).send(new Uint8Array(900_000));
  const sent: number[] = [];
  for (let i = 0; i < 3; i++) {
    await flush();
    sent.push(socket.batches.filter((b) => b.frames.length > 0).length);
    await socket.lose();
    await f.tick(300);
    socket = f.carrier.sockets.at(-1)!;
    await socket.open();
    await socket.say();
  }
  await flush();
  assert.equal(socket.batches.filter((b) => b.frames.length > 0).length, 1, `batches with frames before: ${sent}`);
  await socket.say({ ack: out.acked + 1 });
  await flush();
  assert.ok(inFlight() > 48 << 10, `${inFlight()} bytes in flight after an ack`);
});

test("where there are no exchanges another WebSocket opens beside a suspected one, and takes its place if it still is", async (t) => {
  for (const late of [false, true]) {
    const f = await fixture(t, ["ws"]);
    const first = await carried(f);
    await f.tick(1_000);
    await f.tick(1_000);
    const second = f.carrier.sockets[1]!;
    assert.deepEqual([f.carrier.sockets.length, first.closed, f.session.preferred], [2, false, 1]);
    if (late) await pong(first);
    await second.open();
    assert.deepEqual([first.closed, second.closed, f.session.preferred], [!late, late, late ? 1 : 2]);
    assert.equal(second.batches.length, late ? 0 : 1);
    mock.timers.reset();
  }
});

test("where there are no exchanges an attempt without an answer gets another beside it after 3 s, two at a time", async (t) => {
  const f = await fixture(t, ["ws"]);
  for (const sockets of [1, 1, 1, 2, 2, 2, 2, 2, 2, 2]) {
    assert.equal(f.carrier.sockets.length, sockets);
    await f.tick(1_000);
  }
  assert.deepEqual(f.carrier.sockets.map((s) => s.closed), [true, false]);
  await f.carrier.sockets[1]!.open();
  assert.ok(f.carrier.sockets[1]!.batches[0]!.hello);
});

test("where there are no exchanges a WebSocket that was of use is replaced at once", async (t) => {
  const f = await fixture(t, ["ws"]);
  for (let i = 1; i <= 5; i++) {
    const socket = await carried(f);
    await socket.lose();
    await f.tick(1);
    assert.equal(f.carrier.sockets.length, i + 1);
  }
});

test("a WebSocket that died of silence teaches how long one may be quiet", async (t) => {
  for (const { silence, silent, quiet } of [
    { silence: 10_000, silent: false, quiet: 7_000 },
    { silence: 6_000, silent: false, quiet: 5_000 },
    { silence: 20_000, silent: true, quiet: 10_500 },
    { silence: 4_000, silent: false, quiet: 20_000 },
  ]) {
    const f = await fixture(t, ["longpoll", "ws"]);
    const socket = await carried(f);
    await socket.say({ ack: 1, frames: [endFrame(1, 1)] });
    await f.tick(silence);
    if (silent) for (let i = 0; i < 4; i++) await f.tick(5_000); // a ping, a suspicion, and the end
    else await socket.lose();
    assert.equal(f.network.wsQuietMs, quiet);
    mock.timers.reset();
  }
});

test("a WebSocket is pinged before it was quiet for longer than was learnt, and watched as ever when there is an RPC", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  f.network.wsQuietMs = 7_000;
  const socket = await carried(f);
  await socket.say({ ack: 1, frames: [endFrame(1, 1)] });
  const before = pings(socket);
  await f.tick(1_000);
  for (let i = 0; i < 3; i++) {
    assert.equal(pings(socket), before + i);
    await f.tick(i === 0 ? 6_000 : 7_000);
    await pong(socket);
  }
  assert.equal(pings(socket), before + 3);
  await f.tick(3_000);
  await f.open();
  await f.tick(1_000);
  assert.equal(pings(socket), before + 4);
});

test("the end of a session that the Hello left at another bridge is a link error (O2)", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  const socket = await carried(f);
  await socket.say({ incarnation: (9n << 32n) + 1n, close: { code: 17, message: "drained", retryAfterMillis: 0, limit: 0 } });
  assert.equal(f.session.error, undefined);
  assert.equal(socket.closed, true);
});
