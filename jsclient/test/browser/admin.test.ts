// Uses the page of the admin listener as an operator would, in Chromium, on the
// bridge of `bridge demo`.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { greet } from "../demo-page.js";
import { type Demo, startDemo } from "../demobridge.js";
import { launchChromium } from "./chromium.js";

const TOKEN = "a-token-of-operators";

/** What Chromium logs of each answer that is no success. */
const unauthorized = /^Failed to load resource: the server responded with a status of 401/;

let demo: Demo;
let browser: Browser;

before(async () => {
  demo = await startDemo("--admin", "127.0.0.1:0", "--admin-token", TOKEN);
  browser = await launchChromium();
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

/** A page of the demo with a chat open: one session with one RPC. */
async function visitor(): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${demo.url}/?transport=ws`);
  await page.click("#chat .run");
  await page.locator("#members").filter({ hasNotText: "Nobody yet" }).waitFor();
  return page;
}

describe("the admin page", () => {
  let context: BrowserContext;
  let page: Page;
  const complaints: string[] = [];
  const elsewhere: string[] = [];

  before(async () => {
    context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light" });
    context.on("console", (message) => {
      if (!unauthorized.test(message.text())) complaints.push(`${message.type()}: ${message.text()}`);
    });
    context.on("weberror", (error) => complaints.push(error.error().message));
    context.on("request", (request) => {
      if (!request.url().startsWith(demo.admin!)) elsewhere.push(request.url());
    });
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`blocked: ${event.violatedDirective}`));
    });
    page = await context.newPage();
    await page.goto(demo.admin!);
  });
  after(() => context?.close());

  test("shows nothing without the token", async () => {
    await page.locator("#login").waitFor();
    equal(await page.locator("#main").isVisible(), false);
    await page.fill("#token", "another-token-of-operators");
    await page.click("#login button");
    await page.getByText("That is not the bridge's admin token.").waitFor();
    await page.fill("#token", TOKEN);
    await page.click("#login button");
    await page.locator('#state[data-level="good"]').waitFor();
    equal(await page.locator("#state").textContent(), "Ready");
  });

  test("lists sessions, shows one live, and disconnects it", async () => {
    const other = await visitor();
    await page.click('a[href="#/sessions"]');
    const rows = page.locator("#sessions-table tbody tr");
    await rows.first().waitFor();
    equal(await rows.count(), 1);
    match((await rows.first().textContent())!, /127\.0\.0\.1WebSocket/);
    await page.fill("#query [name=filter]", "nobody");
    await rows.first().waitFor({ state: "detached" });
    equal(await page.locator("#matched").textContent(), "None, of 1 sessions");
    await page.fill("#query [name=filter]", "127.0.0.1");
    await rows.locator("a").first().click();

    const id = (await page.locator("#session-id").textContent())!;
    await page.locator("#open tbody tr").first().waitFor();
    match((await page.locator("#open tbody").textContent())!, /\/pollbridge\.demo\.v1\.Demo\/Chat/);
    match((await page.locator("#events").textContent())!, /opened: carried by ws/);
    match((await page.locator("#facts").textContent())!, /Clientpollbridge-js\//);
    await page.locator('#plot-rtt path.one[d*="L"]').waitFor({ state: "attached" });
    await page.locator('#plot-rate path.one[d*="L"]').waitFor({ state: "attached" });

    await page.click("#disconnect");
    await page.click("#sure .quiet");
    equal(await page.locator("#session-gone").isVisible(), false);
    await page.click("#disconnect");
    await page.click("#sure-yes");
    await page.locator("#session-gone").waitFor();
    equal(await page.locator("#session-gone").textContent(), `session ${id} is over: disconnected: disconnected by an operator`);
    await page.click('a[href="#/"]');
    await page.locator("#ended").getByText(id).waitFor();
    await greet(other);
    await page.click('a[href="#/sessions"]');
    await rows.locator("a").filter({ hasNotText: id }).waitFor(); // the row of before stays until the list comes
    equal(await rows.count(), 1);
    await other.context().close();
  });

  test("shows backends, and that the bridge is alone", async () => {
    await page.click('a[href="#/backends"]');
    await page.locator('#backends .chip[data-level="good"]').first().waitFor();
    match((await page.locator("#backends").textContent())!, /demoready.*every service; channels: 1 READY/);
    await page.click('a[href="#/cluster"]');
    equal(await page.locator("#cluster-note").isVisible(), true);
    await page.click('a[href="#/refusals"]');
    match((await page.locator("#refusals").textContent())!, /batchbusy00/);
  });

  test("fits a phone, in light and dark", async () => {
    const grounds = new Set<string>();
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      grounds.add(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor));
    }
    equal(grounds.size, 2);
    await page.setViewportSize({ width: 390, height: 844 });
    for (const view of ["", "sessions", "backends", "cluster", "refusals"]) {
      await page.goto(`${demo.admin}/#/${view}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      ok(wide <= 0, `${view} is ${wide} px too wide`);
    }
  });

  test("drains the bridge", async () => {
    await page.goto(`${demo.admin}/#/`);
    await page.click("#drain");
    await page.click("#sure-yes");
    await page.getByText("The bridge does not answer").waitFor();
    deepEqual(elsewhere, []);
    deepEqual(
      complaints.filter((c) => !c.includes("ERR_CONNECTION_REFUSED") && !c.includes("ERR_INCOMPLETE_CHUNKED_ENCODING")),
      [],
    );
  });
});
