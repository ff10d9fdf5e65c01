import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { SessionError } from "../engine/errors.js";
import { fixture, flush, messageFrame, stopClocks } from "../testing.js";
import type { Network } from "../tune/network.js";
import { LinkError, OriginError } from "./carrier.js";
import { Memory } from "./memory.js";

const HOUR = 3_600_000;
const KEY = "pollbridge http://bridge.test/bridge/v1/";

/** A page's storage, of which a test sees what is in it. */
class Store extends Map<string, string> {
  getItem(key: string): string | null {
    return this.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    this.set(key, value);
  }
}

const fresh = (): Network => new Memory(KEY, undefined, 25_000).network;

function learnt(t: TestContext, changes: Partial<Network>): { store: Store; tick(millis: number): Promise<void> } {
  const tick = stopClocks(t);
  const store = new Store();
  const memory = new Memory(KEY, store, 25_000);
  Object.assign(memory.network, changes);
  assert.equal(memory.save(), true);
  assert.equal(memory.save(), false);
  return { store, tick };
}

test("what was learnt is there for the next page, and forgotten after 4 hours", async (t) => {
  const changes: Partial<Network> = { holdMs: 7_000, upBytes: 2_048, downBytes: 32_768, form: "text", wsPauseMs: 60_000, wsAfter: 50_000, wsWhy: "closed", wsQuietMs: 7_000 };
  const { store, tick } = learnt(t, changes);
  assert.deepEqual([...store.keys()], [KEY]);
  await tick(4 * HOUR - 1);
  const kept = new Memory(KEY, store, 25_000);
  assert.deepEqual(kept.network, { since: 0, ...changes });
  await tick(1);
  assert.deepEqual(new Memory(KEY, store, 25_000).network, fresh());
  kept.expire();
  assert.deepEqual(kept.network, fresh());
});

test("a clock set back makes it forget", async (t) => {
  const { store } = learnt(t, { since: HOUR, form: "text" });
  assert.equal(new Memory(KEY, store, 25_000).network.form, "binary");
});

test("whatever stands in the storage, a network comes out that can be used", () => {
  const now = Date.now();
  const bad = ["", "null", "7", "{", "[]", JSON.stringify({ since: now, holdMs: 1, upBytes: -5, downBytes: 1e12, form: "gif", wsPauseMs: "9", wsAfter: now + 1e9, wsWhy: 7, wsQuietMs: 1 })];
  for (const text of bad) {
    const store = new Store([[KEY, text]]);
    assert.deepEqual({ ...new Memory(KEY, store, 25_000).network, since: 0 }, { ...fresh(), since: 0 }, text);
  }
});

test("a storage that throws is done without", () => {
  const forbidden = (): never => {
    throw new DOMException("denied", "SecurityError");
  };
  const memory = new Memory(KEY, { getItem: forbidden, setItem: forbidden }, 25_000);
  memory.network.form = "text";
  assert.equal(memory.save(), true);
});

test("a WebSocket that was blocked is not tried by the next session before its time, but at once after a change of network", async (t) => {
  const { ladder, carrier, network, tick, open } = await fixture(t, ["longpoll", "ws"]);
  await open();
  await carrier.sockets[0]!.lose();
  assert.deepEqual([network.wsPauseMs, network.wsAfter], [30_000, 30_000]);
  assert.match(network.wsWhy, /./);
  ladder.halt();

  const next = await fixture(t, ["longpoll", "ws"], true, true, network);
  await next.open();
  await tick(29_999);
  assert.equal(next.carrier.sockets.length, 0);
  await tick(1);
  await next.tick(0);
  assert.equal(next.carrier.sockets.length, 1);
  await next.carrier.sockets[0]!.lose();
  assert.equal(network.wsPauseMs, 60_000);
  next.ladder.retryNow(true);
  await flush();
  await next.tick(0);
  assert.deepEqual([next.carrier.sockets.length, network.wsPauseMs, network.wsAfter, network.wsWhy], [2, 0, 0, ""]);
});

test("the second failure of a form that never worked leads to the other, which is remembered", async (t) => {
  const { carrier, network, tick, open, session } = await fixture(t, ["longpoll"], false);
  for (let i = 0; i < 2; i++) {
    await carrier.last.fail(new LinkError("status", "HTTP status 403"));
    await tick(250);
  }
  assert.deepEqual(carrier.exchanges.map((e) => e.text), [false, false, true]);
  await carrier.last.answer();
  assert.deepEqual([network.form, !!session.welcome], ["text", true]);
  const trial = carrier.last;
  assert.deepEqual([trial.text, trial.batch.holdMillis, trial.batch.frames.length], [false, 0, 0], "a binary exchange is tried once, beside");
  const stream = await open();
  assert.deepEqual([carrier.last.text, carrier.last.batch.frames.length], [true, 1], "an RPC does not wait for it");
  await trial.fail(new LinkError("status", "HTTP status 403"));
  await carrier.last.answer({ ack: 1, frames: [messageFrame(1, 1, Uint8Array.of(7))] });
  assert.deepEqual([await stream.recv(), network.form, session.phase], [Uint8Array.of(7), "text", "open"]);
  assert.ok(carrier.exchanges.slice(4).every((e) => e.text), "it is not tried twice");
});

