// Has a page look at the network.

import type { Page } from "playwright-core";
import { bundle, openBlank } from "./blank.js";
import type { Visit } from "./main.js";

declare const module: typeof import("../../src/diagnose.js"); // the page's

/** What a check has found. */
interface Found {
  profiles: readonly string[];
  works: boolean;
  text: string;
}

/** Waits to try, in milliseconds. */
const HOLDS = [1_000, 2_000, 3_000];

const html = bundle("../../src/diagnose.js");

/** Runs diagnose. */
export async function visitCheck(page: Page, { url, page: address }: Visit): Promise<Found> {
  await openBlank(page, address, html);
  return page.evaluate(
    async ({ url, holdsMs }) => {
      const report = await module.diagnose(url, { holdsMs });
      return { profiles: report.profiles, works: report.works, text: module.reportText(report) };
    },
    { url, holdsMs: HOLDS },
  );
}
