// docs/recipes/no-bundler.md in Chromium: Connect-ES by an import map, with the
// modules that a bridge serves.

import { deepEqual } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { transform } from "esbuild";
import type { Browser, Route } from "playwright-core";
import { type Demo, startDemo } from "../demobridge.js";
import { launchChromium } from "./chromium.js";

const RECIPE = ".test/recipes/no-bundler";

let demo: Demo;
let browser: Browser;
before(async () => {
  demo = await startDemo();
  // A page that did not come over the network may not reach the loopback interface else.
  browser = await launchChromium({ args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-features=LocalNetworkAccessChecks"] });
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});

/** Answers as the page's web server would. */
async function serve(route: Route): Promise<void> {
  const { pathname } = new URL(route.request().url());
  if (pathname === "/page/") return route.fulfill({ path: `${RECIPE}/index.html`, contentType: "text/html" });
  if (pathname.startsWith("/vendor/")) return route.fulfill({ path: pathname.replace("/vendor", "node_modules"), contentType: "text/javascript" });
  const typescript = await readFile(RECIPE + pathname.replace("/page", "").replace(/\.js$/, ".ts"), "utf8");
  return route.fulfill({ body: (await transform(typescript, { loader: "ts" })).code, contentType: "text/javascript" });
}

test("a page without a bundler uses Connect-ES, with one client", { timeout: 60_000 }, async () => {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (err) => complaints.push(err.message));
  page.on("console", (message) => complaints.push(message.text()));
  await page.route(`${demo.url}/page/**`, serve);
  await page.route(`${demo.url}/vendor/**`, serve);
  await page.goto(`${demo.url}/page/`);
  await page.locator("output", { hasText: "Hello, Ada! 1,2,3,4,5 true" }).waitFor();
  deepEqual(complaints, []);
});
