// The main road in Firefox: Debian's, driven over WebDriver BiDi.

import { deepEqual, equal } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { type Browser, launch, type Page } from "puppeteer-core";
import type { Transport } from "../../src/index.js";
import { untilGlobal } from "../browser/until.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";

let bridge: TestBridge;
let browser: Browser;

before(async () => {
  const executablePath = execFileSync("sh", ["-c", "command -v firefox-esr || command -v firefox"], { encoding: "utf8" }).trim();
  bridge = await startTestBridge();
  browser = await launch({ browser: "firefox", executablePath, headless: true });
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
});

const timeout = 120_000;

async function visit(): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(bridge.url);
  return page;
}

/** Calls a function of a script of these tests in the page. */
function call<T>(page: Page, script: string, name: string, ...args: unknown[]): Promise<T> {
  return page.evaluate(async (script, name, args) => (await import(`/static/test/${script}.js`))[name](...args), script, name, args) as Promise<T>;
}

for (const transport of ["longpoll", "ws"] satisfies Transport[]) {
  test(`${transport}: four kinds`, { timeout }, async () => {
    const page = await visit();
    equal(await call(page, "browser/page", "run", "four kinds", [transport]), transport);
    await page.close();
  });

  test(`${transport}: an RPC goes on after a cut; a page that is left ends it`, { timeout }, async () => {
    const page = await visit();
    await call(page, "browser/kept", "begin", [transport]);
    for (const number of [2, 3, 4]) {
      await bridge.cut();
      deepEqual(await call(page, "browser/kept", "say", number), [number]);
    }
    equal((await bridge.stats()).rpcs.Active, 1);
    await page.goto(`${bridge.url}/static/`); // Firefox keeps no page that has requests or WebSockets
    while ((await bridge.stats()).rpcs.Active > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    await page.close();
  });
}

test("an idle page comes back from the back/forward cache with its channel", { timeout }, async () => {
  const page = await visit();
  await call(page, "browser/kept", "begin", ["longpoll"]);
  await call(page, "browser/kept", "finish");
  await page.waitForNetworkIdle(); // the answer's ack among it
  await page.goto(`${bridge.url}/static/`);
  await page.evaluate(() => history.back());
  await untilGlobal(page, "kept");
  await call(page, "browser/kept", "again");
  deepEqual(await call(page, "browser/kept", "say", 1), [1, "pagehide true", "pageshow true"]);
  await page.close();
});

test("tabs share requests, and one that closes harms no other", { timeout }, async () => {
  const pages = [await visit(), await visit(), await visit()];
  for (const page of pages) await call(page, "browser/sharedpage", "join", {});
  const talks = pages.slice(1).map((page) => call(page, "browser/sharedpage", "talk", 20));
  await pages[0]!.close();
  await Promise.all(talks);
  for (const page of pages.slice(1)) {
    const [heard, code] = await call<[number[], number]>(page, "browser/sharedpage", "finish");
    deepEqual([heard.length, heard.at(-1), code], [21, 21, 0]);
    await page.close();
  }
});
