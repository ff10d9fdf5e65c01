import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Stream } from "../engine/stream.js";
import { endFrame, fixture, flush, INCARNATION, messageFrame, OPEN } from "../testing.js";
import { TYPE_CANCEL, TYPE_MESSAGE, TYPE_OPEN } from "../wire/batch.js";
import { LinkError } from "./carrier.js";

test("the first exchange says Hello with hold 0; an idle session makes no other (O2)", async (t) => {
  const { carrier, tick } = await fixture(t, ["longpoll"]);
  const { batch } = carrier.last;
  assert.deepEqual([batch.x, batch.holdMillis, batch.frames.length, batch.incarnation], [1, 0, 0, 0n]);
  assert.ok(batch.hello);
  assert.equal(batch.key!.length, 16);
  await tick(30_000);
  assert.equal(carrier.exchanges.length, 1);
});

test("a unary RPC costs one exchange (PROTOCOL.md, section 5)", async (t) => {
  const { carrier, session } = await fixture(t, ["longpoll"]);
  const stream = new Stream({ ...OPEN, singleRequest: true }, 64 << 10);
  session.endpoint.adopt(stream);
  void stream.send(Uint8Array.of(1));
  stream.closeSend();
  await flush();
  assert.equal(carrier.exchanges.length, 2);
  assert.equal(carrier.last.batch.frames.length, 3);
  assert.equal(carrier.last.batch.incarnation, INCARNATION);
  await carrier.last.answer({ ack: 3, frames: [messageFrame(1, 1, Uint8Array.of(2)), endFrame(2, 1)] });
  assert.equal((await stream.ended).status, 0);
  assert.equal(carrier.exchanges.length, 2);
});

test("while an RPC is open one poll is parked, what is sent goes beside it, at most two are in flight", async (t) => {
  const { carrier, open } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  const poll = carrier.last;
  assert.deepEqual([poll.batch.x, poll.batch.frames.length, poll.batch.holdMillis], [3, 0, 1_500]);
  void stream.send(Uint8Array.of(1));
  await flush();
  assert.deepEqual([carrier.last.batch.x, carrier.last.batch.awaiting, carrier.last.batch.frames.length], [4, 3, 1]);
  void stream.send(Uint8Array.of(2));
  void stream.send(Uint8Array.of(3));
  await flush();
  assert.equal(carrier.waiting.size, 2);
  await poll.answer({ ack: 1 });
  assert.deepEqual([carrier.last.batch.x, carrier.last.batch.awaiting, carrier.last.batch.frames.length], [5, 4, 2]);
});

test("a failed exchange is issued again under a new x with the same frames, whatever the failure", async (t) => {
  const { carrier, open, tick, session } = await fixture(t, ["longpoll"]);
  await open();
  const bad = [
    () => carrier.last.fail(new LinkError("status", "HTTP status 502")),
    () => carrier.last.garble(new TextEncoder().encode("<html>log in</html>")),
    () => carrier.last.garble(new Uint8Array(0)),
    () => carrier.last.answer({ x: 1 }),
    () => carrier.last.answer({ session: new Uint8Array(16) }),
    () => carrier.last.answer({ close: { code: 1, message: "garbled", retryAfterMillis: 0, limit: 0 }, x: 0 }),
    () => tick(3_000),
  ];
  for (const [i, fail] of bad.entries()) {
    assert.deepEqual([carrier.last.batch.x, carrier.last.batch.awaiting], [i + 2, i + 2]);
    assert.deepEqual(carrier.last.batch.frames.map((f) => [f.seq, f.type]), [[1, TYPE_OPEN]]);
    await fail();
    assert.equal(session.phase, "retrying");
    await tick(5_000);
  }
  await carrier.last.answer({ ack: 1 });
  assert.equal(session.phase, "open");
  assert.equal(session.error, undefined);
});

test("retries back off: soon, then 100 ms × 1.6 to 5 s", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll"]);
  await open();
  for (const wait of [250, 100, 160, 256, 409.6, 655.4, 1048.6, 1677.8, 2684.4, 4295, 5000, 5000]) {
    const before = carrier.exchanges.length;
    await tick(200); // else they are failures at once
    await carrier.last.fail();
    await tick(Math.floor(wait) - 1);
    assert.equal(carrier.exchanges.length, before, `before ${wait} ms`);
    await tick(2);
    assert.equal(carrier.exchanges.length, before + 1, `after ${wait} ms`);
  }
});

test("busy is heeded, too_large makes batches smaller", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll"]);
  const stream = await open();
  void stream.send(new Uint8Array(60_000));
  await carrier.last.answer({ close: { code: 3, message: "busy", retryAfterMillis: 2_000, limit: 0 } });
  const before = carrier.exchanges.length;
  await tick(1_999);
  assert.equal(carrier.exchanges.length, before);
  await tick(1_001);
  assert.equal(carrier.exchanges.length, before + 1);
  await carrier.last.answer({ close: { code: 4, message: "too large", retryAfterMillis: 0, limit: 10_000 } });
  await tick(250);
  const size = carrier.last.batch.frames.reduce((n, f) => n + (f.data?.length ?? 0), 0);
  assert.ok(size <= 10_000, `${size} bytes`);
});

