// pollbridge/shared in Chromium: twenty tabs on two connections, whoever dies.

import { deepEqual, equal, ok } from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { build } from "esbuild";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { startTestBridge, type Stats, type TestBridge } from "../testbridge.js";
import { launchChromium } from "./chromium.js";
import { untilGlobal } from "./until.js";

type Script = typeof import("./sharedpage.js");

const TABS = 20;
const ROUNDS = 10;
const timeout = 120_000;

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

async function open(context: BrowserContext, way: keyof typeof ways): Promise<Tab> {
  const tab = new Tab(await context.newPage());
  await tab.page.goto(bridge.url);
  const { worker } = ways[way]!;
  await tab.call("join", worker === false ? { worker } : {});
  tab.said = 1;
  return tab;
}

async function contextFor(way: keyof typeof ways): Promise<BrowserContext> {
  const context = await browser.newContext();
  if (!ways[way]!.locks) await context.addInitScript(() => Object.defineProperty(navigator, "locks", { value: undefined }));
  return context;
}

/** Opens tabs; the first is there before the others. */
async function openAll(context: BrowserContext, way: keyof typeof ways, count: number): Promise<Tab[]> {
  const first = await open(context, way);
  return [first, ...(await Promise.all(Array.from({ length: count - 1 }, () => open(context, way))))];
}

/**
 * Has all tabs talk, and tells how many connections the bridge saw at once
 * meanwhile, once those that loaded pages are gone, and every tab has found the
 * hub again.
 */
async function connections(tabs: Tab[]): Promise<number> {
  await bridge.cut();
  await Promise.all(tabs.map((tab) => tab.talk(1)));
  while ((await bridge.stats()).connections.open > 2) await new Promise((resolve) => setTimeout(resolve, 50));
  await bridge.reset();
  await Promise.all(tabs.map((tab) => tab.talk()));
  return (await bridge.stats()).connections.peak;
}

async function killWorker(): Promise<void> {
  const devtools = await browser.newBrowserCDPSession();
  const { targetInfos } = await devtools.send("Target.getTargets");
  const { targetId } = targetInfos.find(({ type }) => type === "shared_worker")!;
  await devtools.send("Target.closeTarget", { targetId });
}

async function rpcs(fits: (rpcs: Stats["rpcs"]) => boolean): Promise<void> {
  while (!fits((await bridge.stats()).rpcs)) await new Promise((resolve) => setTimeout(resolve, 20));
}

for (const way of ["a SharedWorker", "the leading tab"]) {
  describe(`twenty tabs share by ${way}`, () => {
    let context: BrowserContext;
    let tabs: Tab[];

    before(async () => {
      context = await contextFor(way);
      tabs = await openAll(context, way, TABS);
    });
    after(() => context.close());

    test("two connections carry them all", { timeout }, async () => {
      const peak = await connections(tabs);
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
      const devtools = await context.newCDPSession(first.page);
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
        await killWorker();
        await talk;
      });
    }

    test("two connections carry those who are left", { timeout }, async () => {
      const peak = await connections(tabs);
      ok(peak <= 2, `${peak} connections at once`);
      await Promise.all(tabs.map((tab) => tab.finish()));
    });
  });
}

for (const way of ["a SharedWorker", "the leading tab", "each tab for itself"]) {
  test(`a tab that shares by ${way} comes back from the back/forward cache and goes on`, { timeout }, async () => {
    const context = await contextFor(way);
    const tabs = await openAll(context, way, 3);
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
    await context.close();
  });
}

test("tabs share two connections where binary bodies are swallowed", { timeout }, async () => {
  await bridge.swallow(true);
  const context = await contextFor("a SharedWorker");
  const tabs = await openAll(context, "a SharedWorker", 8);
  const peak = await connections(tabs);
  ok(peak <= 2, `${peak} connections at once`);
  await Promise.all(tabs.map((tab) => tab.finish()));
  await context.close();
  await bridge.swallow(false);
});

test("tabs share two connections to three bridges that take requests in turn", { timeout }, async () => {
  const alone = bridge;
  bridge = await startTestBridge("..", "-bridges", "3");
  const context = await contextFor("a SharedWorker");
  const tabs = await openAll(context, "a SharedWorker", 8);
  const peak = await connections(tabs);
  ok(peak <= 2, `${peak} connections at once`);
  const talk = Promise.all(tabs.map((tab) => tab.talk(50)));
  for (let i = 0; i < 3; i++) await bridge.cut();
  await talk;
  await Promise.all(tabs.map((tab) => tab.finish()));
  ok((await bridge.metric("pollbridge_cluster_links_forwarded_total")) > 0, "nothing was forwarded");
  await context.close();
  await bridge.stop();
  bridge = alone;
});

test("more tabs than connections work each for itself", { timeout }, async () => {
  const context = await contextFor("each tab for itself");
  const tabs = await openAll(context, "each tab for itself", 8);
  await Promise.all(tabs.map((tab) => tab.talk(3)));
  await Promise.all(tabs.map((tab) => tab.finish()));
  await context.close();
});

test("without Web Locks a worker that is killed is missed and passed by, and nobody loses anything", { timeout }, async () => {
  const context = await contextFor("a SharedWorker, unwatched");
  const tabs = await openAll(context, "a SharedWorker, unwatched", 8);
  await killWorker();
  await Promise.all(tabs.map((tab) => tab.talk()));
  await Promise.all(tabs.map((tab) => tab.finish()));
  await context.close();
});
