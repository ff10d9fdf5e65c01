// Plays RPCs in a page behind a middlebox.

import type { BrowserContext } from "playwright-core";
import type { Visit } from "./main.js";
import type { Play } from "./matrix-page.js";

/**
 * Runs what ./matrix-page.ts has. The page and its scripts do not come over the
 * network: nothing but the client meets the middlebox.
 */
export async function visitMatrix(context: BrowserContext, { url, page: from, step, waves, carried }: Visit): Promise<unknown> {
  await context.grantPermissions(["local-network-access"]); // nobody knows where the page came from
  await context.route("**/*", (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === "/") return route.fulfill({ contentType: "text/html", body: "<!doctype html><title>Matrix</title>" });
    return route.fulfill({ contentType: "text/javascript", path: `.test${pathname}` });
  });
  const page = await context.newPage();
  await page.goto(from);
  const module = "/test/driver/matrix-page.js";
  await page.evaluate((module) => import(module), module);
  await context.unrouteAll();
  const what: Play = { url, step, waves, carried };
  return page.evaluate(async ({ module, what }) => (await import(module)).play(what), { module, what });
}
