// What is certain ends RPCs soon; what may come yet is waited for. Errors name the URL.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, LinkError, type Status } from "../index.js";
import { channelTo, echo, fixture, stopClocks, WELCOME } from "../testing.js";
import { CODE_UNKNOWN } from "../wire/batch.js";

const one = Uint8Array.of(1);

/** A WebSocket that does not open. */
class Refused {
  binaryType = "";
  bufferedAmount = 0;
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  constructor() {
    queueMicrotask(() => this.onclose?.({ code: 1006, reason: "" }));
  }
  send(): void {}
  close(): void {}
}

const strangers: [string, () => Response, string][] = [
  ["status 404", () => new Response("", { status: 404 }), "HTTP status 404"],
  ["status 405", () => new Response("", { status: 405 }), "HTTP status 405"],
  ["a page", () => new Response("<!doctype html><p>Welcome</p>", { headers: { "content-type": "text/html" } }), "not the bridge's answer: <!doctype html><p>Welcome</p>"],
  ["JSON", () => Response.json({ error: "no such route" }), 'not the bridge\'s answer: {"error":"no such route"}'],
  ["nothing", () => new Response(""), "not the bridge's answer: "],
  ["a redirect", () => new Response(null, { status: 302, headers: { location: "https://login.test" } }), "a redirect to https://login.test"],
];

for (const [what, stranger, said] of strangers) {
  test(`${what} where no bridge was before ends RPCs in 2 s, and names URL, answer and mend`, async (t) => {
    const tick = stopClocks(t);
    let answers = 0;
    t.mock.method(Math, "random", () => (answers < 9 ? 0 : 0.999)); // short waits, and then the longest
    const channel = channelTo(t, () => (answers++, stranger()));
    let ended: Status | undefined;
    void channel.open("s/m").status.then((end) => (ended = end));
    for (let millis = 0; millis < 2_000 && !ended; millis += 10) await tick(10);
    assert.equal(
      ended?.message,
      `session lost: no bridge at http://bridge.test/bridge: ${said}; is this its URL and its prefix, and does a proxy before it pass both on?; the RPC has not run`,
    );
    assert.deepEqual([ended.code, ended.reason], [Code.Unavailable, "unreachable"]);
    const before = answers;
    await tick(60_000);
    assert.equal(answers, before, "asked again, though no RPC is open");
  });
}

test("a page is final where a WebSocket is refused too, and not while one may open", async (t) => {
  const { carrier, lost, tick } = await fixture(t, ["longpoll", "ws"], false);
  const page = new LinkError("foreign", "not the bridge's answer: <html>", { status: 200, cut: true });
  const millis = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i += 50) {
      for (const exchange of [...carrier.waiting]) await exchange.fail(page);
      await tick(50);
    }
  };
  await millis(1_000);
  assert.deepEqual([carrier.sockets.length, lost.length], [1, 0]);
  await carrier.sockets[0]!.lose();
  await millis(2_000);
  assert.deepEqual(lost.map((why) => why.reason), ["unreachable"]);
});

test("where WebSockets alone are used the bridge's URL is asked until it is certain", async (t) => {
  const tick = stopClocks(t);
  t.mock.method(Math, "random", () => 0.999); // the longest waits
  const channel = channelTo(t, () => undefined, { transports: ["ws"], WebSocket: Refused, fetch: async () => new Response("<html>") });
  let ended: Status | undefined;
  void channel.open("s/m").status.then((end) => (ended = end));
  for (let millis = 0; millis < 4_000 && !ended; millis += 10) await tick(10);
  assert.match(ended?.message ?? "", /^session lost: no bridge at http:\/\/bridge\.test\/bridge: WebSocket: HTTP status 200; /);
});

test("once a bridge was there, a 404 is waited out, by another session too", async (t) => {
  let failures = 0;
  let gone = false;
  const bridge = echo(1);
  const sessions = new Set<string>();
  const channel = channelTo(
    t,
    (batch, url) => {
      sessions.add(url);
      if (!gone) return bridge(batch, url);
      if (failures++ < 20) return new Response("", { status: 404 });
      return batch.hello ? bridge(batch, url) : (sessions.size < 2 ? { close: { code: CODE_UNKNOWN, message: "no such session", retryAfterMillis: 0, limit: 0 } } : bridge(batch, url));
    },
    { backoff: { leastMs: 1, mostMs: 1, idleMs: 1 } },
  );
  await channel.unary("s/m", one);
  gone = true;
  await assert.rejects(channel.unary("s/m", one), /unknown|no such session/);
  failures = 0;
  assert.deepEqual([...(await channel.unary("s/m", one)).message], [0]);
  assert.deepEqual([failures > 20, sessions.size], [true, 2]);
});

test("a status that a bridge may come behind is waited for, and told at once", async (t) => {
  const { session, carrier, lost, tick } = await fixture(t, ["longpoll"], false);
  for (let i = 0; i < 30; i++) {
    for (const exchange of [...carrier.waiting]) await exchange.fail(new LinkError("status", "HTTP status 502", { status: 502 }));
    assert.equal(session.lastError?.message, "HTTP status 502");
    await tick(500);
  }
  while (carrier.waiting.size === 0 && lost.length === 0) await tick(100);
  for (const exchange of [...carrier.waiting]) await exchange.answer({ welcome: WELCOME });
  assert.deepEqual([session.phase, lost], ["open", []]);
});

// What cuts or changes answers may stop.
for (const [what, bytes] of [["a byte", [0xb1]], ["an envelope's head", [0xb1, 0xd6, 1, 0, 0, 0, 0, 9]], ["a changed batch", [0xb1, 0xd6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6]]] as const) {
  test(`${what} of a bridge's answer is no stranger's`, async (t) => {
    const { session, carrier, lost, tick } = await fixture(t, ["longpoll"], false);
    for (let i = 0; i < 30; i++) {
      for (const exchange of [...carrier.waiting]) await exchange.garble(Uint8Array.from(bytes));
      await tick(500);
    }
    assert.deepEqual([session.lastError?.message, lost], ["the answer was changed", []]);
    while (carrier.waiting.size === 0 && lost.length === 0) await tick(100);
    for (const exchange of [...carrier.waiting]) await exchange.answer({ welcome: WELCOME });
    assert.deepEqual([session.phase, lost], ["open", []]);
  });
}

for (const reason of ["csp", "mixed_content"] as const) {
  test(`${reason} ends the session at once`, async (t) => {
    const { carrier, lost } = await fixture(t, ["longpoll"], false);
    await carrier.last.fail(new LinkError(reason, "what mends it"));
    assert.deepEqual(lost.map((why) => [why.reason, why.message]), [["unreachable", "the page may not reach http://bridge.test/bridge: what mends it"]]);
  });
}

test("a lost session's error names the bridge", async (t) => {
  const { open, tick, lost } = await fixture(t, ["longpoll"]);
  await open();
  await tick(145_000);
  assert.match(lost[0]!.message, /^no answer from http:\/\/bridge\.test\/bridge for \d+ s/);
});
