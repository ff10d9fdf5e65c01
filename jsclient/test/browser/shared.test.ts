// pollbridge/shared in Chromium: twenty tabs on two connections, whoever dies.

import { deepEqual, equal, ok } from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { build } from "esbuild";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { startTestBridge, type Stats, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";
import { untilGlobal } from "./until.js";

type Script = typeof import("./sharedpage.js");

const TABS = 20;
const ROUNDS = 10;
const timeout = 240_000;

let bridge: TestBridge;
let browser: Browser;

before(async () => {
  // Few files, which are quickly loaded twenty times.
  await build({
    entryPoints: { sharedpage: ".test/test/browser/sharedpage.js", "shared-worker": ".test/src/shared-worker.js" },
    outdir: ".test/bundled",
    bundle: true,
    format: "esm",
  });
  bridge = await startTestBridge();
  browser = await launchChromium({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
});

after(async () => {
  await browser?.close();
  await bridge?.stop();
});

/** A tab, and how many messages it has had echoed. */
class Tab {
  readonly page: Page;
  said = 0;
  crashed = false;

  constructor(page: Page) {
    this.page = page;
    page.on("crash", () => (this.crashed = true));
  }

  /** Calls a function of sharedpage.ts. */
  call<F extends keyof Script>(name: F, ...args: Parameters<Script[F]>): ReturnType<Script[F]> {
    const module = "/static/bundled/sharedpage.js";
    return this.page.evaluate(async ({ module, name, args }) => (await import(module))[name](...args), { module, name, args }) as ReturnType<Script[F]>;
  }

  async talk(rounds = ROUNDS): Promise<void> {
    this.said += rounds;
    await this.call("talk", rounds);
  }

  async finish(): Promise<void> {
    const [heard, code] = await this.call("finish");
    deepEqual(heard, Array.from({ length: this.said }, (_, i) => i + 1));
    equal(code, 0);
  }
}

/** The ways to share, by name: without Web Locks each tab is for itself. */
const ways: Record<string, { worker?: false; locks: boolean }> = {
  "a SharedWorker": { locks: true },
  "the leading tab": { worker: false, locks: true },
  "each tab for itself": { worker: false, locks: false },
  "a SharedWorker, unwatched": { locks: false },
};

/** A window of a browser, whose tabs share in one way, and the bridge that they are to. */
interface Window {
  context: BrowserContext;
  way: keyof typeof ways;
  bridge: TestBridge;
}

async function open({ context, way, bridge }: Window): Promise<Tab> {
  const tab = new Tab(await context.newPage());
  await tab.page.goto(bridge.url);
  const { worker } = ways[way]!;
  await tab.call("join", worker === false ? { worker } : {});
  tab.said = 1;
  return tab;
}

async function windowFor(way: keyof typeof ways, bridge: TestBridge): Promise<Window> {
  const context = await browser.newContext();
  if (!ways[way]!.locks) await context.addInitScript(() => Object.defineProperty(navigator, "locks", { value: undefined }));
  return { context, way, bridge };
}

/** A window to a bridge of its own, until the test is over. */
async function alone(t: TestContext, way: keyof typeof ways, ...flags: string[]): Promise<Window> {
  const bridge = await startTestBridge("..", ...flags);
  t.after(() => bridge.stop());
  const window = await windowFor(way, bridge);
  t.after(() => window.context.close());
  return window;
}

/** Opens tabs; the first is there before the others. */
async function openAll(window: Window, count: number): Promise<Tab[]> {
  const first = await open(window);
  return [first, ...(await Promise.all(Array.from({ length: count - 1 }, () => open(window))))];
}

/**
 * Has all tabs talk, and tells how many connections the bridge saw at once
 * meanwhile, once those that loaded pages are gone, and every tab has found the
 * hub again.
 */
async function connections(tabs: Tab[], { bridge }: Window): Promise<number> {
  await bridge.cut();
  await Promise.all(tabs.map((tab) => tab.talk(1)));
  while ((await bridge.stats()).connections.open > 2) await new Promise((resolve) => setTimeout(resolve, 50));
  await bridge.reset();
  await Promise.all(tabs.map((tab) => tab.talk()));
  return (await bridge.stats()).connections.peak;
}

/** Kills the SharedWorker of a tab's window. */
async function killWorker({ page }: Tab): Promise<void> {
  const { targetInfo } = await (await page.context().newCDPSession(page)).send("Target.getTargetInfo");
  const devtools = await browser.newBrowserCDPSession();
  const { targetInfos } = await devtools.send("Target.getTargets");
  const { targetId } = targetInfos.find(({ type, browserContextId }) => type === "shared_worker" && browserContextId === targetInfo.browserContextId)!;
  await devtools.send("Target.closeTarget", { targetId });
}

async function rpcs(fits: (rpcs: Stats["rpcs"]) => boolean): Promise<void> {
  while (!fits((await bridge.stats()).rpcs)) await new Promise((resolve) => setTimeout(resolve, 20));
}

for (const way of ["a SharedWorker", "the leading tab"]) {
  describe(`twenty tabs share by ${way}`, () => {
    let window: Window;
    let tabs: Tab[];

    before(async () => {
      window = await windowFor(way, bridge);
      tabs = await openAll(window, TABS);
    });
    after(() => window.context.close());

    test("two connections carry them all", { timeout }, async () => {
      const peak = await connections(tabs, window);
      ok(peak <= 2, `${peak} connections at once`);
    });

    test("a tab that only listens hears all, beside others", { timeout }, async () => {
      const [numbers] = await Promise.all([tabs[7]!.call("listen", 50, 20), tabs[8]!.talk(), tabs[9]!.talk()]);
      deepEqual(numbers, Array.from({ length: 50 }, (_, i) => i + 1));
    });

    test("connections that are cut lose nothing", { timeout }, async () => {
      const talk = Promise.all(tabs.map((tab) => tab.talk()));
      for (let i = 0; i < 3; i++) await bridge.cut();
      await talk;
    });

    test("a tab that closes during its RPC cancels it", { timeout }, async () => {
      const { Active, Cancelled } = (await bridge.stats()).rpcs;
      const talk = Promise.all(tabs.slice(0, -1).map((tab) => tab.talk()));
      await tabs.pop()!.page.close({ runBeforeUnload: true });
      await talk;
      await rpcs((now) => now.Active === Active - 1 && now.Cancelled === Cancelled + 1);
    });

    test("the first tab closes, and the others lose nothing", { timeout }, async () => {
      const first = tabs.shift()!;
      const talk = Promise.all(tabs.map((tab) => tab.talk()));
      await first.page.close();
      await talk;
    });

    test("the first tab is killed, and the others lose nothing", { timeout }, async () => {
      const first = tabs.shift()!;
      const devtools = await window.context.newCDPSession(first.page);
      const crash = new Promise((resolve) => first.page.once("crash", resolve));
      const talk = Promise.allSettled(tabs.map((tab) => tab.talk()));
      devtools.send("Page.crash").catch(() => undefined); // there is nobody to answer
      await crash;
      const outcomes = await talk;
      outcomes.forEach((outcome, i) => tabs[i]!.crashed || equal(outcome.status, "fulfilled"));
      tabs = tabs.filter((tab) => !tab.crashed); // some may have shared the killed process
      ok(tabs.length > 1, `${tabs.length} tabs are left`);
    });

    if (way === "a SharedWorker") {
      test("the worker is killed, and nobody loses anything", { timeout }, async () => {
        const talk = Promise.all(tabs.map((tab) => tab.talk()));
        await killWorker(tabs[0]!);
        await talk;
      });
    }

    test("two connections carry those who are left", { timeout }, async () => {
      const peak = await connections(tabs, window);
      ok(peak <= 2, `${peak} connections at once`);
      await Promise.all(tabs.map((tab) => tab.finish()));
    });
  });
}

for (const way of ["a SharedWorker", "the leading tab", "each tab for itself"]) {
  test(`a tab that shares by ${way} comes back from the back/forward cache and goes on`, { timeout }, async () => {
    const window = await windowFor(way, bridge);
    const tabs = await openAll(window, 3);
    const page = tabs.at(-1)!.page;
    await page.evaluate(() => addEventListener("pageshow", ({ persisted }) => persisted && Object.assign(globalThis, { persisted })));
    for (let i = 0; i < 2; i++) {
      await page.goto("about:blank");
      await Promise.all(tabs.slice(0, -1).map((tab) => tab.talk(3)));
      await page.goBack({ waitUntil: "commit" });
      await untilGlobal(page, "persisted");
      await Promise.all(tabs.map((tab) => tab.talk(3)));
    }
    await Promise.all(tabs.map((tab) => tab.finish()));
    await window.context.close();
  });
}

// Each has a bridge of its own, and most of the time it waits: side by side.
describe("eight tabs", { concurrency: true }, () => {
  test("share two connections where binary bodies are swallowed", { timeout }, async (t) => {
    const window = await alone(t, "a SharedWorker");
    await window.bridge.swallow(true);
    const tabs = await openAll(window, 8);
    const peak = await connections(tabs, window);
    ok(peak <= 2, `${peak} connections at once`);
    await Promise.all(tabs.map((tab) => tab.finish()));
  });

  test("share two connections to three bridges that take requests in turn", { timeout }, async (t) => {
    const window = await alone(t, "a SharedWorker", "-bridges", "3");
    const tabs = await openAll(window, 8);
    const peak = await connections(tabs, window);
    ok(peak <= 2, `${peak} connections at once`);
    const talk = Promise.all(tabs.map((tab) => tab.talk(20)));
    for (let i = 0; i < 3; i++) await window.bridge.cut();
    await talk;
    await Promise.all(tabs.map((tab) => tab.finish()));
    ok((await window.bridge.metric("pollbridge_cluster_links_forwarded_total")) > 0, "nothing was forwarded");
  });

  test("work each for itself, more than there are connections", { timeout }, async (t) => {
    const tabs = await openAll(await alone(t, "each tab for itself"), 8);
    await Promise.all(tabs.map((tab) => tab.talk(3)));
    await Promise.all(tabs.map((tab) => tab.finish()));
  });

  test("miss a worker that is killed without Web Locks, pass it by, and lose nothing", { timeout }, async (t) => {
    const tabs = await openAll(await alone(t, "a SharedWorker, unwatched"), 8);
    await killWorker(tabs[0]!);
    await Promise.all(tabs.map((tab) => tab.talk()));
    await Promise.all(tabs.map((tab) => tab.finish()));
  });
});
