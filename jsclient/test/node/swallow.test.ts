// Middleboxes that let no binary request through, on real sockets: base64
// carries the session, and what is carried is what was sent.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test, type TestContext } from "node:test";
import { Channel } from "../../src/index.js";
import { asPage } from "../../src/testing.js";
import { decode, encode, SERVICE } from "../echo.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";

let bridge: TestBridge;
before(async () => (bridge = await startTestBridge()));
after(() => bridge.stop());

/** A proxy before the bridge, with the Content-Type of each POST; refusal answers binary ones, where there is one. */
async function startProxy(t: TestContext, refusal?: string): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = [];
  const proxy = createServer((asked, answer) => {
    const type = asked.headers["content-type"] ?? "";
    seen.push(type);
    if (type !== "text/plain") {
      asked.resume();
      if (refusal) answer.writeHead(403, { "Content-Type": "text/html" }).end(refusal);
      return;
    }
    const { method, headers } = asked;
    const up = request(bridge.url + asked.url, { method: method!, headers }, (from) => {
      answer.writeHead(from.statusCode!, from.headers);
      from.pipe(answer);
    });
    up.on("error", () => answer.destroy());
    answer.on("close", () => up.destroy());
    asked.pipe(up);
  }).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, seen };
}

for (const [what, refusal] of [["swallows", undefined], ["answers with a page of its own", "<html>Blocked</html>"]] as const) {
  test(`a proxy that ${what} binary requests: base64 carries all`, { timeout: 60_000 }, async (t) => {
    const proxy = await startProxy(t, refusal);
    asPage(t, proxy.url);
    const withOrigin: typeof fetch = (input, init) => fetch(input, { ...init, headers: { ...init?.headers as Record<string, string>, Origin: proxy.url } });
    const channel = new Channel(proxy.url, { transports: ["longpoll"], fetch: withOrigin });
    t.after(() => channel.close());
    const payload = Uint8Array.from({ length: 70_000 }, (_, i) => 37 * i);
    const { message } = await channel.unary(SERVICE + "Unary", encode({ number: 1, payload }));
    assert.deepEqual([decode(message).number, decode(message).payload], [1, payload]);
    assert.equal(channel.network.form, "text");

    const binary = proxy.seen.filter((type) => type !== "text/plain").length;
    const call = channel.open(SERVICE + "Bidi");
    for (let number = 1; number <= 20; number++) {
      void call.send(encode({ number }));
      assert.equal(decode((await call.messages.next()).value!).number, number);
    }
    assert.equal(channel.state, "open");
    const { length } = proxy.seen.filter((type) => type !== "text/plain");
    assert.ok(length - binary <= 1, `${length - binary} binary requests more: one finds out whether they work again`);
    assert.ok(proxy.seen.length - length >= 20, "text carries it all");
  });
}

/** A proxy before the bridge that answers nothing in the first time, in milliseconds, or does not listen then; with the Content-Type of each POST. */
async function startLateProxy(t: TestContext, millis: number, refuses: boolean): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = [];
  const begun = performance.now();
  const proxy = createServer(async (asked, answer) => {
    const { method, headers, url } = asked;
    seen.push(headers["content-type"] ?? "");
    await new Promise((resolve) => setTimeout(resolve, begun + millis - performance.now()));
    const up = request(bridge.url + url, { method: method!, headers }, (from) => {
      answer.writeHead(from.statusCode!, from.headers);
      from.pipe(answer);
    });
    up.on("error", () => answer.destroy());
    answer.on("close", () => up.destroy());
    asked.pipe(up);
  });
  const listen = async (port: number): Promise<number> => {
    await once(proxy.listen(port, "127.0.0.1"), "listening");
    return (proxy.address() as AddressInfo).port;
  };
  const port = await listen(0);
  const close = async (): Promise<void> => void (await new Promise((resolve) => (proxy.close(resolve), proxy.closeAllConnections())));
  t.after(close);
  if (refuses) {
    await close();
    setTimeout(() => void listen(port), millis);
  }
  return { url: `http://127.0.0.1:${port}`, seen };
}

for (const [what, millis, refuses] of [["refuses connections for 4 s", 4_000, true], ["answers nothing for 4.5 s", 4_500, false]] as const) {
  for (const transports of [["longpoll"], ["longpoll", "ws"]] as const) {
    test(`a relay that ${what}, where requests carry no Origin, by ${transports.join(" and ")}: channels open, and nothing went as text`, { timeout: 60_000 }, async (t) => {
      const proxy = await startLateProxy(t, millis, refuses);
      const channels = Array.from({ length: 8 }, () => new Channel(proxy.url, { transports: [...transports] }));
      t.after(() => channels.forEach((channel) => channel.close()));
      const answers = await Promise.all(channels.map((channel) => channel.unary(SERVICE + "Unary", encode({ number: 1 }))));
      assert.deepEqual(answers.map(({ message }) => decode(message).number), channels.map(() => 1));
      assert.deepEqual(channels.map(({ state }) => state), channels.map(() => "open"));
      assert.deepEqual([...new Set(proxy.seen.filter((type) => type !== ""))], ["application/octet-stream"]);
    });
  }
}
