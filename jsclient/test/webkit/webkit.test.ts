// The main road in WebKit, the engine of Safari: Debian's WebKitGTK, driven over WebDriver.

import { deepEqual, equal } from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import type { WebDriver } from "selenium-webdriver";
import type { Transport } from "../../src/index.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchWebKit, type WebKit } from "./webkit.js";

let bridge: TestBridge;
let webkit: WebKit;
let driver: WebDriver;

before(async () => {
  bridge = await startTestBridge();
  webkit = await launchWebKit();
  ({ driver } = webkit);
});

after(async () => {
  await webkit?.stop();
  await bridge?.stop();
});

beforeEach(() => driver.get(bridge.url));

const timeout = 60_000;

/** Calls a function of a script of these tests in the page that is shown. */
async function call<T>(script: string, name: string, ...args: unknown[]): Promise<T> {
  const answer = await driver.executeAsyncScript<{ value: T; failure?: string }>(
    `const [script, name, args, done] = arguments;
     import("/static/test/" + script + ".js").then((module) => module[name](...args))
       .then((value) => done({ value }), (error) => done({ failure: String(error && error.stack || error) }));`,
    script, name, args,
  );
  if (answer.failure !== undefined) throw new Error(answer.failure);
  return answer.value;
}

async function untilActive(count: number): Promise<void> {
  while ((await bridge.stats()).rpcs.Active > count) await new Promise((resolve) => setTimeout(resolve, 20));
}

for (const transport of ["longpoll", "ws"] satisfies Transport[]) {
  test(`WebKit, ${transport}: four kinds`, { timeout }, async () => {
    equal(await call("browser/page", "run", "four kinds", [transport]), transport);
  });

  test(`WebKit, ${transport}: an RPC goes on after cuts, and when its page is back from the back/forward cache`, { timeout }, async () => {
    await call("browser/kept", "begin", [transport]);
    for (const number of [2, 3, 4]) {
      await bridge.cut();
      deepEqual(await call("browser/kept", "say", number), [number]);
    }
    await driver.get(`${bridge.url}/static/`);
    await driver.navigate().back();
    await driver.wait(() => driver.executeScript<boolean>("return 'kept' in globalThis"), 30_000);
    deepEqual(await call("browser/kept", "say", 5), [5, "pagehide true", "pageshow true"]);
    await call("browser/kept", "finish");
    await untilActive(0);
  });

  test(`WebKit, ${transport}: a tab that is closed ends its RPC at once`, { timeout }, async () => {
    const first = await driver.getWindowHandle();
    await driver.switchTo().newWindow("tab");
    await driver.get(bridge.url);
    await call("browser/kept", "begin", [transport]);
    equal((await bridge.stats()).rpcs.Active, 1);
    await driver.close();
    await driver.switchTo().window(first);
    await untilActive(0);
  });
}

test("WebKit: tabs share requests, and one that closes harms no other", { timeout }, async () => {
  const first = await driver.getWindowHandle();
  const tabs: string[] = [];
  for (let i = 0; i < 3; i++) {
    await driver.switchTo().newWindow("tab");
    await driver.get(bridge.url);
    tabs.push(await driver.getWindowHandle());
    await call("browser/sharedpage", "join", {});
  }
  await driver.switchTo().window(tabs[0]!);
  await driver.close();
  for (const tab of tabs.slice(1)) {
    await driver.switchTo().window(tab);
    await call("browser/sharedpage", "talk", 20);
    const [heard, code] = await call<[number[], number]>("browser/sharedpage", "finish");
    deepEqual([heard.length, heard.at(-1), code], [21, 21, 0]);
    await driver.close();
  }
  await driver.switchTo().window(first);
});
