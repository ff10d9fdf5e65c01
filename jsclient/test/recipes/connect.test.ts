// docs/recipes: what goes around Connect's transport.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code as ConnectCode, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { Code } from "pollbridge";
import { createBridgeTransport } from "pollbridge/connect";
import { FakeBridge, statusError } from "pollbridge/testing";
import { withToken } from "../../.test/recipes/credentials/with-token.js";
import { type Method, stream, unary } from "../../.test/recipes/from-improbable/invoke.js";
import { talk } from "../../.test/recipes/from-socket-io/talk.js";
import { newTransport } from "../../.test/recipes/devtools/transport.js";
import { ChatEvent_Kind, ChatEventSchema, ChatRequestSchema, Demo } from "../../.test/recipes/react/gen/demo_pb.js";
import { newBridge } from "./page.js";

test("a token that has expired is refreshed once for all RPCs, which are made again", async (t) => {
  const bridge = new FakeBridge();
  t.after(() => bridge.close());
  const served: string[] = [];
  let valid = "Bearer 1";
  bridge.unary("/pollbridge.demo.v1.Demo/Greet", (_, { metadata }) => {
    const token = String(metadata.find(([key]) => key === "authorization")?.[1]);
    served.push(token);
    if (token !== valid) throw statusError(Code.Unauthenticated, "expired");
    return new Uint8Array();
  });
  let refreshes = 0;
  const interceptors = [withToken(async () => String(++refreshes))];
  const client = createClient(Demo, createBridgeTransport(bridge.channel(), { interceptors }));
  await client.greet({});
  valid = "Bearer 2";
  await Promise.all([client.greet({}), client.greet({}), client.greet({})]);
  assert.equal(refreshes, 2);
  assert.deepEqual(served, ["Bearer 1", "Bearer 1", "Bearer 1", "Bearer 1", "Bearer 2", "Bearer 2", "Bearer 2"]);
  valid = "none";
  await assert.rejects(client.greet({}), (err) => ConnectError.from(err).code === ConnectCode.Unauthenticated);
  assert.equal(refreshes, 3);
});

test("an extension's interceptor that comes late sees every RPC from then on, in absolute URLs", async () => {
  const { bridge } = newBridge();
  const client = createClient(Demo, newTransport(bridge.channel()));
  await client.greet({ name: "Ada" });
  const seen: string[] = [];
  const extension: Interceptor = (next) => async (req) => {
    const response = await next(req);
    seen.push(`${req.method.name} ${new URL(req.url).pathname} ${response.stream}`);
    return response;
  };
  window.__CONNECT_WEB_DEVTOOLS__ = extension;
  window.dispatchEvent(new window.Event("connect-web-dev-tools-ready"));
  await client.greet({ name: "Ada" });
  for await (const _ of client.count({ to: 2 }));
  assert.deepEqual(seen, ["Greet /bridge/pollbridge.demo.v1.Demo/Greet false", "Count /bridge/pollbridge.demo.v1.Demo/Count true"]);
});

test("from Socket.IO: a conversation says and hears until it is left", async (t) => {
  const bridge = new FakeBridge();
  t.after(() => bridge.close());
  bridge.stream("/pollbridge.demo.v1.Demo/Chat", async function* (requests) {
    for await (const request of requests) {
      const { kind } = fromBinary(ChatRequestSchema, request);
      const event = kind.case === "join" ? { kind: ChatEvent_Kind.WELCOME, name: kind.value.name } : { kind: ChatEvent_Kind.SAID, text: kind.value as string };
      yield toBinary(ChatEventSchema, create(ChatEventSchema, event));
    }
  });
  const heard: string[] = [];
  const room = talk(bridge.channel(), "lobby", "Ada", ({ kind, name, text }) => heard.push(`${ChatEvent_Kind[kind]} ${name}${text}`));
  await room.say("one");
  bridge.setOffline(true);
  void room.say("two");
  bridge.setOffline(false);
  room.leave();
  await room.over;
  assert.deepEqual(heard, ["WELCOME Ada", "SAID one", "SAID two"]);
});

test("from improbable: generated code goes on, over a channel", async (t) => {
  class Text {
    text = "";
    serializeBinary(): Uint8Array {
      return new TextEncoder().encode(this.text);
    }
    static deserializeBinary(bytes: Uint8Array): Text {
      return Object.assign(new Text(), { text: new TextDecoder().decode(bytes) });
    }
  }
  const text = (text: string): Text => Object.assign(new Text(), { text });
  const method = (methodName: string): Method<Text, Text> => ({ methodName, service: { serviceName: "s.S" }, requestType: Text, responseType: Text });
  const bridge = new FakeBridge();
  t.after(() => bridge.close());
  bridge.unary("/s.S/Same", (request) => request);
  bridge.stream("/s.S/All", (requests) => requests);
  const channel = bridge.channel();
  assert.equal((await unary(channel, method("Same"), text("a"))).text, "a");
  const all: string[] = [];
  for await (const { text: one } of stream(channel, method("All"), ["a", "b"].map(text))) all.push(one);
  assert.deepEqual(all, ["a", "b"]);
});
