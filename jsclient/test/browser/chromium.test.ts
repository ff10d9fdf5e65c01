import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import type { Transport } from "../../src/index.js";
import { scenarios } from "../scenarios.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";

let bridge: TestBridge;
let browser: Browser;
let page: Page;
const complaints: string[] = [];

before(async () => {
  bridge = await startTestBridge();
  browser = await launchChromium();
  page = await browser.newPage();
  page.on("pageerror", (err) => complaints.push(err.message));
  page.on("console", (message) => {
    if (message.text().includes("Content Security Policy")) complaints.push(message.text());
  });
  await page.exposeFunction("backstageCut", bridge.cut);
  await page.exposeFunction("backstageOutage", bridge.outage);
  await page.exposeFunction("backstageRpcs", async () => (await bridge.stats()).rpcs);
  await page.goto(bridge.url);
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
});

/** Runs a scenario in the page. */
function run(name: string, transports: Transport[]): Promise<string> {
  const module = "/static/test/browser/page.js";
  return page.evaluate(async ({ module, name, transports }) => (await import(module)).run(name, transports), { module, name, transports });
}

const choices: Record<string, Transport[]> = { longpoll: ["longpoll"], ws: ["ws"], both: ["longpoll", "ws"] };

for (const [choice, transports] of Object.entries(choices)) {
  describe(choice, () => {
    for (const name of Object.keys(scenarios)) {
      test(name, { timeout: 60_000 }, async () => {
        const carried = await run(name, transports);
        if (transports.length === 1) assert.equal(carried, choice);
      });
    }
  });
}

test("1,000 streams share two connections in long-polling", { timeout: 60_000 }, async () => {
  await page.evaluate(() => {
    const real = fetch;
    const counts = Object.assign(globalThis, { givenUp: 0 });
    globalThis.fetch = (input, init) => (init?.signal?.addEventListener("abort", () => counts.givenUp++), real(input, init));
  });
  await bridge.cut();
  await bridge.reset();
  await run("1,000 streams", ["longpoll"]);
  const { connections } = await bridge.stats();
  // A poll that makes room on a slow machine (L5) has its connection cut, which the bridge may see later than the next.
  const givenUp = await page.evaluate(() => (globalThis as unknown as { givenUp: number }).givenUp);
  assert.ok(connections.peak <= 2 + givenUp, `${connections.peak} connections at once, ${givenUp} exchanges given up`);
});

for (const bundle of ["client.js", "client.global.js"]) {
  test(`the bundle ${bundle} works as the bridge serves it`, { timeout: 60_000 }, async () => {
    const state = await page.evaluate(async (bundle) => {
      if (bundle === "client.global.js") {
        const script = document.createElement("script");
        script.src = `/bridge/${bundle}`;
        document.head.append(script);
        await new Promise((resolve, reject) => ((script.onload = resolve), (script.onerror = reject)));
      }
      const { Channel } = bundle === "client.js" ? await import(`/bridge/${bundle}`) : (globalThis as never as { pollbridge: never })["pollbridge"];
      const channel = new Channel("/");
      const { message } = await channel.unary("pollbridge.test.v1.Echo/Unary", Uint8Array.of(8, 1));
      const result = [channel.state, Array.from(message as Uint8Array)];
      channel.close();
      return result;
    }, bundle);
    assert.deepEqual(state, ["open", [8, 1, 24, 1]]);
  });
}

test("the page has nothing to complain of", () => {
  assert.deepEqual(complaints, []);
});
