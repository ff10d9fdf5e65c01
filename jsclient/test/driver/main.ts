// Drives Chromium for Go tests (e2e/chromium_test.go): reads visits from
// standard input, one JSON object a line, makes them side by side, and writes a
// result for each; before it, of a page that stays, that it is quiet now. Ends with its standard input.

import { createInterface } from "node:readline";
import type { Page } from "playwright-core";
import { launchChromium } from "../browser/chromium.js";
import { visitCheck } from "./check.js";
import { visitDemo } from "./demo.js";
import { visitMatrix } from "./matrix.js";

/** What one visit is to do. */
export interface Visit {
  id: number;
  /** What to do there. */
  what: "check" | "demo" | "matrix";
  /** demo: the page's address; else the bridge's. */
  url: string;
  /** The forward proxy, e.g. http://127.0.0.1:3128; empty: none. */
  proxy: string;
  /** How long it may take, in milliseconds. */
  limit: number;
  /** The transport that is to carry RPCs; empty: either. */
  carried: string;
  /** demo: stay with a quiet stream until a poll was held for so long, in milliseconds; 0: do not stay. */
  stays: number;
  /** demo: polls are cut; before they were, none counts. */
  cut: boolean;
  /** check and matrix: the page's address. */
  page: string;
  /** matrix: time between two messages, in milliseconds. */
  step: number;
  /** matrix: how many of the waves of RPCs. */
  waves: number;
}

const visits: Record<Visit["what"], (page: Page, visit: Visit, quiet: () => void) => Promise<unknown>> = { check: visitCheck, demo: visitDemo, matrix: visitMatrix };

// Certificates here are those of proxies that look into TLS.
const browser = await launchChromium({ args: ["--no-sandbox", "--disable-dev-shm-usage", "--ignore-certificate-errors"] });

// Pages behind no proxy share what is dear to make. Their addresses differ, so
// that they share no connection and nothing that a channel remembers.
const shared = await browser.newContext();

async function make(visit: Visit): Promise<void> {
  // Loopback goes through the proxy, too: playwright sees to that.
  const context = visit.proxy ? await browser.newContext({ proxy: { server: visit.proxy } }) : shared;
  const page = await context.newPage();
  const timer = setTimeout(() => void page.close({ reason: `not over within ${visit.limit} ms` }), visit.limit);
  try {
    reply({ id: visit.id, result: await visits[visit.what](page, visit, () => reply({ id: visit.id, quiet: true })) });
  } catch (err) {
    reply({ id: visit.id, error: (err as Error).stack ?? String(err) });
  } finally {
    clearTimeout(timer);
    await page.close();
    if (context !== shared) await context.close();
  }
}

function reply(line: object): void {
  process.stdout.write(JSON.stringify(line) + "\n");
}

const made: Promise<void>[] = [];
for await (const line of createInterface(process.stdin)) made.push(make(JSON.parse(line) as Visit));
await Promise.all(made);
await browser.close();
