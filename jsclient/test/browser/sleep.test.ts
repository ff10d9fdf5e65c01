// A page that sleeps, in Chromium: frozen, hidden, with its machine, and with
// its network gone. All messages are numbered: none is lost, none comes twice.

import { deepEqual, equal, ok } from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, describe, type TestContext, test } from "node:test";
import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import * as puppeteer from "puppeteer-core";
import type { ChannelOptions, Transport } from "../../src/index.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";
import { chromiumPath, launchChromium } from "./chromium.js";

type Script = typeof import("./sleeper.js");

/** Ends what hangs. */
const timeout = 240_000;
const TRANSPORTS: Transport[] = ["longpoll", "ws"];
const MIDDLEBOX = ".test/middlebox";

let browser: Browser;
/** Its pages can be hidden and frozen; those of playwright cannot. */
let hiding: puppeteer.Browser;

before(async () => {
  execFileSync("go", ["build", "-o", `jsclient/${MIDDLEBOX}`, "./internal/cmd/middlebox"], { cwd: ".." });
  await build({ entryPoints: [".test/test/browser/sleeper.js"], outdir: ".test/bundled", bundle: true, format: "esm" });
  browser = await launchChromium();
  hiding = await puppeteer.launch({
    executablePath: chromiumPath(),
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/0"],
    ignoreDefaultArgs: ["--disable-background-timer-throttling"],
  });
});

after(() => Promise.all([browser?.close(), hiding?.close()]));

