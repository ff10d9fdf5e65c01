// Plays RPCs in a page behind a middlebox.

import type { BrowserContext } from "playwright-core";
import { openBlank } from "./blank.js";
import type { Visit } from "./main.js";
import type { Play } from "./matrix-page.js";

/** Runs what ./matrix-page.ts has. */
export async function visitMatrix(context: BrowserContext, { url, page: from, step, waves, carried }: Visit): Promise<unknown> {
  const module = "/test/driver/matrix-page.js";
  const page = await openBlank(context, from, module);
  const what: Play = { url, step, waves, carried };
  return page.evaluate(async ({ module, what }) => (await import(module)).play(what), { module, what });
}
