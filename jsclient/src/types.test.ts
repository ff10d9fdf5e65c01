// What TypeScript users write, and what is to be refused while they write it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createBridgeTransport } from "./nice-grpc-web.js";
import { type CallLike, type ChannelEvent, type ChannelLike, Code, codeName, type ErrorReason, type State } from "./index.js";
import { channelTo, echo } from "./testing.js";

test("events are typed by their name", async (t) => {
  const channel = channelTo(t, echo(1));
  const states: State[] = [];
  const reasons: (ErrorReason | "")[] = [];
  const object = { handleEvent: ({ state }: { state: State }) => void states.push(state) };
  const listener = (e: { readonly reason: ErrorReason | "" }): void => void reasons.push(e.reason);
  channel.addEventListener("statechange", (e) => states.push(e.state), { once: true });
  channel.addEventListener("statechange", object);
  channel.addEventListener("statechange", listener);
  channel.removeEventListener("statechange", listener);
  // @ts-expect-error: a name that is misspelt
  channel.addEventListener("statechnage", () => assert.fail());
  // @ts-expect-error: an event has no such property
  channel.addEventListener("statechange", (e) => e.status);
  await channel.unary("s/m", Uint8Array.of(1));
  assert.deepEqual([states, reasons], [["open", "open"], []]);
});

test("an event of a channel is told apart by its type", () => {
  const told = (e: ChannelEvent): string => {
    if (e.type === "state") return e.state;
    // @ts-expect-error: only states have it
    return e.type === "page" ? e.reason : String(e.state);
  };
  assert.equal(told({ at: 0, type: "page", reason: "left" }), "left");
});

test("codes are spelt as in Connect, and named as in gRPC", () => {
  const code: Code = Code.NotFound;
  assert.equal(code, 5);
  assert.deepEqual([Code.Ok, Code.Canceled, Code.DeadlineExceeded, Code.Unauthenticated].map(codeName), ["OK", "CANCELLED", "DEADLINE_EXCEEDED", "UNAUTHENTICATED"]);
  assert.equal(codeName(17), "CODE_17");
});

test("adapters take a double, and refuse by name what is no channel", async () => {
  const call: CallLike = {
    headers: Promise.resolve([]),
    status: Promise.resolve({ code: 0, message: "", details: new Uint8Array(0), trailers: [], origin: "backend", reason: "" }),
    messages: (async function* () {})(),
    send: async () => undefined,
    closeSend: () => undefined,
    cancel: () => undefined,
  };
  const double: ChannelLike = {
    url: "http://bridge.test/bridge",
    open: () => call,
    unary: async (_, message) => ({ headers: [], trailers: [], message: new Uint8Array(message as ArrayBuffer) }),
  };
  assert.equal(typeof createBridgeTransport(double), "function");
  assert.throws(() => createBridgeTransport("/" as never), /^TypeError: channel "\/": must be a Channel$/);
});
