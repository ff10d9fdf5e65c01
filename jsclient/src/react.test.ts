// The hooks with the real react-dom in jsdom, over a bridge in memory.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { afterEach, test, type TestContext } from "node:test";
import { JSDOM } from "jsdom";
import { act, createElement, type FunctionComponent, StrictMode } from "react";
import { FakeBridge, statusError } from "./fakebridge.js";
import { Code, Channel, StatusError } from "./index.js";
import { type Answered, type Received, useChannelState, useStream, useTransport, useUnary } from "./react.js";

const { window } = new JSDOM("<main></main>");
for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator, IS_REACT_ACT_ENVIRONMENT: true })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
const { createRoot, hydrateRoot } = await import("react-dom/client");
const { renderToString } = await import("react-dom/server");

/** What React complains of, which is nothing. */
const complaints: unknown[] = [];
console.error = (...what: unknown[]) => void complaints.push(what);
afterEach(() => deepEqual(complaints, []));

const main = window.document.querySelector("main")!;

/** Renders a component with props; again by calling it. It goes with the test. */
async function mount<Props extends object>(t: TestContext, component: FunctionComponent<Props>, props: Props, strict = false): Promise<{ render(props: Props): Promise<void>; unmount(): Promise<void> }> {
  const root = createRoot(main);
  const render = (props: Props): Promise<void> => act(async () => root.render(strict ? createElement(StrictMode, null, createElement(component, props)) : createElement(component, props)));
  const unmount = (): Promise<void> => act(async () => root.unmount());
  t.after(unmount);
  await render(props);
  return { render, unmount };
}

/** Lets React and the bridge in memory work until it is so. */
async function until(is: () => boolean): Promise<void> {
  while (!is()) await act(() => new Promise((resolve) => setTimeout(resolve, 1)));
}

/** A bridge whose method Count sends so many numbers as the request has, and goes on until cancelled if that is 0; it tells how many RPCs began and how many run. */
function newBridge(t: TestContext): { bridge: FakeBridge; channel: Channel; rpcs: { begun: number; running: number } } {
  const bridge = new FakeBridge();
  const rpcs = { begun: 0, running: 0 };
  bridge.stream("/s.S/Count", async function* (requests, { signal }) {
    rpcs.begun++;
    rpcs.running++;
    signal.addEventListener("abort", () => rpcs.running--);
    const [most] = (await requests.next()).value!;
    for (let i = 1; i <= (most || 3); i++) yield Uint8Array.of(i);
    if (most === 0) await new Promise(() => undefined);
    if (most === 13) throw statusError(Code.Aborted, "unlucky");
    rpcs.running--;
  });
  bridge.unary("/s.S/Double", ([n]) => {
    rpcs.begun++;
    if (n === 13) throw statusError(Code.Aborted, "unlucky");
    return Uint8Array.of(2 * n!);
  });
  t.after(() => bridge.close());
  return { bridge, channel: bridge.channel(), rpcs };
}

