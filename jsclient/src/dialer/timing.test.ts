// Exchanges in time (PROTOCOL.md, section 5, L4, L7, E1).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Stream } from "../engine/stream.js";
import { endFrame, type FakeExchange, type Fixture, fixture, flush, messageFrame, OPEN, WELCOME } from "../testing.js";
import { TYPE_WINDOW } from "../wire/batch.js";
import { encodeBatch } from "../wire/codec.js";

/** How long it takes until an exchange is given up, in steps of 250 ms. */
async function lasts({ tick }: Fixture, exchange: FakeExchange): Promise<number> {
  let millis = 0;
  for (; !exchange.aborted; millis += 250) await tick(250);
  return millis;
}

test("the hold begins at 1.5 s, doubles while nothing comes, and begins again with what comes or is sent", async (t) => {
  const { carrier, open, quiet } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  for (const hold of [1_500, 3_000, 6_000, 12_000, 24_000, 25_000, 25_000]) {
    assert.equal(carrier.last.batch.holdMillis, hold);
    await quiet(1);
  }
  await carrier.last.answer({ ack: 1, frames: [messageFrame(1, 1, Uint8Array.of(1))] });
  assert.equal(carrier.last.batch.holdMillis, 1_500);
  await quiet(3);
  assert.equal(carrier.last.batch.holdMillis, 12_000);
  void stream.send(Uint8Array.of(1));
  await flush();
  assert.deepEqual([carrier.last.batch.frames.length, carrier.last.batch.holdMillis], [1, 1_500]);
});

test("the hold is two round trips at least", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll"]);
  await open();
  await tick(2_000);
  await carrier.last.answer({ ack: 1 });
  assert.equal(carrier.last.batch.holdMillis, 1_500, "a path that was quick once");
  for (let i = 0; i < 12; i++) {
    await tick(2_000);
    await carrier.last.answer({ ack: 1, frames: [messageFrame(i + 1, 1, Uint8Array.of(1))] });
  }
  assert.ok(carrier.last.batch.holdMillis > 3_500, String(carrier.last.batch.holdMillis));
});

test("an exchange has 3 s, twice as long after each without an answer in time, 10 s at most; the next asks for no hold", async (t) => {
  const f = await fixture(t, ["longpoll"]);
  await f.open();
  const seen: number[][] = [];
  for (let i = 0; i < 4; i++) {
    seen.push([f.carrier.last.batch.holdMillis, await lasts(f, f.carrier.last)]);
    while (f.carrier.waiting.size === 0) await f.tick(10);
  }
  assert.deepEqual(seen, [[1_500, 3_000], [0, 6_000], [0, 10_000], [0, 10_000]]);
  await f.carrier.last.answer();
  assert.equal(await lasts(f, f.carrier.last), 3_000);
});

test("before the Welcome an exchange has 10 s; a Hello beside it goes after 3 s, with early RPCs too", async (t) => {
  const f = await fixture(t, ["longpoll"], false, false);
  f.session.endpoint.adopt(new Stream({ ...OPEN, early: true }, 64 << 10));
  f.session.start(f.ladder);
  await flush();
  const first = f.carrier.last;
  assert.equal(first.batch.frames.length, 1);
  await f.tick(2_999);
  assert.equal(f.carrier.exchanges.length, 1);
  await f.tick(1);
  assert.deepEqual([f.carrier.exchanges.length, f.carrier.last.batch.frames.length, f.carrier.last.batch.holdMillis], [2, 0, 0]);
  assert.ok(f.carrier.last.batch.hello);
  assert.equal(await lasts(f, first), 7_000);
});

test("a body of 64 KiB has the time that half of the uplink's rate takes; 4 KiB/s before that is known", async (t) => {
  const f = await fixture(t, ["longpoll"]);
  const stream = await f.open();
  await f.carrier.last.answer({ ack: 1, frames: [{ seq: 1, stream: 1, type: 6, limit: 1 << 20 }] });
  void stream.send(new Uint8Array(300_000));
  await flush();
  const size = f.carrier.last.batch.frames.reduce((n, frame) => n + frame.data!.length, 0);
  const unknown = await lasts(f, f.carrier.last);
  assert.ok(unknown >= 3_000 + (size - 4_096) / 4.096 && unknown < 3_500 + size / 4.096, String(unknown));
  await f.tick(1_000);
  await f.tick(1_000);
  await f.carrier.last.answer({ ack: f.session.endpoint.out.lastSeq });
  assert.ok(f.carrier.last.batch.frames.length > 0);
  assert.ok((await lasts(f, f.carrier.last)) < 8_000);
});

test("while the least round trip is measured a body is 4 KiB long at most, in all, so that it is over in one", async (t) => {
  const { carrier, open, tick, session } = await fixture(t, ["longpoll"]);
  const { endpoint } = session;
  const stream = await open();
  await carrier.last.answer({ ack: 1, frames: [{ seq: 1, stream: 1, type: TYPE_WINDOW, limit: 32 << 20 }] });
  void stream.send(new Uint8Array(16 << 20));
  await flush();
  const rounds: string[] = [];
  for (let i = 0; i < 115; i++) {
    await tick(100);
    rounds.push(endpoint.path.probing ? "probing" : "");
    for (const exchange of [...carrier.waiting]) await exchange.answer({ ack: endpoint.out.lastSeq });
    if (endpoint.path.probing && carrier.last.batch.frames.length > 0) assert.ok(encodeBatch(carrier.last.batch).length <= 4 << 10, `${encodeBatch(carrier.last.batch).length} bytes`);
  }
  assert.equal(rounds.filter((round) => round === "probing").length, 1, rounds.join());
});

