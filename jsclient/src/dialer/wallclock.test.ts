// The clock on the wall decides nothing: a jump makes the client ask at once, and the bridge's answer counts (E1).

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Demotion } from "../tune/demotion.js";
import { fixture, flush, messageFrame, stopClocks } from "../testing.js";
import { CODE_UNKNOWN } from "../wire/batch.js";
import { Memory } from "./memory.js";

/** Sets the clock on the wall ahead by so much, and the steady one. */
function set(t: TestContext, wall: number, steady = 0): void {
  const [date, now] = [Date.now, performance.now];
  t.mock.method(Date, "now", () => date() + wall);
  t.mock.method(performance, "now", () => now.call(performance) + steady - wall);
}

const jumps = { "2 min ahead": 120_000, "a year ahead": 3e10, "2 min back": -120_000, "a year back": -3e10 };

for (const [what, wall] of Object.entries(jumps)) {
  test(`by exchanges, the clock jumps ${what}: a quiet stream and a new RPC go on`, async (t) => {
    const { carrier, open, tick, session, lost } = await fixture(t, ["longpoll"]);
    const quiet = await open();
    await carrier.last.answer({ ack: 1 });
    set(t, wall);
    await open();
    await tick(0);
    const asked = carrier.exchanges.filter((e) => carrier.waiting.has(e) && e.batch.holdMillis === 0);
    assert.equal(asked.length > 0, wall > 0, "it asks at once after a jump ahead");
    for (const e of [...carrier.waiting]) await e.answer({ ack: 2 });
    await carrier.last.answer({ ack: 2, frames: [messageFrame(1, 1, Uint8Array.of(7))] });
    assert.deepEqual([await quiet.recv(), session.phase, lost.length], [Uint8Array.of(7), "open", 0]);
  });

  test(`by a WebSocket, the clock jumps ${what}: a quiet stream and a new RPC go on`, async (t) => {
    const { carrier, open, tick, session, lost } = await fixture(t, ["ws"]);
    const socket = carrier.sockets[0]!;
    await socket.open();
    await socket.say();
    const quiet = await open();
    set(t, wall);
    await open();
    await tick(100);
    await socket.say({ ack: 2, pong: socket.batches.at(-1)!.ping, frames: [messageFrame(1, 1, Uint8Array.of(7))] });
    assert.deepEqual([await quiet.recv(), session.phase, lost.length, carrier.sockets.length], [Uint8Array.of(7), "open", 0, 1]);
  });

  test(`a WebSocket that is put off when the clock jumps ${what} is put off no longer than it was`, (t) => {
    stopClocks(t);
    const demotion = new Demotion(new Memory("test", undefined, 25_000).network);
    demotion.failed(Date.now(), "lost");
    assert.ok(demotion.left(Date.now() + wall) <= 30_000);
  });
}

for (const steady of [0, 200_000]) {
  test(`a machine that slept, its steady clock ${steady ? "too" : "still"}: the bridge's answer ends the session, or none does`, async (t) => {
    for (const kept of [true, false]) {
      await t.test(kept ? "kept" : "forgotten", async (t) => {
        const { carrier, open, tick, session, lost } = await fixture(t, ["longpoll"]);
        const stream = await open();
        await carrier.last.answer({ ack: 1 });
        set(t, 200_000, steady);
        await open();
        await tick(0);
        await flush();
        if (steady) return assert.deepEqual(lost.map((why) => why.reason), ["expired"]);
        if (kept) await carrier.last.answer({ ack: 2, frames: [messageFrame(1, 1, Uint8Array.of(7))] });
        else await carrier.last.answer({ incarnation: 0n, close: { code: CODE_UNKNOWN, message: "", retryAfterMillis: 0, limit: 0 } });
        if (kept) assert.deepEqual([await stream.recv(), session.phase], [Uint8Array.of(7), "open"]);
        else assert.deepEqual(lost.map((why) => why.reason), ["unknown_session"]);
      });
    }
  });
}
