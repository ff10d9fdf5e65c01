// Clients without a session in Chromium, before a bridge that serves them.

import { deepEqual } from "node:assert/strict";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";

let bridge: TestBridge;
let browser: Browser;
let page: Page;

before(async () => {
  await build({ entryPoints: { page: "test/rpc/page.ts" }, outdir: ".test/rpc", bundle: true, format: "esm", tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: false } } });
  bridge = await startTestBridge();
  browser = await launchChromium();
  page = await browser.newPage();
  await page.goto(bridge.url);
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
});

for (const client of ["connect-web", "connect-web in binary", "connect-web's gRPC-Web", "grpc-web in text", "grpc-web in binary"]) {
  test(client, { timeout: 60_000 }, async () => {
    const got = await page.evaluate(async (client) => (await import("/static/rpc/page.js" as string)).run(client), client);
    // grpc-web in binary has a stream's messages at its end only, but it has them.
    deepEqual(got, { number: 1, header: "1", streamed: [1, 2, 3], code: 5, message: "gone, 100 %" });
  });
}
