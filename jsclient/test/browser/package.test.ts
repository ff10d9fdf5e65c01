// The package as an application has it: bundled, under the strictest policy
// that a page can be served with.

import { deepEqual, equal } from "node:assert/strict";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";

let bridge: TestBridge;
let browser: Browser;
let page: Page;
const complaints: string[] = [];
const timeout = 60_000;

before(async () => {
  await build({
    entryPoints: { adapters: "test/adapters/page.ts", sharedpage: "test/browser/sharedpage.ts", "shared-worker": "src/shared-worker.ts" },
    outdir: ".test/package",
    bundle: true,
    format: "esm",
    minify: true,
    tsconfig: "tsconfig.adapters.json",
  });
  bridge = await startTestBridge();
  browser = await launchChromium();
  page = await browser.newPage();
  page.on("pageerror", (err) => complaints.push(err.message));
  page.on("console", (message) => message.type() !== "log" && complaints.push(message.text()));
  await page.goto(`${bridge.url}/strict`);
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
});

/** Calls a function of a bundled script in the page. */
function call<T>(script: string, name: string, ...args: unknown[]): Promise<T> {
  return page.evaluate(async ({ script, name, args }) => (await import(`/static/package/${script}.js`))[name](...args), { script, name, args });
}

for (const [adapter, counts] of Object.entries({
  connect: [1, 20, 20, 20],
  "protobuf-ts": [1, 20, 20, 20],
  "nice-grpc-web": [1, 20, 20, 20],
  "grpc-web": [1, 20], // it knows no others
})) {
  for (const transport of ["longpoll", "ws"]) {
    test(`a client of ${adapter} over ${transport}`, { timeout }, async () => {
      deepEqual(await call("adapters", "run", adapter, transport), counts);
    });
  }
}

test("the policy forbids text as script, and nothing of ours needs it", () => deepEqual(complaints, []));

test("where the policy forbids the worker, the leading tab carries requests", { timeout }, async () => {
  await call("sharedpage", "join", {});
  await call("sharedpage", "talk", 3);
  deepEqual(await page.evaluate(async () => (await navigator.locks.query()).held!.map(({ name }) => name)), ["pollbridge/1"]);
  const [heard, code] = await call<[number[], number]>("sharedpage", "finish");
  deepEqual(heard, [1, 2, 3, 4]);
  equal(code, 0);
});