test("binary is gone back to when its trial is answered: the failures had nothing to do with the form", async (t) => {
  const { carrier, network, tick } = await fixture(t, ["longpoll"], false);
  for (let i = 0; i < 2; i++) {
    await carrier.last.fail();
    await tick(250);
  }
  await carrier.last.answer();
  await carrier.last.answer();
  assert.equal(network.form, "binary");
});

test("a Hello that is swallowed is sent again after 3 s in the other form", async (t) => {
  const { carrier, tick, session } = await fixture(t, ["longpoll"], false);
  await tick(3_000);
  assert.deepEqual(carrier.exchanges.map((e) => e.text), [false, true]);
  await carrier.last.answer();
  assert.equal(!!session.welcome, true);
});

const refusedForm = (): Error => new OriginError('a request of type "text/plain" needs the Origin of a page');

test("where requests carry no Origin nothing turns to text, which would not be admitted, whatever fails before the Welcome", async (t) => {
  for (const fails of ["at once", "in time"]) {
    await t.test(fails, async (t) => {
      const { carrier, tick, session, lost } = await fixture(t, ["longpoll"], false, true, undefined, false);
      for (let i = 0; i < 6; i++) {
        if (fails === "at once") for (const e of [...carrier.waiting]) await e.fail();
        await tick(3_000);
      }
      assert.ok(carrier.exchanges.length > 2);
      assert.ok(carrier.exchanges.every((e) => !e.text));
      await carrier.last.answer();
      assert.deepEqual([!!session.welcome, lost.length], [true, 0]);
    });
  }
});

test("where requests carry no Origin, what another had learnt of text does not count", async (t) => {
  stopClocks(t);
  const network = { ...fresh(), form: "text" as const };
  const { ladder, carrier } = await fixture(t, ["longpoll"], true, true, network, false);
  ladder.leave(new SessionError("closed", "left"));
  assert.deepEqual([network.form, carrier.exchanges[0]!.text, ...carrier.beaconForms], ["binary", false, false]);
});

test("a 403 to text sends the client back to binary for good, and ends nothing (W4)", async (t) => {
  const { carrier, tick, session, network, lost } = await fixture(t, ["longpoll"], false);
  for (let i = 0; i < 2; i++) {
    await carrier.last.fail();
    await tick(250);
  }
  assert.equal(carrier.last.text, true);
  await carrier.last.fail(refusedForm());
  for (let i = 0; i < 4; i++) {
    await tick(3_000);
    assert.equal(carrier.last.text, false);
    if (i < 3) await carrier.last.fail();
  }
  await carrier.last.answer();
  assert.deepEqual([network.form, !!session.welcome, lost.length], ["binary", true, 0]);
});

test("a 403 to both forms is the page's, and final (W4)", async (t) => {
  stopClocks(t);
  const { carrier, tick, lost } = await fixture(t, ["longpoll"], false, true, { ...fresh(), form: "text" });
  await carrier.last.fail(refusedForm());
  await tick(250);
  assert.deepEqual([carrier.last.text, lost.length], [false, 0]);
  await carrier.last.fail(new OriginError("origin http://a.test is not allowed"));
  assert.deepEqual(lost.map((why) => why.reason), ["origin"]);
});

test("after the Welcome a 403 is a link error, in either form (W4)", async (t) => {
  for (const form of ["binary", "text"] as const) {
    await t.test(form, async (t) => {
      stopClocks(t);
      const { carrier, tick, open, session, lost } = await fixture(t, ["longpoll"], true, true, { ...fresh(), form });
      const stream = await open();
      for (const e of [...carrier.waiting]) await e.fail(refusedForm());
      assert.deepEqual([session.phase, lost.length], ["retrying", 0]);
      await tick(5_000);
      await carrier.last.answer({ ack: 1, frames: [messageFrame(1, 1, Uint8Array.of(7))] });
      assert.deepEqual([await stream.recv(), session.phase], [Uint8Array.of(7), "open"]);
    });
  }
});

test("exchanges with frames that are swallowed, while polls are answered, lead to the other form at the fourth", async (t) => {
  const { carrier, open, tick } = await fixture(t, ["longpoll"]);
  await open();
  const forms: boolean[] = [];
  while (forms.length < 5) {
    for (const e of [...carrier.waiting]) {
      if (e.batch.frames.length === 0) await e.answer();
      else {
        forms.push(e.text);
        await e.fail();
      }
    }
    await tick(5_000);
  }
  assert.deepEqual(forms, [false, false, false, false, true]);
});

test("a page's last batch has the form that works", async (t) => {
  stopClocks(t);
  const network = { ...fresh(), form: "text" as const };
  const { ladder, carrier } = await fixture(t, ["longpoll"], true, true, network);
  ladder.leave(new SessionError("closed", "left"));
  assert.deepEqual([carrier.exchanges[0]!.text, ...carrier.beaconForms], [true, true]);
});
