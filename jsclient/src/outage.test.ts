// What a channel says of an outage, and what may be asked of it meanwhile.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeBridge } from "./fakebridge.js";
import { Channel, type ChannelOptions, type Outage, type RetryingEvent, type Transport } from "./index.js";
import { channelTo, echo, stopClocks, WELCOME } from "./testing.js";

const pass = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis));

/** A channel with an RPC open, whose network fails while down is set. */
async function fragile(t: TestContext, options: ChannelOptions = {}): Promise<{ channel: Channel; network: { down: boolean; asked: number } }> {
  const network = { down: false, asked: 0 };
  const channel = channelTo(
    t,
    (batch) => {
      network.asked++;
      if (network.down) return new Response("", { status: 502 });
      if (batch.hello) return { welcome: WELCOME };
      return batch.frames.length > 0 || batch.holdMillis === 0 ? { ack: batch.frames.at(-1)?.seq ?? 1 } : undefined;
    },
    options,
  );
  await channel.ready();
  channel.open("s/m");
  await pass(20);
  return { channel, network };
}

test("an outage is told once, then that the session was resumed; nothing carries meanwhile", async (t) => {
  const { channel, network } = await fragile(t, { backoff: { leastMs: 1, mostMs: 5, idleMs: 5 } });
  const told: unknown[] = [];
  channel.addEventListener("statechange", (e) => told.push([e.state, e.transport]));
  const resumed = new Promise<number>((resolve) => channel.addEventListener("resumed", (e) => (told.push("resumed"), resolve(e.outageMs))));
  network.down = true;
  channel.disrupt();
  while (network.asked < 12) await pass(5);
  assert.equal(channel.transport, undefined);
  network.down = false;
  assert.ok((await resumed) > 0);
  assert.deepEqual(told, [["retrying", undefined], ["open", "longpoll"], "resumed"]);
});

test("an outage has one retrying event; channel.outage counts the tries and says when the next is due", async (t) => {
  const { channel, network } = await fragile(t, { backoff: { leastMs: 40, mostMs: 40, idleMs: 40 } });
  const outage = (): Outage | undefined => channel.outage;
  assert.equal(outage(), undefined);
  t.mock.method(Math, "random", () => 1);
  const told: RetryingEvent[] = [];
  channel.addEventListener("retrying", (e) => told.push(e));
  const before = Date.now();
  network.down = true;
  const asked = network.asked;
  channel.disrupt();
  assert.equal(outage()?.attempt, 1);
  assert.ok(outage()!.nextTryAt > Date.now(), "the next try waits");
  while (network.asked < asked + 4) await pass(1);
  await pass(10);
  const { since, attempt, nextTryAt } = outage()!;
  assert.equal(attempt, network.asked - asked + 1); // that is to come
  assert.ok(nextTryAt > since);
  network.down = false;
  await channel.ready();
  assert.equal(outage(), undefined);
  assert.equal(told.length, 1);
  const [event] = told;
  assert.equal(event!.attempt, 1);
  assert.ok(event!.since >= before - 5 && event!.nextTryAt > event!.since, JSON.stringify(event));
});

test("an outage is known of a channel that has not been open yet, without an event", async (t) => {
  const channel = channelTo(t, () => new Response("", { status: 502 }), { backoff: { leastMs: 1, mostMs: 1, idleMs: 1 } });
  channel.addEventListener("retrying", () => assert.fail());
  while ((channel.outage?.attempt ?? 0) < 3) await pass(5);
  assert.equal(channel.state, "connecting");
  channel.close();
  assert.equal(channel.outage, undefined);
});

for (const transports of [["longpoll"], ["ws"]] as Transport[][]) {
  test(`RPCs go on when the network is back 119 s later, over ${transports}`, async (t) => {
    const tick = stopClocks(t);
    const bridge = new FakeBridge();
    t.after(() => bridge.close());
    bridge.stream("/s.S/Echo", async function* (requests) {
      yield* requests;
    });
    const channel = new Channel(bridge.url, { transports, storage: null, fetch: bridge.fetch, WebSocket: bridge.WebSocket }); // no channel of the bridge's, which is told when it is back
    t.after(() => channel.close());
    const call = channel.open("/s.S/Echo");
    void call.send(Uint8Array.of(1));
    await tick(100);
    assert.deepEqual((await call.messages.next()).value, Uint8Array.of(1));
    bridge.setOffline(true);
    for (let i = 0; i < 1_190; i++) await tick(100);
    bridge.setOffline(false);
    void call.send(Uint8Array.of(2));
    for (let i = 0; i < 10; i++) await tick(100);
    assert.deepEqual((await call.messages.next()).value, Uint8Array.of(2));
  });
}

test("an RPC is put on no session that its bridge may have forgotten, though no timer has run", async (t) => {
  const sessions = new Set<string>();
  const channel = channelTo(t, (batch, url) => (sessions.add(url), echo(1)(batch, url)));
  await channel.unary("s/m", Uint8Array.of(1));
  const now = performance.now.bind(performance);
  t.mock.method(performance, "now", () => now() + 100_000);
  await channel.unary("s/m", Uint8Array.of(1));
  assert.equal(sessions.size, 2);
});

test("retryNow tries at once what waits", async (t) => {
  const { channel, network } = await fragile(t, { backoff: { leastMs: 1_000_000, mostMs: 1_000_000, idleMs: 1_000_000 } });
  t.mock.method(Math, "random", () => 1);
  network.down = true;
  channel.disrupt();
  while (channel.lastError?.reason !== "status") await pass(10);
  network.down = false;
  channel.retryNow();
  await channel.ready();
  assert.equal(channel.state, "open");
});

test("a session that cannot be kept is told as lost, with how many RPCs have ended", async (t) => {
  const channel = channelTo(t, (batch) => (batch.hello ? { welcome: WELCOME } : { close: { code: 5, message: "no such session", retryAfterMillis: 0, limit: 0 } }));
  const lost = new Promise<[string, number]>((resolve) => channel.addEventListener("lost", (e) => resolve([e.error.reason, e.rpcs])));
  await channel.ready();
  const calls = [channel.open("s/m"), channel.open("s/m")];
  assert.deepEqual(await lost, ["unknown_session", 2]);
  for (const call of calls) assert.equal((await call.status).reason, "unknown_session");
});

test("ready opens a lazy channel, heeds its signal, and rejects for one that is closed", async (t) => {
  await channelTo(t, echo(1), { lazy: true }).ready();
  const mute = channelTo(t, () => undefined);
  const reason = new Error("enough");
  const controller = new AbortController();
  const waits = mute.ready({ signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(waits, reason);
  await assert.rejects(mute.ready({ signal: controller.signal }), reason);
  const closing = mute.ready();
  mute.close();
  await assert.rejects(closing, { reason: "closed" });
  await assert.rejects(mute.ready(), { reason: "closed" });
});
