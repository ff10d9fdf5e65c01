// How many exchanges are in flight on a far path in Chromium (PROTOCOL.md, section 5).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";

let http1: TestBridge;
let http2: TestBridge;
let browser: Browser;
let page: Page;

before(async () => {
  http1 = await startTestBridge("..", "-delay=200ms");
  http2 = await startTestBridge("..", "-delay=200ms", "-tls", `-allow-origin=${http1.url}`);
  browser = await launchChromium();
  page = await browser.newPage({ ignoreHTTPSErrors: true, bypassCSP: true });
});

after(async () => {
  await browser?.close();
  await http1?.stop();
  await http2?.stop();
});

/** Has a page of that origin bring so many bytes each way, and tells how many exchanges were in flight at most. */
async function mostInFlight(origin: string, url: string, bytes: number): Promise<{ down: number; up: number }> {
  await page.goto(origin);
  const run = (up: boolean): Promise<number> =>
    page.evaluate(async ({ url, up, bytes }) => (await import("/static/test/browser/far.js" as string)).mostInFlight(url, up, bytes), { url, up, bytes });
  return { down: await run(false), up: await run(true) };
}

test("two over HTTP/1.1", { timeout: 120_000 }, async () => {
  assert.deepEqual(await mostInFlight(http1.url, http1.url, 12 << 20), { down: 2, up: 2 });
});

for (const [whose, from] of [["the bridge's own page", () => http2], ["a page of another origin", () => http1]] as const) {
  test(`more over HTTP/2, of ${whose}`, { timeout: 120_000 }, async () => {
    const { down, up } = await mostInFlight(from().url, http2.url, 96 << 20);
    assert.ok(down > 2 && up > 2, `${down} down, ${up} up`);
  });
}
