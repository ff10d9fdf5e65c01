// Has a page look at the network.

import type { BrowserContext } from "playwright-core";
import { openBlank } from "./blank.js";
import type { Visit } from "./main.js";

/** What a check has found. */
interface Found {
  profiles: readonly string[];
  works: boolean;
  text: string;
}

/** Waits to try, in milliseconds. */
const HOLDS = [1_000, 2_000, 3_000];

/** Runs diagnose. */
export async function visitCheck(context: BrowserContext, { url, page: from }: Visit): Promise<Found> {
  const module = "/bundle/diagnose.js"; // one file, where ten pages load it at once
  const page = await openBlank(context, from, module);
  return page.evaluate(
    async ({ module, url, holdsMs }) => {
      const { diagnose, reportText } = (await import(module)) as typeof import("../../src/diagnose.js");
      const report = await diagnose(url, { holdsMs });
      return { profiles: report.profiles, works: report.works, text: reportText(report) };
    },
    { module, url, holdsMs: HOLDS },
  );
}
