// docs/recipes/vite.md: Vite's dev server before a bridge, in Chromium.

import { deepEqual, equal, match } from "node:assert/strict";
import { appendFile, mkdir, symlink } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { createServer, type ProxyOptions } from "vite";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";

const ROOT = `${process.cwd()}/.test/recipes/vite`;
const timeout = 60_000;

let bridge: TestBridge;
let browser: Browser;
before(async () => {
  await mkdir(`${ROOT}/node_modules`);
  await symlink("../../../..", `${ROOT}/node_modules/pollbridge`);
  bridge = await startTestBridge();
  process.env["BRIDGE"] = bridge.url;
  browser = await launchChromium();
});
after(async () => {
  await browser?.close();
  await bridge?.stop();
});

/** Opens the recipe's page at its dev server, with more options of the proxy. */
async function visit(proxy: ProxyOptions, use: (page: Page) => Promise<void>): Promise<void> {
  const vite = await createServer({ root: ROOT, logLevel: "error", server: { host: "127.0.0.1", port: 0, proxy: { "/bridge": { target: bridge.url, ...proxy } } } });
  try {
    await vite.listen();
    const page = await browser.newPage();
    await page.goto(vite.resolvedUrls!.local[0]!);
    await page.locator("body", { hasText: "UNIMPLEMENTED by http" }).waitFor();
    await use(page);
    await page.close();
  } finally {
    await vite.close();
  }
}

/** Resolves once the page's channel has tried a WebSocket, with what carries it then and the latest error. */
function outcome(page: Page): Promise<[transport: string, error: string]> {
  return page.evaluate(async () => {
    const { channel } = await import("/channel.ts" as string);
    while (channel.transport !== "ws" && !channel.lastError) await new Promise((resolve) => setTimeout(resolve, 20));
    return [channel.transport, channel.lastError?.message ?? ""];
  });
}

for (const [name, proxy] of Object.entries({
  "as the recipe has it": {},
  "with changeOrigin and rewriteWsOrigin": { changeOrigin: true, rewriteWsOrigin: true },
})) {
  test(`the dev proxy ${name} carries WebSockets`, { timeout }, () =>
    visit(proxy, async (page) => deepEqual(await outcome(page), ["ws", ""])));
}

test("the dev proxy with changeOrigin alone carries RPCs by long-polling, and an error tells", { timeout }, () =>
  visit({ changeOrigin: true }, async (page) => {
    const [transport, error] = await outcome(page);
    equal(transport, "longpoll");
    match(error, /WebSocket/);
  }));

test("hot reload of the channel's module, and of what imports it, leaves one session", { timeout }, async () => {
  const before = await bridge.metric("pollbridge_sessions_opened_total");
  await visit({}, async (page) => {
    for (const [edits, file] of ["channel.ts", "main.ts", "channel.ts", "main.ts"].entries()) {
      await appendFile(`${ROOT}/${file}`, "// edited\n");
      await page.locator("body", { hasText: new RegExp(`(UNIMPLEMENTED by http\\S+?){${edits + 2}}`) }).waitFor();
    }
  });
  equal((await bridge.metric("pollbridge_sessions_opened_total")) - before, 1);
});
