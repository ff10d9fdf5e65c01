// The life of a page, in Chromium: what it leaves behind, and how it comes back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";
import { untilGlobal } from "./until.js";

/** Ends what hangs, sooner than the bridge forgets a session by itself. */
const timeout = 110_000;

let bridge: TestBridge;
let browser: Browser;

before(async () => {
  bridge = await startTestBridge();
  browser = await launchChromium({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
});

/** What the page keeps between the test's visits to it. */
interface Kept {
  events: string[];
  say(number: number): Promise<number>;
}

/** Opens a page with one bidirectional RPC that has echoed once. */
async function visit(transport: string): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(bridge.url);
  await page.evaluate(async (transport) => {
    const { Channel } = await import("/static/src/index.js" as string);
    const { encode, decode } = await import("/static/test/echo.js" as string);
    const channel = new Channel("/", { transports: transport === "both" ? undefined : [transport] });
    const call = channel.open("/pollbridge.test.v1.Echo/Bidi");
    const kept: Kept = {
      events: [],
      async say(number) {
        void call.send(encode({ number }));
        return decode((await call.messages.next()).value).number;
      },
    };
    for (const type of ["pagehide", "pageshow"]) {
      addEventListener(type, (e) => kept.events.push(`${type} ${(e as PageTransitionEvent).persisted}`));
    }
    Object.assign(globalThis, { kept });
    await kept.say(1);
  }, transport);
  return page;
}

/** Waits until no more than so many RPCs run at the backend. */
async function untilActive(count: number): Promise<void> {
  while ((await bridge.stats()).rpcs.Active > count) await new Promise((resolve) => setTimeout(resolve, 50));
}

for (const transport of ["longpoll", "ws", "both"]) {
  test(`${transport}: a page that is closed ends its session at once`, { timeout }, async () => {
    const page = await visit(transport);
    assert.equal((await bridge.stats()).rpcs.Active, 1);
    await page.close({ runBeforeUnload: true });
    await untilActive(0);
  });

  test(`${transport}: a page that comes back from the back/forward cache goes on with its RPC`, { timeout }, async () => {
    const page = await visit(transport);
    await page.goto("about:blank");
    await page.goBack({ waitUntil: "commit" });
    await untilGlobal(page, "kept");
    const seen = await page.evaluate(async () => {
      const { kept } = globalThis as unknown as { kept: Kept };
      return [await kept.say(2), await kept.say(3), ...kept.events];
    });
    assert.deepEqual(seen, [2, 3, "pagehide true", "pageshow true"]);
    assert.equal((await bridge.stats()).rpcs.Active, 1);
    await page.close({ runBeforeUnload: true });
    await untilActive(0);
  });
}
