// Waits for something in a page.

import { setTimeout as sleep } from "node:timers/promises";

/** A page of playwright's or puppeteer's. */
interface Evaluates {
  evaluate(has: (name: string) => boolean, name: string): Promise<boolean>;
}

/**
 * Resolves once the page that is shown has a global of that name; the page may
 * change meanwhile. It asks again and again by the protocol: a function that
 * waits in the page would be made there of a string, which the page's
 * Content-Security-Policy forbids.
 */
export async function untilGlobal(page: Evaluates, name: string, limitMs = 30_000): Promise<void> {
  const end = performance.now() + limitMs;
  let changing: unknown;
  while (performance.now() < end) {
    const found = await page.evaluate((name) => name in globalThis, name).catch((err: unknown) => ((changing = err), false));
    if (found) return;
    await sleep(20);
  }
  throw new Error(`no global ${name} within ${limitMs} ms`, { cause: changing });
}
