// The double that pollbridge/testing is, with real channels.

import { deepEqual, equal, rejects } from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { FakeBridge, type FakeRPC, statusError } from "./fakebridge.js";
import { type Call, type Channel, type ChannelOptions, Code, type StatusError, type Transport } from "./index.js";

const ONE = Uint8Array.of(1);

/** A bridge that is closed with the test, with a script for each kind of RPC. */
function newBridge(t: TestContext): FakeBridge {
  const bridge = new FakeBridge();
  t.after(() => bridge.close());
  bridge.unary("/s.S/Double", ([n]) => Uint8Array.of(2 * n!));
  bridge.stream("/s.S/Count", async function* (requests) {
    const { value } = await requests.next();
    for (let i = 0; i < value![0]!; i++) yield Uint8Array.of(i);
  });
  bridge.stream("/s.S/Echo", (requests) => requests);
  return bridge;
}

/** Resolves once the channel is as it should be. */
async function until(channel: Channel, is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => channel.addEventListener("statechange", resolve, { once: true }));
}

/** Returns a call's next message. */
async function next(call: Call): Promise<number[]> {
  return [...((await call.messages.next()).value ?? [])];
}

const ways: Transport[][] = [["longpoll"], ["ws"], ["longpoll", "ws"]];

for (const transports of ways) {
  test(`every kind of RPC, by ${transports.join(" and ")}`, async (t) => {
    const bridge = newBridge(t);
    const channel = bridge.channel({ transports });
    deepEqual([...(await channel.unary("/s.S/Double", ONE)).message], [2]);

    const counted = channel.open("/s.S/Count");
    void counted.send(Uint8Array.of(200));
    counted.closeSend();
    const seen: number[] = [];
    for await (const [n] of counted.messages) seen.push(n!);
    deepEqual(seen, Array.from({ length: 200 }, (_, i) => i));

    const echo = channel.open("/s.S/Echo");
    for (const n of [7, 8, 9]) {
      void echo.send(Uint8Array.of(n));
      deepEqual(await next(echo), [n]);
    }
    echo.closeSend();
    equal((await echo.messages.next()).done, true);
    equal((await echo.status).code, Code.Ok);
    await until(channel, () => channel.transport === transports.at(-1));
    equal(bridge.sessions, 1);
  });

  test(`messages longer than every window, by ${transports.join(" and ")}`, async (t) => {
    const bridge = newBridge(t);
    const channel = bridge.channel({ transports });
    const long = Uint8Array.from({ length: 700_000 }, (_, i) => i);
    const echo = channel.open("/s.S/Echo");
    void echo.send(long);
    void echo.send(new Uint8Array());
    void echo.send(long);
    echo.closeSend();
    for (const want of [long, new Uint8Array(), long]) deepEqual((await echo.messages.next()).value, want);
    equal((await echo.messages.next()).done, true);
  });

  test(`a stream outlives an outage, by ${transports.join(" and ")}`, async (t) => {
    const bridge = newBridge(t);
    const channel = bridge.channel({ transports });
    const happened: string[] = [];
    let state = channel.state;
    channel.addEventListener("statechange", (event) => {
      if (event.state !== state) happened.push((state = event.state));
    });
    for (const type of ["resumed", "lost"] as const) channel.addEventListener(type, () => void happened.push(type));
    const echo = channel.open("/s.S/Echo");
    void echo.send(Uint8Array.of(1));
    deepEqual(await next(echo), [1]);
    await until(channel, () => channel.transport === transports.at(-1));
    bridge.setOffline(true);
    await until(channel, () => channel.state === "retrying");
    equal(channel.transport, undefined);
    void echo.send(Uint8Array.of(2));
    void echo.send(Uint8Array.of(3));
    bridge.setOffline(false);
    deepEqual([await next(echo), await next(echo)], [[2], [3]]);
    await until(channel, () => channel.state === "open");
    deepEqual(happened, ["open", "retrying", "open", "resumed"]);
    equal(bridge.sessions, 1);
  });

  test(`a restart ends the RPCs that were begun, by ${transports.join(" and ")}`, async (t) => {
    const bridge = newBridge(t);
    let aborted: boolean | undefined;
    bridge.stream("/s.S/Watch", async function* (_, { signal }) {
      signal.addEventListener("abort", () => (aborted = true));
      yield ONE;
      await new Promise(() => undefined);
    });
    const channel = bridge.channel({ transports });
    const lost = new Promise<string>((resolve) => channel.addEventListener("lost", ({ error, rpcs }) => resolve(`${error.reason} ${rpcs}`)));
    const watch = channel.open("/s.S/Watch");
    deepEqual(await next(watch), [1]);
    bridge.restart();
    equal(await lost, "bridge_restarted 1");
    const { code, reason } = await watch.status;
    deepEqual([code, reason, aborted], [Code.Unavailable, "bridge_restarted", true]);
    deepEqual([...(await channel.unary("/s.S/Double", ONE)).message], [2], "on another session");
    equal(bridge.sessions, 1);
  });
}

