// The option headers, and why no WebSocket opens.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type ChannelOptions, Channel, Code, type WebSocketConstructor } from "../index.js";
import { FakeBridge } from "../fakebridge.js";
import { asPage } from "../testing.js";

const one = Uint8Array.of(1);
const SOON = { leastMs: 1, mostMs: 1, idleMs: 1 };

/** A bridge with one method, a channel to it, and the headers of each request. */
function stage(t: TestContext, options: ChannelOptions): { channel: Channel; seen: Record<string, string>[] } {
  const bridge = new FakeBridge();
  t.after(() => bridge.close());
  bridge.unary("/s.S/Get", (request) => request);
  const seen: Record<string, string>[] = [];
  const spy: typeof fetch = (url, init) => (seen.push(init!.headers as Record<string, string>), bridge.fetch(url, init));
  return { channel: bridge.channel({ transports: ["longpoll"], fetch: spy, backoff: SOON, ...options }), seen };
}

const given: Record<string, HeadersInit> = {
  "an object": { "X-Tenant": "7", "content-type": "text/html" },
  pairs: [["x-tenant", "7"]],
  Headers: new Headers({ "X-Tenant": "7" }),
};
for (const [what, headers] of Object.entries(given)) {
  test(`headers given as ${what} are on every request, beside the client's own`, async (t) => {
    const { channel, seen } = stage(t, { headers });
    await channel.unary("/s.S/Get", one);
    assert.ok(seen.length >= 2, `${seen.length} requests`);
    for (const one of seen) assert.deepEqual(one, { "x-tenant": "7", "Content-Type": "application/octet-stream" });
  });
}

test("a function gives the headers of each request; where it throws, that counts as a link that failed, and nobody is told what it said", async (t) => {
  let calls = 0;
  const secret = "a-secret";
  const { channel, seen } = stage(t, {
    headers: async () => {
      if (++calls < 3) throw new Error(secret);
      return { "x-call": String(calls) };
    },
  });
  const failed = new Promise((resolve) => channel.addEventListener("statechange", resolve, { once: true }));
  await failed;
  assert.equal(channel.lastError?.reason, "headers");
  await channel.unary("/s.S/Get", one);
  assert.deepEqual(seen.map((headers) => headers["x-call"]), seen.map((_, i) => String(i + 3)));
  assert.ok(!JSON.stringify(channel).includes(secret));
});

test("what is no headers, and headers for WebSockets alone, is a TypeError", () => {
  for (const bad of ["x", 7, null, { "not a name": "x" }, { x: "\n\u0100" }]) {
    assert.throws(() => new Channel("http://bridge.test", { headers: bad as never, lazy: true }), /^TypeError: option headers .*: must be Headers, an object or pairs/, String(bad));
  }
  const WebSocket = class {} as unknown as WebSocketConstructor;
  assert.throws(() => new Channel("http://bridge.test", { headers: { a: "b" }, transports: ["ws"], WebSocket }), /^TypeError: option headers: a WebSocket carries none/);
});

/** A channel of a page whose WebSockets are all refused, and how often the bridge was asked why: each time it says so. */
function refused(t: TestContext, says: Response, options: ChannelOptions): { channel: Channel; asked: () => number } {
  asPage(t);
  Object.assign(globalThis, { document: new EventTarget() });
  t.after(() => delete (globalThis as { document?: unknown }).document);
  const bridge = new FakeBridge();
  t.after(() => bridge.close());
  bridge.unary("/s.S/Get", (request) => request);
  bridge.setWebSocket(false);
  let asked = 0;
  const answer: typeof fetch = async (url, init) => {
    if (!String(url).endsWith("/ws")) return init?.body ? bridge.fetch(url, init) : new Response();
    asked++;
    return says.clone();
  };
  return { channel: bridge.channel({ fetch: answer, backoff: SOON, ...options }), asked: () => asked };
}

const POLLBRIDGE = { Pollbridge: "1" };
const answers = {
  "the bridge that refuses the page": { says: new Response("origin http://page.test is not allowed; give the bridge --allow-origin http://page.test", { status: 403, headers: POLLBRIDGE }), reason: "origin", text: /^WebSocket: the bridge at \S+ refuses this page: .*--allow-origin http:\/\/page\.test$/ },
  "the bridge that takes WebSockets": { says: new Response(null, { status: 405, headers: POLLBRIDGE }), reason: "websocket", text: /^WebSocket: the bridge would take it; something before it/ },
  "somebody else": { says: new Response(null, { status: 401 }), reason: "status", text: /^WebSocket: HTTP status 401$/ },
};

for (const [who, { says, reason, text }] of Object.entries(answers)) {
  test(`why a WebSocket is refused is asked for once, and told: ${who}`, async (t) => {
    const { channel, asked } = refused(t, says, {});
    while (channel.lastError?.reason !== reason) await new Promise((resolve) => channel.addEventListener("statechange", resolve, { once: true }));
    assert.match(channel.lastError.message, text);
    assert.deepEqual([...(await channel.unary("/s.S/Get", one)).message], [1]);
    channel.retryNow();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual([channel.state, asked()], ["open", 1]);
  });
}

test("where WebSockets alone are used, a page that the bridge refuses is told so at once", { timeout: 10_000 }, async (t) => {
  const { channel } = refused(t, answers["the bridge that refuses the page"].says, { transports: ["ws"] });
  const { code, reason, message } = await channel.open("/s.S/Get").status;
  assert.deepEqual([code, reason, channel.state], [Code.Unavailable, "origin", "closed"]);
  assert.match(message, /--allow-origin http:\/\/page\.test/);
});
