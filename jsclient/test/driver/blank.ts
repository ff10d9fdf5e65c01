// A page with nothing on it, to run modules in.

import type { BrowserContext, Page } from "playwright-core";

/**
 * Opens one at an address, with a module loaded. The page and its scripts do
 * not come over the network: nothing but what the module does meets the
 * middlebox.
 */
export async function openBlank(context: BrowserContext, address: string, module: string): Promise<Page> {
  await context.grantPermissions(["local-network-access"]); // nobody knows where the page came from
  await context.route("**/*", (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === "/") return route.fulfill({ contentType: "text/html", body: "<!doctype html><title>Test</title>" });
    const folder = pathname.startsWith("/bundle/") ? "." : ".test";
    return route.fulfill({ contentType: "text/javascript", path: folder + pathname });
  });
  const page = await context.newPage();
  await page.goto(address);
  await page.evaluate((module) => import(module), module);
  await context.unrouteAll();
  return page;
}