test("without WebSockets a channel goes on by long-polling, and back", async (t) => {
  const bridge = newBridge(t);
  const channel = bridge.channel();
  const echo = channel.open("/s.S/Echo");
  for (const [allowed, transport] of [[true, "ws"], [false, "longpoll"], [true, "ws"]] as const) {
    bridge.setWebSocket(allowed);
    await until(channel, () => channel.transport === transport);
    void echo.send(ONE);
    deepEqual(await next(echo), [1]);
  }
});

test("headers, trailers and statuses are the script's", async (t) => {
  const bridge = newBridge(t);
  const asked: FakeRPC[] = [];
  bridge.unary("/s.S/Get", (request, rpc) => {
    asked.push(rpc);
    rpc.sendHeaders({ "x-header": "h", "x-bin": ONE });
    rpc.setTrailers([["x-trailer", "t"]]);
    if (request.length === 0) throw statusError(Code.NotFound, "no such note", [["x-why", "w"]]);
    return request;
  });
  const channel = bridge.channel();
  const { message, headers, trailers } = await channel.unary("/s.S/Get", ONE, { metadata: { authorization: "Bearer x" } });
  deepEqual([message, headers, trailers], [ONE, [["x-header", "h"], ["x-bin", ONE]], [["x-trailer", "t"]]]);
  deepEqual([asked[0]!.method, asked[0]!.metadata], ["/s.S/Get", [["authorization", "Bearer x"]]]);
  await rejects(channel.unary("/s.S/Get", new Uint8Array()), ({ code, status }: StatusError) => {
    deepEqual([code, status.message, status.origin, status.trailers], [Code.NotFound, "no such note", "backend", [["x-why", "w"]]]);
    return true;
  });
  bridge.unary("/s.S/Get", () => Promise.reject(new Error("a bug")));
  await rejects(channel.unary("/s.S/Get", ONE), { code: Code.Unknown, message: /a bug/ });
  await rejects(channel.unary("/s.S/Typo", ONE), { code: Code.Unimplemented, message: /\/s\.S\/Typo: the fake bridge has no script/ });
});

test("a cancelled RPC's script is told", async (t) => {
  const bridge = newBridge(t);
  const told = new Promise<boolean>((resolve) => {
    bridge.stream("/s.S/Watch", async function* (_, { signal }) {
      signal.addEventListener("abort", () => resolve(signal.aborted));
      yield ONE;
      await new Promise(() => undefined);
    });
  });
  const channel = bridge.channel();
  for await (const _ of channel.open("/s.S/Watch").messages) break;
  equal(await told, true);
});

test("a closed channel leaves no session, and a bridge that is closed no channel", async (t) => {
  const bridge = newBridge(t);
  const options: ChannelOptions = { transports: ["longpoll"] };
  const [first, second] = [bridge.channel(options), bridge.channel(options)];
  await Promise.all([first.ready(), second.ready()]);
  equal(bridge.sessions, 2);
  first.close();
  for (let i = 0; i < 100 && bridge.sessions > 1; i++) await new Promise((resolve) => setImmediate(resolve));
  equal(bridge.sessions, 1);
  bridge.close();
  equal(second.state, "closed");
  equal(bridge.sessions, 0);
});

for (const transports of ways) {
  test(`where time stands still RPCs go on, and outages end, by ${transports.join(" and ")}`, async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
    const bridge = newBridge(t);
    const channel = bridge.channel({ transports });
    const echo = channel.open("/s.S/Echo");
    const goesOn = async (): Promise<void> => {
      void echo.send(ONE);
      deepEqual(await next(echo), [1]);
      await until(channel, () => channel.state === "open");
    };
    await goesOn();
    for (const noticed of [true, false]) {
      bridge.setOffline(true);
      if (noticed) await until(channel, () => channel.state === "retrying");
      bridge.setOffline(false);
      await goesOn();
    }
    equal(bridge.sessions, 1);
  });
}
