// docs/recipes/servers.md: a build of Next.js's, served by it, in Chromium. The
// variable NEXT names a folder with node_modules that have Next.js and the package
// as it is published: ./test.sh full makes it.

import { deepEqual, match } from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import type { Channel } from "../../src/index.js";
import { launchChromium } from "../browser/chromium.js";
import { type Demo, startDemo } from "../demobridge.js";

const ROOT = process.env["NEXT"]!;
const NEXT = `${ROOT}/node_modules/next/dist/bin/next`;

const files = {
  "package.json": '{ "type": "module", "private": true }',
  "app/layout.tsx": `import type { ReactElement, ReactNode } from "react";
export default ({ children }: { children: ReactNode }): ReactElement => <html><body>{children}</body></html>;`,
  "app/page.tsx": `import { Code } from "pollbridge"; // a server component may
import type { ReactElement } from "react";
import { Greeting } from "../greeting";
export default (): ReactElement => <main data-code={Code.Unavailable}><Greeting name="Ada" /></main>;`,
  "next.config.mjs": 'export default { rewrites: async () => [{ source: "/bridge/:path*", destination: process.env.BRIDGE + "/bridge/:path*" }] };',
};

/** A free port: the bridge has to know the origin before Next.js listens. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

let demo: Demo;
let browser: Browser;
let origin: string;
before(async () => {
  origin = `http://127.0.0.1:${await freePort()}`;
  await cp(".test/recipes/servers", ROOT, { recursive: true });
  await mkdir(`${ROOT}/app`, { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(`${ROOT}/${name}`, text);
  demo = await startDemo("--allow-origin", origin);
  Object.assign(process.env, { BRIDGE: demo.url, NEXT_TELEMETRY_DISABLED: "1" });
  browser = await launchChromium();
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});

test("next build, and what it made runs RPCs through Next.js's rewrites", { timeout: 300_000 }, async () => {
  const built = await promisify(execFile)(process.execPath, [NEXT, "build"], { cwd: ROOT });
  match(built.stdout, /○ {2}\(Static\)/); // rendered, without a page to open a channel in
  const server = spawn(process.execPath, [NEXT, "start", "--hostname", "127.0.0.1", "--port", new URL(origin).port], { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
  const page = await browser.newPage();
  try {
    for await (const line of createInterface({ input: server.stdout })) if (line.includes("Ready")) break;
    match(await (await fetch(origin)).text(), /<main data-code="14"><p>connecting<\/p><\/main>/);
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    await page.goto(origin);
    await page.locator("p", { hasText: "Hello, Ada!" }).waitFor();
    await page.evaluate(async () => {
      const { channel } = globalThis as unknown as { channel: Channel };
      while (channel.transport !== "ws") await new Promise((resolve) => channel.addEventListener("statechange", resolve, { once: true }));
    });
    deepEqual(errors, []);
  } finally {
    await page.close(); // Next.js waits for its connections
    server.kill();
    await once(server, "exit");
  }
});