test("early empty answers slow the polls down: the second waits 100 ms, doubling (L7)", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll"]);
  await open();
  await carrier.last.answer({ ack: 1 });
  await carrier.last.answer({ ack: 1 });
  for (const wait of [100, 200, 400, 800, 1600, 3200, 5000, 5000]) {
    const before = carrier.exchanges.length;
    await carrier.last.answer({ ack: 1 });
    await tick(wait - 1);
    assert.equal(carrier.exchanges.length, before, `before ${wait} ms`);
    await tick(1);
    assert.equal(carrier.exchanges.length, before + 1, `after ${wait} ms`);
  }
});

test("an exchange with frames that finds no answer makes the parked poll go (L5)", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  const poll = carrier.last;
  void stream.send(Uint8Array.of(1));
  await flush();
  await tick(499);
  assert.equal(poll.aborted, false);
  await tick(1);
  assert.equal(poll.aborted, true);
});

test("an answer twice, or to an exchange given up, changes nothing", async (t) => {
  const { carrier, open, session } = await fixture(t, ["longpoll"]);
  const stream = await open();
  const frames = [messageFrame(1, 1, Uint8Array.of(1))];
  await carrier.last.answer({ ack: 1, frames });
  await carrier.last.answer({ ack: 1, frames });
  assert.deepEqual(await stream.recv(), Uint8Array.of(1));
  assert.equal(session.endpoint.inbox.taken, 1);
});

test("two cuts at a similar age shorten the hold", async (t) => {
  const { carrier, open, tick, quiet } = await fixture(t, ["longpoll"]);
  await open();
  await carrier.last.answer({ ack: 1 });
  await quiet(8);
  for (let i = 0; i < 2; i++) {
    assert.equal(carrier.last.batch.holdMillis, 25_000);
    await tick(10_000);
    await carrier.last.fail();
    await tick(250);
  }
  assert.equal(carrier.last.batch.holdMillis, 7_000);
});

test("without a link for the resume window and a hold a session with RPCs is given up (E1)", async (t) => {
  const { carrier, open, tick, lost } = await fixture(t, ["longpoll"]);
  const stream = await open();
  for (let i = 0; i < 28; i++) {
    await carrier.last.fail();
    await tick(5_000);
  }
  assert.equal(lost.length, 0); // of 120 s and 25 s, 140 s have passed
  await tick(5_000);
  assert.deepEqual(lost.map((why) => why.reason), ["expired"]);
  assert.deepEqual([(await stream.ended).status, (await stream.ended).reason], [14, "expired"]);
});

test("an orderly close is the last frame, behind every CANCEL (L6)", async (t) => {
  const { carrier, open, session, lost } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  session.close();
  await flush();
  assert.deepEqual(carrier.last.batch.frames.map((f) => f.type), [TYPE_CANCEL, 8]);
  await carrier.last.answer({ ack: 3, close: { code: 16, message: "", retryAfterMillis: 0, limit: 0 } });
  assert.deepEqual(lost.map((why) => why.reason), ["closed"]);
  assert.equal((await stream.ended).status, 1);
});

test("a forced WebSocket says Hello first, resumes when lost, and sends again what was not acked", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["ws"]);
  const socket = carrier.sockets[0]!;
  await socket.open();
  assert.ok(socket.batches[0]!.hello);
  assert.deepEqual([socket.batches[0]!.x, socket.batches[0]!.prefer], [1, 1]);
  await socket.say({ pong: socket.batches[0]!.ping });
  const stream = await open();
  void stream.send(Uint8Array.of(1));
  await flush();
  await socket.say({ ack: 1 });
  await socket.lose();
  await tick(250);
  const second = carrier.sockets[1]!;
  await second.open();
  const batch = second.batches[0]!;
  assert.deepEqual([batch.x, batch.prefer, batch.hello, batch.incarnation], [2, 2, undefined, INCARNATION]);
  assert.equal(batch.key!.length, 16);
  assert.deepEqual(batch.frames.map((f) => [f.seq, f.type]), [[2, TYPE_MESSAGE]]);
  assert.equal(carrier.exchanges.length, 0);
});

test("acks go alone on a WebSocket after 20 ms", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["ws"]);
  const socket = carrier.sockets[0]!;
  await socket.open();
  await socket.say({ pong: socket.batches[0]!.ping });
  await open();
  const before = socket.batches.length;
  await socket.say({ ack: 1, frames: [messageFrame(1, 1, Uint8Array.of(1))] });
  await tick(19);
  assert.equal(socket.batches.length, before);
  await tick(1);
  assert.equal(socket.batches.at(-1)!.ack, 1);
});

