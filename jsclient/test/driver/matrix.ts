// Plays RPCs in a page behind a middlebox.

import type { Page } from "playwright-core";
import { bundle, openBlank } from "./blank.js";
import type { Visit } from "./main.js";
import type { Play } from "./matrix-page.js";

declare const module: typeof import("./matrix-page.js"); // the page's

const html = bundle("matrix-page.js");

/** Runs what ./matrix-page.ts has. */
export async function visitMatrix(page: Page, { url, page: address, step, waves, carried }: Visit): Promise<unknown> {
  const what: Play = { url, step, waves, carried };
  await openBlank(page, address, html);
  return page.evaluate((what) => module.play(what), what);
}