test("an exchange without an answer in time makes a WebSocket be tried at once, whatever put it off", async (t) => {
  const f = await fixture(t, ["longpoll", "ws"]);
  await f.carrier.sockets[0]!.lose();
  assert.ok(f.network.wsAfter > Date.now());
  await f.open();
  await lasts(f, f.carrier.last);
  await f.tick(0);
  assert.equal(f.carrier.sockets.length, 2);
});

test("a poll that a later exchange displaced is not empty (L7)", async (t) => {
  const { carrier, open } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  for (let i = 0; i < 5; i++) {
    const poll = carrier.last;
    void stream.send(Uint8Array.of(1));
    await flush();
    const sent = carrier.last;
    assert.deepEqual([poll.batch.frames.length, sent.batch.frames.length], [0, 1]);
    await poll.answer({ ack: i + 1 });
    assert.equal(carrier.waiting.size, 1);
    await sent.answer({ ack: i + 2 });
    assert.equal(carrier.waiting.size, 1, "the next poll waits for nothing");
  }
});

test("only frames or a higher ack reset the backoff: a poll that was held to its end does not (L7)", async (t) => {
  const { carrier, open, tick, quiet } = await fixture(t, ["longpoll"]);
  await open();
  await carrier.last.answer({ ack: 1 });
  for (let i = 0; i < 3; i++) {
    await carrier.last.fail();
    await tick(5_000);
  }
  await quiet(1);
  await carrier.last.fail();
  await tick(255);
  assert.equal(carrier.waiting.size, 0);
  await tick(1);
  assert.equal(carrier.waiting.size, 1);
});

test("a bridge that refuses at once, again and again, is asked ever less often: up to 30 s apart", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll"]);
  await open();
  await carrier.last.answer({ ack: 1 });
  const tries: number[] = [];
  for (let s = 0; s < 60; s++) {
    tries.push(carrier.waiting.size);
    for (const exchange of carrier.waiting) await exchange.fail();
    await tick(1_000);
  }
  const gaps = tries.join("").split("1").map((quiet) => quiet.length + 1);
  assert.ok(Math.max(...gaps) > 8, tries.join(""));
});

test("an older exchange has 3 s from the sending of a later one that was answered (L4)", async (t) => {
  const { carrier, open, tick, quiet } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  await quiet(3);
  const poll = carrier.last;
  void stream.send(Uint8Array.of(1));
  await flush();
  await tick(400);
  await carrier.last.answer({ ack: 2 });
  await tick(2_599);
  assert.equal(poll.aborted, false);
  await tick(1);
  assert.equal(poll.aborted, true);
});

test("the window counts from the end of an exchange's hold, and no late answer sets it back (E1)", async (t) => {
  const { carrier, open, tick, quiet, lost } = await fixture(t, ["longpoll"]);
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  await quiet(3);
  const poll = carrier.last;
  await tick(8_000);
  void stream.send(Uint8Array.of(1));
  await flush();
  await carrier.last.answer({ ack: 2, heldMicros: 0 });
  await poll.answer({ ack: 1 });
  for (let waited = 0; waited < 144_000; waited += 1_000) {
    await tick(1_000);
    for (const exchange of carrier.waiting) await exchange.fail();
  }
  assert.equal(lost.length, 0);
  await tick(1_000);
  assert.deepEqual(lost.map((why) => why.reason), ["expired"]);
});

for (const [stated, limit] of [[0, 96_000], [50_000, 40_000], [2 ** 32 - 1, 0.8 * 86_400_000]] as const) {
  test(`without RPCs a resume window of ${stated} ms is given up after ${limit} ms (E1)`, async (t) => {
    const { carrier, open, tick, lost } = await fixture(t, ["longpoll"], false);
    await carrier.last.answer({ welcome: { ...WELCOME, resumeMillis: stated } });
    await open();
    await carrier.last.answer({ ack: 1, frames: [endFrame(1, 1)] });
    await tick(limit - 1);
    assert.equal(lost.length, 0);
    await tick(100);
    assert.deepEqual(lost.map((why) => why.reason), ["expired"]);
  });
}

test("no wait is longer than half of what is left until the session is given up", async (t) => {
  const { carrier, open, tick, session } = await fixture(t, ["longpoll"]);
  await open();
  while (session.left > 4_000) {
    await tick(1_000);
    for (const exchange of carrier.waiting) await exchange.fail();
  }
  const tries = carrier.exchanges.length;
  while (session.left > 250) {
    await tick(50);
    for (const exchange of carrier.waiting) await exchange.fail();
  }
  assert.ok(carrier.exchanges.length - tries >= 4, String(carrier.exchanges.length - tries));
});
