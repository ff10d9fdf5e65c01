// Starts WebKitGTK's small browser under Xvfb, driven over WebDriver.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { createInterface } from "node:readline";
import { Builder, Capabilities, type WebDriver } from "selenium-webdriver";

/** A running browser. */
export interface WebKit {
  driver: WebDriver;
  stop(): Promise<void>;
}

export async function launchWebKit(): Promise<WebKit> {
  const screen = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1280x800x24", "-nolisten", "tcp"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  const [display] = (await once(createInterface({ input: screen.stdio[3] as NodeJS.ReadableStream }), "line")) as [string];
  const port = await freePort();
  const server = spawn("WebKitWebDriver", [`--port=${port}`], {
    stdio: "ignore",
    env: { ...process.env, DISPLAY: `:${display}`, GDK_BACKEND: "x11", WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1", LIBGL_ALWAYS_SOFTWARE: "1" },
  });
  const capabilities = new Capabilities().set("webkitgtk:browserOptions", { binary: browserPath(), args: ["--automation"] });
  const driver = await started(`http://127.0.0.1:${port}`).then((url) => new Builder().usingServer(url).withCapabilities(capabilities.setBrowserName("MiniBrowser")).build());
  await driver.manage().setTimeouts({ script: 60_000 });
  return {
    driver,
    async stop() {
      await driver.quit();
      for (const child of [server, screen]) await ended(child);
    },
  };
}

/** Debian puts it where programs' parts are, below the machine's name. */
function browserPath(): string {
  const found = readdirSync("/usr/lib").map((folder) => `/usr/lib/${folder}/webkit2gtk-4.1/MiniBrowser`).find(existsSync);
  if (!found) throw new Error("no MiniBrowser of webkit2gtk-4.1 below /usr/lib");
  return found;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** Resolves with the URL once somebody answers there. */
async function started(url: string): Promise<string> {
  for (let tries = 0; tries < 500; tries++) {
    if (await fetch(`${url}/status`).then((answer) => answer.ok, () => false)) return url;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`no WebDriver at ${url}`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exit = once(child, "exit");
  child.kill();
  await exit;
}
