import assert from "node:assert/strict";
import { test } from "node:test";
import { watchLife } from "./life.js";
import { SessionError } from "../engine/errors.js";
import { endFrame, fixture, flush, messageFrame } from "../testing.js";
import { TYPE_CANCEL, TYPE_CLOSE, TYPE_MESSAGE, TYPE_OPEN } from "../wire/batch.js";
import { encodeBatch } from "../wire/codec.js";
import { MAX_BEACON } from "./session.js";

class FakePage extends EventTarget {
  visibilityState = "hidden";
}

test("a page's events are told apart; nothing is heard of it any more afterwards", () => {
  const [window, page] = [new EventTarget(), new FakePage()];
  const heard: string[] = [];
  const life = {
    paused: () => heard.push("paused"),
    left: () => heard.push("left"),
    woken: (network: boolean) => heard.push(`woken ${network}`),
  };
  const stop = watchLife(life, window, page);
  const fire = (target: EventTarget, type: string, persisted?: boolean): string[] => {
    target.dispatchEvent(Object.assign(new Event(type), { persisted }));
    return heard.splice(0);
  };
  assert.deepEqual(fire(window, "pagehide", true), ["paused"]);
  assert.deepEqual(fire(window, "pageshow", true), ["woken false"]);
  assert.deepEqual(fire(window, "pageshow", false), []);
  assert.deepEqual(fire(window, "online"), ["woken true"]);
  assert.deepEqual(fire(window, "offline"), []);
  assert.deepEqual(fire(page, "freeze"), ["paused"]);
  assert.deepEqual(fire(page, "resume"), ["woken false"]);
  assert.deepEqual(fire(page, "visibilitychange"), []);
  page.visibilityState = "visible";
  assert.deepEqual(fire(page, "visibilitychange"), ["woken false"]);
  assert.deepEqual(fire(window, "pagehide", false), ["left"]);
  stop();
  assert.deepEqual([...fire(window, "pagehide", true), ...fire(page, "resume")], []);
});

test("where there is no page nothing is heard", () => {
  const never = (): void => assert.fail();
  watchLife({ paused: never, left: never, woken: never })();
});

test("a page put aside drops its links and asks the bridge to wait, by the highest x (L6)", async (t) => {
  const { ladder, carrier, open, tick, session } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  const poll = carrier.last;
  ladder.pause();
  ladder.pause();
  assert.equal(poll.aborted, true);
  assert.equal(carrier.beacons.length, 1);
  const beacon = carrier.beacons[0]!;
  assert.deepEqual([beacon.x, beacon.pauseMillis, beacon.holdMillis, beacon.frames.length], [4, 600_000, 0, 0]);
  assert.equal(beacon.key!.length, 16);

  void stream.send(Uint8Array.of(1));
  await tick(599_000); // 600 s were asked for (E1)
  assert.equal(carrier.waiting.size, 0);
  ladder.retryNow(false);
  await flush();
  const { batch } = carrier.last;
  assert.deepEqual([batch.x, batch.awaiting, batch.pauseMillis, ...batch.frames.map((f) => f.type)], [5, 5, 0, TYPE_MESSAGE]);
  await carrier.last.answer({ ack: 2, frames: [messageFrame(1, 1, Uint8Array.of(2)), endFrame(2, 1)] });
  assert.deepEqual(await stream.recv(), Uint8Array.of(2));
  assert.equal(session.error, undefined);
});

test("a page back too late finds its session expired (E1)", async (t) => {
  const { ladder, open, tick, lost } = await fixture(t, ["longpoll"]);
  const stream = await open();
  ladder.pause();
  await tick(625_001);
  ladder.retryNow(false);
  assert.deepEqual(lost.map((why) => why.reason), ["expired"]);
  assert.equal((await stream.ended).reason, "expired");
});

test("a WebSocket is closed while the page is aside and another dialled when it is back", async (t) => {
  const { ladder, carrier, open, session, tick } = await fixture(t, ["longpoll", "ws"]);
  await open();
  const socket = carrier.sockets[0]!;
  await socket.open();
  await socket.prove({ ack: 1 });
  assert.ok(session.preferred > 0);
  ladder.pause();
  assert.deepEqual([socket.closed, session.preferred, carrier.beacons[0]!.prefer], [true, 0, 0]);
  ladder.retryNow(false);
  await flush();
  await tick(0);
  assert.deepEqual([carrier.sockets.length, carrier.waiting.size], [2, 1]);
});

