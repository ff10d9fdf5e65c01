// Runs the examples as their READMEs say, in Chromium.

import { deepEqual, equal } from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { type Demo, startDemo } from "../demobridge.js";
import { launchChromium } from "./chromium.js";

const EXAMPLES = "../examples";

let site: Server;
let demo: Demo;
let browser: Browser;

/** Serves examples/hello, with the demo's address for the one that the README names. */
async function serveHello(): Promise<string> {
  site = createServer(async (_, response) => {
    const html = await readFile(`${EXAMPLES}/hello/index.html`, "utf8");
    response.setHeader("Content-Type", "text/html").end(html.replaceAll("http://127.0.0.1:8080", demo.url));
  }).listen(0, "127.0.0.1");
  await once(site, "listening");
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
}

let hello: string;

before(async () => {
  hello = await serveHello();
  demo = await startDemo("--allow-origin", hello);
  browser = await launchChromium();
});

after(async () => {
  await browser?.close();
  site?.close();
  await demo?.stop();
});

/** Runs Vite in an example while use works with the URL that it prints. */
async function withVite(example: string, args: string[], use: (url: string) => Promise<void>): Promise<void> {
  const vite = spawn(process.execPath, ["node_modules/vite/bin/vite.js", ...args, "--host", "127.0.0.1", "--port", "0"], {
    cwd: `${EXAMPLES}/${example}`,
    env: { ...process.env, BRIDGE: demo.url, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await use(await localUrl(vite));
  } finally {
    const exited = vite.exitCode === null && once(vite, "exit");
    vite.kill();
    await exited;
  }
}

async function localUrl(vite: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: vite.stdout! })) {
    const url = /Local: +(http:\S+)/.exec(line)?.[1];
    if (url) return url;
  }
  throw new Error("Vite ended before it listened");
}

/** Opens a page whose complaints fail the test. */
async function visit(url: string, use: (page: Page) => Promise<void>): Promise<void> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (err) => complaints.push(err.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.route("**/favicon.ico", (route) => route.fulfill({ status: 204 }));
  await page.goto(url);
  await use(page);
  await page.close();
  deepEqual(complaints, []);
}

test("hello", { timeout: 60_000 }, () =>
  visit(hello, async (page) => {
    await page.locator("output", { hasText: "Hello, Ada!" }).waitFor();
  }));

/** Two tabs join a room, and each reads what both say. */
async function chat(url: string): Promise<void> {
  await visit(url, (ada) =>
    visit(url, async (bob) => {
      for (const [page, name] of [[ada, "Ada"], [bob, "Bob"]] as const) {
        await page.fill("[name=room]", `room of ${url}`);
        await page.fill("[name=name]", name);
        await page.click("#join button");
        await page.locator(".note", { hasText: `You are ${name}` }).waitFor();
      }
      for (const [page, text] of [[ada, "one"], [bob, "two"], [ada, "three"]] as const) {
        await page.fill("[name=text]", text);
        await page.press("[name=text]", "Enter");
        for (const reader of [ada, bob]) await reader.locator(".said", { hasText: text }).waitFor();
      }
      await bob.click("#leave");
      await ada.locator(".note", { hasText: "Bob left." }).waitFor();
      for (const page of [ada, bob]) deepEqual(await page.locator(".said").allTextContents(), ["Ada: one", "Bob: two", "Ada: three"]);
    }));
}

test("chat, by Vite's server", { timeout: 60_000 }, () => withVite("chat", [], chat));

test("chat, built by Vite", { timeout: 60_000 }, async () => {
  const outDir = `${process.cwd()}/.test/chat`;
  const build = spawn(process.execPath, ["node_modules/vite/bin/vite.js", "build", "--outDir", outDir, "--emptyOutDir", "--logLevel", "warn"], {
    cwd: `${EXAMPLES}/chat`,
    stdio: "inherit",
  });
  deepEqual(await once(build, "exit"), [0, null]);
  await withVite("chat", ["preview", "--outDir", outDir], chat);
});

test("react, under StrictMode", { timeout: 60_000 }, () =>
  withVite("react", [], (url) =>
    visit(url, async (page) => {
      const counted = async (to: number): Promise<void> => {
        await page.locator("#counter[data-done=true]", { hasText: new RegExp(`\\b${to}\\b`) }).waitFor();
        equal((await page.locator("#counter").textContent())!.trim(), Array.from({ length: to }, (_, i) => i + 1).join(" "));
      };
      await counted(10);
      await page.click("button");
      await counted(20);
      await page.locator("[role=status]", { hasText: "open, over" }).waitFor();
    })));