test("both: a WebSocket is opened after the Welcome and preferred once its ping came back; polls go", async (t) => {
  const { carrier, open, session } = await fixture(t, ["longpoll", "ws"]);
  const socket = carrier.sockets[0]!;
  await open();
  await carrier.last.answer({ ack: 1 });
  const poll = carrier.last;
  await socket.open();
  assert.equal(session.preferred, 0);
  assert.equal(socket.batches[0]!.hello, undefined);
  await socket.prove();
  assert.equal(session.preferred, socket.batches[0]!.x);
  assert.equal(poll.aborted, true);
  assert.equal(socket.batches.at(-1)!.prefer, session.preferred);
  await open();
  assert.deepEqual(socket.batches.at(-1)!.frames.map((f) => f.type), [TYPE_OPEN]);
  assert.equal(carrier.waiting.size, 0);
});

test("both: a lost WebSocket hands over to exchanges at once", async (t) => {
  const { carrier, open } = await fixture(t, ["longpoll", "ws"]);
  const socket = carrier.sockets[0]!;
  await socket.open();
  await socket.prove();
  await open();
  await socket.lose();
  assert.deepEqual([carrier.last.batch.prefer, ...carrier.last.batch.frames.map((f) => f.type)], [0, TYPE_OPEN]);
});

test("both: a silent WebSocket gets an exchange beside it and gives way when that is answered", async (t) => {
  const { carrier, open, tick, session } = await fixture(t, ["longpoll", "ws"]);
  const socket = carrier.sockets[0]!;
  await socket.open();
  await socket.prove();
  await tick(2_000);
  await open();
  assert.deepEqual(socket.batches.slice(-2).map((b) => [b.frames.length, b.ping > 0]), [[1, false], [0, true]]);
  const before = carrier.exchanges.length;
  await tick(1_000);
  assert.equal(carrier.exchanges.length, before + 1);
  assert.ok(session.preferred > 0);
  await carrier.last.answer();
  assert.equal(session.preferred, 0);
  assert.deepEqual(carrier.last.batch.frames.map((f) => f.type), [TYPE_OPEN]);
  await tick(9_000);
  assert.equal(socket.closed, true);
});

test("both: a WebSocket that never proves itself is demoted for 30 s, doubling", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll", "ws"]);
  await open();
  await carrier.last.answer({ ack: 1, frames: [endFrame(1, 1)] });
  for (const [i, wait] of [30_000, 60_000].entries()) {
    assert.equal(carrier.sockets.length, i + 1);
    await carrier.sockets[i]!.lose();
    await tick(wait - 1);
    assert.equal(carrier.sockets.length, i + 1);
    await tick(1);
  }
});

test("frames come in any order, on any link, each is taken once", async (t) => {
  const { carrier, open, session } = await fixture(t, ["longpoll"]);
  const stream = await open();
  const frames = [1, 2, 3].map((seq) => messageFrame(seq, 1, Uint8Array.of(seq)));
  await carrier.last.answer({ ack: 1, frames: [frames[2]!, frames[0]!] });
  await carrier.last.answer({ ack: 1, frames: [frames[0]!, frames[1]!, frames[2]!] });
  for (const seq of [1, 2, 3]) assert.deepEqual(await stream.recv(), Uint8Array.of(seq));
  assert.equal(session.endpoint.inbox.taken, 3);
});

test("both: the probe is a tiny batch, then one of 4 KiB; both must come back whole", async (t) => {
  for (const spoil of [false, true]) {
    const { carrier, session } = await fixture(t, ["longpoll", "ws"]);
    const socket = carrier.sockets[0]!;
    await socket.open();
    const [first] = socket.batches;
    assert.deepEqual([first!.padding?.length ?? 0, first!.ping > 0], [0, true]);
    await socket.say();
    assert.equal(socket.batches.length, 1, "only a pong counts");
    await socket.say({ pong: first!.ping });
    const second = socket.batches[1]!;
    assert.deepEqual([second.padding!.length, session.preferred], [4_096, 0]);
    const padding = second.padding!.slice();
    if (spoil) padding[2_000]! ^= 1;
    await socket.say({ pong: second.ping, padding });
    assert.deepEqual([socket.closed, session.preferred > 0], [spoil, !spoil]);
    mock.timers.reset();
  }
});

test("both: a probe that is not answered within 3 s is given up", async (t) => {
  const { carrier, tick, session } = await fixture(t, ["longpoll", "ws"]);
  const socket = carrier.sockets[0]!;
  await socket.open();
  await socket.say({ pong: socket.batches[0]!.ping });
  await tick(2_999);
  assert.equal(socket.closed, false);
  await tick(1);
  assert.deepEqual([socket.closed, session.preferred], [true, 0]);
});