test("a page that goes sends what is unacked, CANCEL and CLOSE in one beacon, and ends its RPCs", async (t) => {
  const { ladder, carrier, open, lost } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await open();
  ladder.leave(new SessionError("closed", "left"));
  assert.deepEqual(carrier.beacons.map((b) => b.frames.map((f) => f.type)), [[TYPE_OPEN, TYPE_CANCEL, TYPE_CLOSE]].map(
    ([first, cancel, close]) => [first, first, cancel, cancel, close],
  ));
  assert.deepEqual(carrier.beacons[0]!.frames.map((f) => f.seq), [1, 2, 3, 4, 5]);
  assert.deepEqual([(await stream.ended).status, ...lost.map((why) => why.reason)], [1, "closed"]);
});

test("a page with more to say than a beacon holds is freed by the short window that it asks for", async (t) => {
  const { ladder, carrier, open } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  void stream.send(new Uint8Array(60_000));
  await flush();
  ladder.leave(new SessionError("closed", "left"));
  const beacon = carrier.beacons[0]!;
  assert.equal(beacon.pauseMillis, 1_000);
  assert.ok(beacon.frames.every((f) => f.type === TYPE_MESSAGE));
  assert.ok(encodeBatch(beacon).length <= MAX_BEACON + 1_024);
});

test("a woken page skips the backoff", async (t) => {
  const { ladder, carrier, open } = await fixture(t, ["longpoll"]);
  await open();
  for (let i = 0; i < 3; i++) {
    await carrier.last.fail();
    assert.equal(carrier.waiting.size, 0);
    ladder.retryNow(true);
    await flush();
    assert.equal(carrier.waiting.size, 1);
  }
});

test("a woken page asks at once beside its parked poll, and gives that up with the question", async (t) => {
  const { ladder, carrier, open, tick } = await fixture(t, ["longpoll"]);
  await open();
  await carrier.last.answer({ ack: 1 });
  const poll = carrier.last;
  ladder.retryNow(false);
  await flush();
  const question = carrier.last;
  assert.deepEqual([question.batch.x, question.batch.holdMillis, question.batch.awaiting], [4, 0, 3]);
  await tick(3_000);
  await tick(100);
  assert.deepEqual([poll.aborted, question.aborted], [true, true]);
  assert.equal(carrier.waiting.size, 1);
});

test("a woken page asks its WebSocket for a sign of life", async (t) => {
  const { ladder, carrier, open, tick } = await fixture(t, ["longpoll", "ws"]);
  await open();
  await carrier.last.answer({ ack: 1 });
  const socket = carrier.sockets[0]!;
  await socket.open();
  await socket.prove();
  await tick(10);
  ladder.retryNow(false);
  assert.equal(socket.batches.at(-1)!.ping, 10_000);
  assert.equal(carrier.waiting.size, 0);
  await tick(2_000);
  assert.equal(carrier.waiting.size, 1);
});

test("a network change lifts a WebSocket's demotion, a page's return does not", async (t) => {
  const { ladder, carrier, tick } = await fixture(t, ["longpoll", "ws"]);
  await carrier.sockets[0]!.lose();
  ladder.retryNow(false);
  await flush();
  await tick(0);
  assert.equal(carrier.sockets.length, 1);
  ladder.retryNow(true);
  await flush();
  await tick(0);
  assert.equal(carrier.sockets.length, 2);
});

test("after a sleep an answer that waits unread still counts (E1)", async (t) => {
  const { carrier, open, tick, session } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  const poll = carrier.last;
  t.mock.method(performance, "now", () => Date.now() + 10_000); // the machine slept; its timers run now
  await tick(36_000);
  assert.equal(poll.aborted, false);
  await poll.answer({ ack: 1, frames: [messageFrame(1, 1, Uint8Array.of(7))] });
  assert.deepEqual(await stream.recv(), Uint8Array.of(7));
  assert.equal(session.lastError, undefined);
});

test("after a sleep an exchange without an answer is given up a little later (E1)", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll"]);
  await open();
  await carrier.last.answer({ ack: 1 });
  const poll = carrier.last;
  t.mock.method(performance, "now", () => Date.now() + 10_000);
  await tick(36_000);
  await tick(1_999);
  assert.equal(poll.aborted, false);
  await tick(1);
  assert.equal(poll.aborted, true);
});

test("after a sleep a WebSocket is asked beside before it is given up (E1)", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll", "ws"]);
  const socket = carrier.sockets[0]!;
  await socket.open();
  await socket.prove();
  await tick(2_000);
  await open();
  assert.ok(socket.batches.at(-1)!.ping > 0);
  t.mock.method(performance, "now", () => Date.now() + 60_000);
  await tick(2_000);
  assert.deepEqual([socket.closed, carrier.waiting.size], [false, 1]);
  await tick(2_000);
  assert.equal(socket.closed, true);
});