async function* count(channel: Channel, most: number, signal: AbortSignal): AsyncGenerator<number> {
  const call = channel.open("/s.S/Count", { signal, singleRequest: true });
  void call.send(Uint8Array.of(most));
  call.closeSend();
  for await (const [n] of call.messages) yield n!;
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

/** A component that counts, and what it rendered. */
function newCounter(channel: Channel, keep?: number): { Counter: FunctionComponent<{ to: number | undefined }>; seen: Received<number>[] } {
  const seen: Received<number>[] = [];
  const Counter = ({ to }: { to: number | undefined }): null => {
    seen.push(useStream(to === undefined ? undefined : (signal) => count(channel, to, signal), [to], { keep }));
    return null;
  };
  return { Counter, seen };
}

test("useChannelState and useTransport follow a channel", async (t) => {
  const { bridge, channel } = newBridge(t);
  const seen: string[] = [];
  const Shown = (): null => {
    const now = `${useChannelState(channel)} ${useTransport(channel)}`;
    if (seen.at(-1) !== now) seen.push(now);
    return null;
  };
  const { unmount } = await mount(t, Shown, {});
  await until(() => seen.at(-1) === "open ws");
  await act(async () => bridge.setOffline(true));
  await until(() => seen.at(-1) === "retrying undefined");
  await act(async () => bridge.setOffline(false));
  await until(() => seen.at(-1)!.startsWith("open"));
  match(seen[0]!, /^connecting/);
  const before = seen.length;
  await unmount();
  channel.close();
  equal(seen.length, before);
});

for (const strict of [false, true]) {
  test(`useStream has every message once${strict ? ", under StrictMode" : ""}`, async (t) => {
    const { channel, rpcs } = newBridge(t);
    const { Counter, seen } = newCounter(channel);
    await mount(t, Counter, { to: 100 }, strict);
    await until(() => seen.at(-1)!.done);
    deepEqual({ ...seen.at(-1), restart: undefined }, { messages: upTo(100), done: true, error: undefined, restart: undefined });
    deepEqual(rpcs, { begun: rpcs.begun, running: 0 });
    ok(rpcs.begun <= (strict ? 2 : 1));
    deepEqual(seen.find(({ messages }) => messages.some((n, i) => n !== i + 1)), undefined);
  });
}

test("useStream is cancelled with its component, and begins anew with other deps, with nothing of the old", async (t) => {
  const { channel, rpcs } = newBridge(t);
  const { Counter, seen } = newCounter(channel);
  const { render, unmount } = await mount(t, Counter, { to: 0 });
  await until(() => seen.at(-1)!.messages.length === 3);
  deepEqual(rpcs, { begun: 1, running: 1 });
  const before = seen.length;
  await render({ to: 5 });
  await until(() => seen.at(-1)!.done);
  deepEqual(seen.at(-1)!.messages, upTo(5));
  deepEqual(seen[before]!.messages, []);
  deepEqual(rpcs, { begun: 2, running: 0 });
  await render({ to: 0 });
  await until(() => rpcs.running === 1);
  await unmount();
  await until(() => rpcs.running === 0);
});

test("useStream tells why it failed, keeps what came, and restarts", async (t) => {
  const { channel, rpcs } = newBridge(t);
  const { Counter, seen } = newCounter(channel);
  await mount(t, Counter, { to: 13 });
  for (const begun of [1, 2]) {
    await until(() => rpcs.begun === begun && seen.at(-1)!.done);
    const { messages, error } = seen.at(-1)!;
    deepEqual(messages, upTo(13));
    ok(error instanceof StatusError && error.code === Code.Aborted);
    await act(async () => seen.at(-1)!.restart());
  }
});

test("useStream keeps the latest, and runs nothing without a call", async (t) => {
  const { channel, rpcs } = newBridge(t);
  const { Counter, seen } = newCounter(channel, 3);
  const { render } = await mount(t, Counter, { to: undefined as number | undefined });
  deepEqual(seen.at(-1)!.done, false);
  equal(rpcs.begun, 0);
  await render({ to: 20 });
  await until(() => seen.at(-1)!.done);
  deepEqual(seen.at(-1)!.messages, [18, 19, 20]);
  deepEqual(seen.filter(({ messages }) => messages.length > 3), []);
});

test("a memoised call needs no deps", async (t) => {
  const { channel, rpcs } = newBridge(t);
  const calls = { five: (signal: AbortSignal) => count(channel, 5, signal), six: (signal: AbortSignal) => count(channel, 6, signal) };
  let latest: Received<number> | undefined;
  const Counter = ({ which }: { which: keyof typeof calls }): null => {
    latest = useStream(calls[which]);
    return null;
  };
  const { render } = await mount(t, Counter, { which: "five" as keyof typeof calls });
  await until(() => latest!.done);
  await render({ which: "six" });
  await until(() => latest!.done && latest!.messages.length === 6);
  equal(rpcs.begun, 2);
});

for (const strict of [false, true]) {
  test(`useUnary has the response of the latest deps${strict ? ", under StrictMode" : ""}`, async (t) => {
    const { channel } = newBridge(t);
    const seen: Answered<number>[] = [];
    const Doubled = ({ n }: { n: number }): null => {
      seen.push(useUnary(async (signal) => (await channel.unary("/s.S/Double", Uint8Array.of(n), { signal })).message[0]!, [n]));
      return null;
    };
    const { render } = await mount(t, Doubled, { n: 4 }, strict);
    await until(() => seen.at(-1)!.done);
    equal(seen.at(-1)!.response, 8);
    await render({ n: 13 });
    await until(() => seen.at(-1)!.done);
    const { response, error } = seen.at(-1)!;
    equal(response, undefined);
    ok(error instanceof StatusError && error.code === Code.Aborted);
  });
}

test("what a call throws at once is its error, and what is no call is refused", async (t) => {
  const wrong = new TypeError("wrong");
  let latest: Answered<number> | undefined;
  const Thrower = (): null => {
    latest = useUnary<number>(() => {
      throw wrong;
    }, []);
    return null;
  };
  await mount(t, Thrower, {});
  await until(() => latest!.done);
  equal(latest!.error, wrong);
  const refused = (bad: () => unknown): string => {
    try {
      renderToString(createElement(() => (bad(), null)));
    } catch (err) {
      return String(err);
    }
    return "nothing";
  };
  equal(refused(() => useUnary(Promise.resolve() as never)), "TypeError: call Promise: must be a function or undefined");
  equal(refused(() => useStream(undefined, [], { keep: 0 })), "TypeError: option keep 0: must be a whole number above 0");
});

test("a server renders a channel that connects, calls nothing, and the page hydrates it", async (t) => {
  const { channel, rpcs } = newBridge(t);
  const Page = ({ of }: { of: Channel }) => createElement("p", null, useChannelState(of), useStream((signal) => count(channel, 2, signal), []).messages.length);
  main.innerHTML = renderToString(createElement(Page, { of: new Channel("/") })); // relative, and no page
  equal(main.textContent, "connecting0");
  equal(rpcs.begun, 0);
  await channel.ready();
  const root = await act(async () => hydrateRoot(main, createElement(Page, { of: channel })));
  t.after(() => act(async () => root.unmount()));
  await until(() => main.textContent === "open2");
});