/** Calls a function of sleeper.ts in a page. */
function call<F extends keyof Script>(page: Page, name: F, ...args: Parameters<Script[F]>): Promise<Awaited<ReturnType<Script[F]>>> {
  const module = "/static/bundled/sleeper.js";
  return page.evaluate(async ({ module, name, args }) => (await import(module))[name](...args), { module, name, args });
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

/** Runs a test with a bridge of its own, for both transports side by side. */
function each(name: string, run: (bridge: TestBridge, transport: Transport, t: TestContext) => Promise<void>): void {
  test(name, { timeout }, async (t) => {
    const bridge = await startTestBridge();
    t.after(() => bridge.stop());
    await Promise.all(TRANSPORTS.map((transport) => run(bridge, transport, t)));
  });
}

/** Opens a page with a channel and an RPC that echoes numbers, each after some milliseconds. */
async function visit(page: Page, url: string, options: ChannelOptions, delayMs = 0): Promise<Page> {
  await page.goto(url);
  await call(page, "begin", options, delayMs);
  return page;
}

/** The same in a tab that another one hides. */
async function visitHidden(url: string, transport: Transport, delayMs: number): Promise<puppeteer.Page> {
  const page = await hiding.newPage();
  await visit(page as unknown as Page, url, { transports: [transport] }, delayMs);
  await (await hiding.newPage()).bringToFront();
  await call(page as unknown as Page, "hidden");
  return page;
}

describe("a page that sleeps", { concurrency: true }, () => {
  each("a hidden page that is frozen in the middle of an RPC goes on with it", async (bridge, transport) => {
    const tab = await visitHidden(bridge.url, transport, 30);
    const page = tab as unknown as Page;
    const cdp = await tab.createCDPSession();
    const be = (state: "frozen" | "active"): Promise<void> => cdp.send("Page.setWebLifecycleState", { state });

    await call(page, "sendInFreeze", 20);
    await be("frozen");
    await be("active");
    await call(page, "hear", 21);

    await call(page, "finish", 39);
    await call(page, "hear", 30);
    await be("frozen");
    await untilOver(bridge);
    await be("active");
    deepEqual(await call(page, "over"), { heard: numbers(60), code: 0, reason: "" });
    const { events, sessions } = await call(page, "seen");
    deepEqual([sessions, ...events], [1, "freeze", "resume", "freeze", "resume"]);
  });

  each("a hidden page hears its messages though its timers hardly run", async (bridge, transport) => {
    const page = (await visitHidden(bridge.url, transport, 100)) as unknown as Page;
    await call(page, "tick");
    await call(page, "finish", 39);
    deepEqual(await call(page, "over"), { heard: numbers(40), code: 0, reason: "" });
    const { ticks, millis, sessions } = await call(page, "seen");
    ok(ticks < millis / 100, `a timer of 10 ms ran ${ticks} times in ${millis} ms`);
    equal(sessions, 1);
  });

  each("a machine that slept: an RPC goes on within the window, else it ends once and the next finds another session", async (bridge, transport) => {
    const page = await browser.newPage();
    await page.clock.install();
    await visit(page, bridge.url, { transports: [transport] });
    const fire = (type: string): Promise<boolean> => page.evaluate((type) => document.dispatchEvent(new Event(type)), type);

    // Real time goes on as well: each step leaves a minute or more of the window for it.
    await page.clock.fastForward("00:35");
    await call(page, "say", 1);
    await fire("freeze");
    await page.clock.fastForward("05:00");
    await fire("resume");
    await call(page, "say", 1);
    equal((await call(page, "seen")).sessions, 1);

    await fire("freeze");
    await page.clock.fastForward("01:30:00");
    await fire("resume");
    deepEqual(await call(page, "over"), { heard: numbers(3), code: 14, reason: "expired" });
    await call(page, "again");
    equal((await call(page, "seen")).sessions, 2);
  });

  each('"offline" ends no link, "online" ends the wait for another try', async (bridge, transport) => {
    const context = await browser.newContext();
    const page = await visit(await context.newPage(), bridge.url, { transports: [transport], backoff: { leastMs: 1e9, mostMs: 1e9 } });
    const { errors } = await call(page, "seen");
    await page.evaluate(() => dispatchEvent(new Event("offline")));
    await call(page, "say", 1);
    deepEqual((await call(page, "seen")).errors, errors);

    await context.setOffline(true);
    await call(page, "cut");
    await call(page, "reach", "retrying");
    await context.setOffline(false);
    await page.evaluate(() => fetch("/")); // the network is back, as the browser's own event may tell too early
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await call(page, "say", 1);
    await call(page, "happened", 4);
    const { events, sessions } = await call(page, "seen");
    deepEqual([sessions, ...events], [1, "offline", "offline", "online", "online"]);
    await context.close();
  });

  each("a middlebox cuts again and again in the middle of an RPC", async (bridge, transport, t) => {
    const box = await startMiddlebox(t, bridge.url);
    const page = await visit(await browser.newPage(), box.url, { transports: [transport] }, 30);
    await box.set("cut=1s cutwith=eof killafter=20 killevery=5"); // of links from now on
    await call(page, "cut");
    await call(page, "say", 99);
    await box.set("");
    await call(page, "finish", 0);
    deepEqual(await call(page, "over"), { heard: numbers(100), code: 0, reason: "" });
    equal((await call(page, "seen")).sessions, 1);
    ok((await box.struck()) > 0);
  });
});

/** Waits until no RPC runs at the backend. */
async function untilOver(bridge: TestBridge): Promise<void> {
  while ((await bridge.stats()).rpcs.Active > 0) await new Promise((resolve) => setTimeout(resolve, 50));
}

interface Middlebox {
  url: string;
  /** Sets how it behaves from now on. */
  set(profile: string): Promise<void>;
  /** Tells how often it cut. */
  struck(): Promise<number>;
}

/** Starts a middlebox before a bridge: see internal/middlebox. */
async function startMiddlebox(t: TestContext, upstream: string): Promise<Middlebox> {
  const child = spawn(MIDDLEBOX, ["--upstream", upstream, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  t.after(async () => {
    child.kill();
    await exited;
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const word = async (): Promise<string> => ((await lines.next()).value as string).split(" ").at(-1)!;
  const [control, address] = [await word(), await word()];
  return {
    url: `http://${address}`,
    set: async (body) => void (await (await fetch(control + "/profile", { method: "PUT", body })).text()),
    async struck() {
      const { struck } = (await (await fetch(control + "/counts")).json()) as { struck: { cut?: number; killafter?: number } | null };
      return (struck?.cut ?? 0) + (struck?.killafter ?? 0);
    },
  };
}
