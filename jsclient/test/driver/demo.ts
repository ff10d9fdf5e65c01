// Calls all four kinds of RPC on the demo's page.

import type { Page, Request } from "playwright-core";
import { count, echo, greet, upload } from "../demo-page.js";
import type { Visit } from "./main.js";

/** How an exchange ended. */
interface Poll {
  /** HTTP status; 0: none. */
  status: number;
  millis: number;
}

/** What a visit to the demo has shown. */
interface Demo {
  /** What carried messages at the end, as the page says. */
  carried: string;
  /** Exchanges that lasted, or failed, in the order of their ends. */
  polls: Poll[];
}

/** Runs the RPCs. With stays, a stream is quiet afterwards until a poll was held so long; quiet tells when that begins. */
export async function visitDemo(page: Page, { url, carried, stays, cut }: Visit, quiet: () => void): Promise<Demo> {
  page.setDefaultTimeout(60_000);
  const polls = watch(page, stays || Infinity, cut);
  await page.goto(url);
  await page.locator('#state[data-state="open"]').waitFor();
  await greet(page);
  if (carried === "ws") await page.locator("#state-detail", { hasText: "over WebSocket" }).waitFor();
  await count(page, 40);
  await upload(page);
  await echo(page);
  if (stays) {
    await stay(page, polls, quiet).catch((cause: Error) => {
      throw new Error(`polls: ${JSON.stringify(polls)}`, { cause });
    });
  }
  const detail = (await page.locator("#state-detail").textContent()) ?? "";
  return { carried: { "over WebSocket": "ws", "over long-polling": "longpoll" }[detail] ?? detail, polls };
}

/** Keeps a list of exchanges that lasted for long, in milliseconds, or failed; with cut, from the first that failed. */
function watch(page: Page, long: number, cut: boolean): Poll[] {
  const polls: Poll[] = [];
  const began = new Map<Request, number>();
  page.on("request", (request) => {
    if (request.url().endsWith("/poll")) began.set(request, performance.now());
  });
  const over = (request: Request, status: number): void => {
    const millis = Math.round(performance.now() - (began.get(request) ?? NaN));
    const lasted = millis > long && (polls.length > 0 || !cut);
    if (lasted || (status !== 200 && millis >= 0)) polls.push({ status, millis });
    began.delete(request);
  };
  page.on("response", (response) => over(response.request(), response.status()));
  page.on("requestfailed", (request) => {
    if (request.failure()?.errorText !== "net::ERR_ABORTED") over(request, 0);
  });
  return polls;
}

/** Has the chat open until a poll was held for long, and sees that it still works. */
async function stay(page: Page, polls: Poll[], quiet: () => void): Promise<void> {
  await page.click("#chat .join .run");
  await page.locator("#chat .event", { hasText: "You joined" }).waitFor();
  quiet();
  while (!polls.some(({ status }) => status === 200)) await page.waitForTimeout(100);
  await page.fill("#chat .say input", "still here");
  await page.press("#chat .say input", "Enter");
  await page.locator("#chat .said .text", { hasText: "still here" }).waitFor();
}
