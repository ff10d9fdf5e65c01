// Runs cases in a page of headless Chromium, which loads the bundle as any page does.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { chromium } from "playwright-core";
import type { Run } from "./call.js";

export interface Page {
  /** Where the page is from. */
  origin: string;
  run: Run;
  close(): Promise<void>;
}

/** Opens a page whose session uses the transport. */
export async function openPage(executablePath: string, bundle: URL, transport: string): Promise<Page> {
  const scripts: Record<string, URL> = { "/client.js": bundle, "/page.js": new URL("page.js", import.meta.url) };
  const server = createServer(async (request, response) => {
    const script = scripts[request.url ?? ""];
    response.setHeader("Content-Type", script ? "text/javascript" : "text/html");
    response.end(script ? await readFile(script) : "<!doctype html><title>Conformance</title>");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  const page = await browser.newPage();
  page.on("pageerror", (err) => console.error("in the page:", err.message));
  await page.goto(origin);
  await page.evaluate(async ({ transport }) => Object.assign(globalThis, { run: (await import("/page.js" as string)).open(transport) }), { transport });
  return {
    origin,
    async run(url, request) {
      const text = Buffer.from(request).toString("base64");
      const answer = await page.evaluate(({ url, text }) => (globalThis as unknown as { run: (...args: string[]) => Promise<string> }).run(url, text), { url, text });
      return Buffer.from(answer, "base64");
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}
