// Drives the demo's page as a person would, in Chromium, against `bridge demo`.

import { deepEqual, equal, match } from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { count, echo, ended, greet, messages, upload } from "../demo-page.js";
import { type Demo, startDemo } from "../demobridge.js";
import { launchChromium } from "./chromium.js";

const transports = ["auto", "ws", "longpoll"] as const;

let demo: Demo;
let url: string;
let browser: Browser;

before(async () => {
  demo = await startDemo();
  browser = await launchChromium();
  url = demo.url;
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

/** What Chromium says of a WebSocket that is cut while it opens. */
const cutSocket = /^WebSocket connection to '[^']+' failed/;

/** A page of the demo, and what went wrong on it: nothing may be logged, thrown or blocked. */
interface Visit {
  page: Page;
  context: BrowserContext;
  complaints: string[];
}

/** Opens the page over one transport. */
async function open(transport: string): Promise<Visit> {
  const complaints: string[] = [];
  const context = await browser.newContext();
  context.on("console", (message) => {
    if (!cutSocket.test(message.text())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  context.on("weberror", (error) => complaints.push(error.error().message));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`blocked: ${event.violatedDirective}`));
  });
  const page = await context.newPage();
  await page.goto(`${url}/?transport=${transport}`);
  await page.locator('#state[data-state="open"]').waitFor();
  return { page, context, complaints };
}

/** visit opens the page over one transport and runs body. */
async function visit(transport: string, body: (page: Page) => Promise<void>): Promise<void> {
  const { page, context, complaints } = await open(transport);
  await body(page);
  await context.close();
  deepEqual(complaints, []);
}

for (const transport of transports) {
  describe(`demo page over ${transport}`, () => {
    let page: Page;
    let context: BrowserContext;
    let complaints: string[];
    before(async () => ({ page, context, complaints } = await open(transport)));
    after(() => context?.close());

    test("unary, and an error that names field and limit", async () => {
      await greet(page);
      await page.fill("#greet input", "");
      await page.click("#greet .run");
      equal(await ended(page, "greet"), "INVALID_ARGUMENT");
      equal(await page.locator("#greet .outcome span").textContent(), "name length: 0 is not in 1 to 100");
    });

    test("client-streaming, with the server's checksum", () => upload(page));

    test("bidirectional, in order, to the half-close", () => echo(page));

    test("server-streaming goes on through three cuts", async () => {
      await count(page, 100, [10, 35, 60], () => page.click("#cut"));
      equal(await page.locator("#cuts").textContent(), "3");
      equal(await page.locator("#lost").textContent(), "none lost");
    });

    test("two tabs chat, also after a cut", async () => {
      const other = await context.newPage();
      await other.goto(`${url}/?transport=${transport}`);
      const room = `room of ${transport}`;
      for (const [tab, name] of [[page, "Ada"], [other, "Bob"]] as const) {
        await tab.fill("#chat [name=room]", room);
        await tab.fill("#chat .join [name=name]", name);
        await tab.click("#chat .join .run");
        await tab.locator("#chat .event", { hasText: `You joined as ${name}` }).waitFor();
      }
      const say = async (tab: Page, text: string): Promise<void> => {
        await tab.fill("#chat .say input", text);
        await tab.press("#chat .say input", "Enter");
        for (const reader of [page, other]) await reader.locator("#chat .said .text", { hasText: text }).waitFor();
      };
      await say(page, "hello");
      await say(other, "hello yourself");
      await page.click("#cut");
      await say(page, "still here");
      for (const tab of [page, other]) {
        deepEqual(await tab.locator("#chat .said .text").allTextContents(), ["hello", "hello yourself", "still here"]);
      }
      await other.goto("about:blank");
      await page.locator("#chat .event", { hasText: "Bob left" }).waitFor();
    });

    test("nothing is logged, thrown or blocked", () => deepEqual(complaints, []));
  });
}

test("demo page: another transport moves the chat along and lets running RPCs end", () =>
  visit("longpoll", async (page) => {
    await page.click("#chat .join .run");
    await page.locator("#chat .event", { hasText: "You joined" }).waitFor();
    await page.fill("#count [name=to]", "20");
    await page.fill("#count [name=interval]", "50");
    await page.click("#count .run");
    await page.locator("#transports span", { hasText: "WebSocket" }).click();
    await page.locator("#state-detail", { hasText: "over WebSocket" }).waitFor();
    equal(await ended(page, "count"), "OK");
    match((await page.locator("#count .outcome span").textContent()) ?? "", /, over long-polling$/);
    await page.locator("#chat .event", { hasText: "You joined" }).nth(1).waitFor();
    match(page.url(), /transport=ws/);
  }));

describe("demo page: ten seconds offline", { concurrency: true }, () => {
  for (const transport of transports) {
    test(`RPCs over ${transport} outlive them, and the lists say where`, () =>
      visit(transport, async (page) => {
        await page.fill("#count [name=to]", "60");
        await page.fill("#count [name=interval]", "200");
        await page.click("#count .run");
        await page.locator("#count .received").nth(4).waitFor();
        await page.click("#offline");
        await page.locator('#state[data-state="retrying"]').waitFor();
        equal(await page.locator("#cut").isDisabled(), true);
        equal(await page.locator("#count .broke .text").textContent(), "Offline");
        await page.locator("#count .broke + .mended", { hasText: "Online again" }).waitFor(); // nothing came meanwhile
        equal(await ended(page, "count"), "OK");
        deepEqual(await messages(page, "count"), Array.from({ length: 60 }, (_, i) => `number: ${i + 1}`));
        equal(await page.locator("#lost").textContent(), "none lost");
        match((await page.locator("#note").textContent()) ?? "", /^Offline, back in [1-9]\d+\.\d s\.$/);
      }));
  }
});

test("demo page: a WebSocket that is killed ends no RPC; without one there is none to kill", () =>
  visit("ws", async (page) => {
    await echo(page, async () => {
      await page.locator("#kill:enabled").click();
      await page.locator("#note", { hasText: "WebSocket killed, back in" }).waitFor();
    });
    deepEqual(await page.locator("#echo .broke .text").allTextContents(), Array(3).fill("WebSocket killed"));
    await page.locator("#transports span", { hasText: "Long-polling" }).click();
    await page.locator("#state-detail", { hasText: "over long-polling" }).waitFor();
    await page.locator("#kill:disabled").waitFor();
  }));

test("demo page: 10 MiB as an RPC and as a plain download", () =>
  visit("auto", async (page) => {
    await page.click("#throughput .run");
    equal(await ended(page, "throughput"), "OK");
    for (const row of [0, 1]) await page.locator(`#throughput output >> nth=${row}`, { hasText: /^[\d.,]+ Mbit\/s in [\d.]+ m?s$/ }).waitFor();
    match((await page.locator("#throughput .outcome span").textContent()) ?? "", /^320 messages in /);
  }));

test("demo page: fits 360 pixels, and every control has a name", () =>
  visit("auto", async (page) => {
    await page.setViewportSize({ width: 360, height: 740 });
    equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
    const nameless = await page.locator("button, input, select, progress, svg, ol").evaluateAll((elements) =>
      elements.filter(
        (e) => !e.textContent?.trim() && !e.getAttribute("aria-label") && !(e as HTMLInputElement).labels?.length,
      ).map((e) => e.outerHTML),
    );
    deepEqual(nameless, []);
  }));
