// A page with nothing on it but a module.

import { buildSync } from "esbuild";
import type { Page } from "playwright-core";

/**
 * Bundles a module of this folder into a page's HTML. What the module exports,
 * the page has as the global `module`.
 */
export function bundle(name: string): string {
  const built = buildSync({ entryPoints: [`.test/test/driver/${name}`], bundle: true, write: false, format: "iife", globalName: "module" });
  return `<!doctype html><title>Test</title><script>${built.outputFiles[0]!.text}</script>`;
}

/**
 * Opens such HTML at an address. It does not come over the network: nothing
 * but what the module does meets the middlebox.
 */
export async function openBlank(page: Page, address: string, html: string): Promise<void> {
  await page.context().grantPermissions(["local-network-access"]); // nobody knows where the page came from
  await page.route("**/*", (route) => route.fulfill({ contentType: "text/html", body: html }));
  await page.goto(address);
  await page.unrouteAll();
}
