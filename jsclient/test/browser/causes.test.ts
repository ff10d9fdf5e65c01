// Why a bridge cannot be reached, as far as Chromium lets a page know.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type RequestOptions } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";

let bridge: TestBridge;
let browser: Browser;
before(async () => {
  // The other pages stand for sites on the same machine: else Chromium asks the user first.
  const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-features=LocalNetworkAccessChecks"];
  // One script, which is quickly copied.
  await build({ entryPoints: { client: ".test/src/index.js" }, outdir: ".test/bundled/causes", bundle: true, format: "esm" });
  bridge = await startTestBridge();
  browser = await launchChromium({ args });
});
after(async () => {
  await browser?.close();
  await bridge?.stop();
});

/** A page of another site, whose scripts are the bridge's static ones, copied there. */
async function pageOf(origin: string, headers: Record<string, string> = {}): Promise<Page> {
  const page = await browser.newPage();
  await page.route(`${origin}/**`, async (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === "/") return route.fulfill({ body: "<!doctype html>", contentType: "text/html", headers });
    await route.fulfill({ response: await route.fetch({ url: bridge.url + pathname }) });
  });
  await page.goto(origin);
  return page;
}

/** Waits until a channel's last error has a reason, and gives its message. */
function lastError(page: Page, url: string, reason: string): Promise<string> {
  return page.evaluate(
    async ({ url, reason }) => {
      const { Channel } = await import("/static/bundled/causes/client.js" as string);
      const channel = new Channel(url);
      while (channel.lastError?.reason !== reason) await new Promise((resolve) => channel.addEventListener("statechange", resolve, { once: true }));
      channel.close();
      return channel.lastError.message as string;
    },
    { url, reason },
  );
}

test("an origin that the bridge does not allow: the flag that does is named, and the channel is closed", { timeout: 60_000 }, async () => {
  const page = await pageOf("http://other.test");
  assert.match(await lastError(page, bridge.url, "origin"), /--allow-origin http:\/\/other\.test/);
});

test("a server without CORS headers", { timeout: 60_000 }, async () => {
  const page = await pageOf("http://other.test");
  const server = createServer((_, response) => response.writeHead(404).end()).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  assert.match(await lastError(page, `http://127.0.0.1:${port}`, "cors"), /--allow-origin http:\/\/other\.test, or, if a script adds a header/);
  server.closeAllConnections();
  server.close();
});

test("a Content-Security-Policy that lacks the bridge", { timeout: 60_000 }, async () => {
  const page = await pageOf("http://other.test", { "Content-Security-Policy": "default-src 'self'" });
  assert.match(await lastError(page, bridge.url, "csp"), new RegExp(`add ${bridge.url} to connect-src`));
});

test("a page by https and a bridge by http", { timeout: 60_000 }, async () => {
  const page = await pageOf("https://other.test");
  assert.match(await lastError(page, "http://bridge.test", "mixed_content"), /http:\/\/bridge\.test: give the bridge https/);
});

test("no network: nothing more is claimed", { timeout: 60_000 }, async () => {
  const page = await pageOf("http://other.test");
  assert.equal(await lastError(page, "http://127.0.0.1:9", "network"), "Failed to fetch");
});

/** A development proxy before the bridge, as Vite's: either it passes WebSockets on but changes Host, or it passes none on. */
async function proxyBefore(changesHost: boolean): Promise<{ url: string; close(): void }> {
  const { hostname, port, host } = new URL(bridge.url);
  const to = ({ url: path, method, headers }: IncomingMessage): RequestOptions => ({ hostname, port, path, method, headers: { ...headers, host: changesHost ? host : headers.host! } });
  const server = createServer((asked, answer) => {
    asked.pipe(request(to(asked), (from) => from.pipe(answer.writeHead(from.statusCode!, from.headers))));
  });
  server.on("upgrade", (asked, socket) => {
    if (!changesHost) return socket.destroy();
    const passed = request(to(asked), ({ statusCode }) => socket.end(`HTTP/1.1 ${statusCode} No\r\nContent-Length: 0\r\n\r\n`));
    passed.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, close: () => (server.closeAllConnections(), server.close()) };
}

for (const [changesHost, reason, text] of [
  [true, "origin", /^WebSocket: the bridge at \S+ refuses this page: .*--allow-origin http:\/\/127\.0\.0\.1:\d+$/],
  [false, "websocket", /^WebSocket: the bridge would take it; something before it/],
] as const) {
  test(`a page behind a proxy that ${changesHost ? "changes Host" : "passes no WebSocket on"} is told why it has none`, { timeout: 60_000 }, async (t) => {
    const proxy = await proxyBefore(changesHost);
    const page = await browser.newPage();
    await page.goto(proxy.url);
    t.after(() => proxy.close());
    assert.match(await lastError(page, proxy.url, reason), text);
  });
}

for (const kind of ["Worker", "SharedWorker"]) {
  test(`the client runs in a ${kind}`, { timeout: 60_000 }, async () => {
    const page = await browser.newPage();
    await page.goto(bridge.url);
    const said = await page.evaluate(
      (kind) =>
        new Promise((resolve, reject) => {
          const url = "/static/test/browser/worker.js";
          const worker = kind === "Worker" ? new Worker(url, { type: "module" }) : new SharedWorker(url, { type: "module" });
          worker.onerror = () => reject(new Error("the worker failed"));
          const port = worker instanceof Worker ? worker : worker.port;
          port.onmessage = (e: MessageEvent) => resolve(e.data);
        }),
      kind,
    );
    assert.deepEqual(said, { longpoll: [8, 1, 24, 1], ws: [8, 1, 24, 1] });
  });
}

test("the client runs in a service worker", { timeout: 60_000 }, async () => {
  const page = await browser.newPage();
  await page.goto(bridge.url);
  const said = await page.evaluate(async () => {
    const { installing, active } = await navigator.serviceWorker.register("/static/test/browser/worker.js", { type: "module" });
    const { port1, port2 } = new MessageChannel();
    const answer = new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
    (installing ?? active)!.postMessage(undefined, [port2]);
    return answer;
  });
  assert.deepEqual(said, { longpoll: [8, 1, 24, 1], ws: [8, 1, 24, 1] });
});
