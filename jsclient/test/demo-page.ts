// The demo's page as a person uses it: one function for each kind of RPC.

import { deepEqual, equal } from "node:assert/strict";
import type { Page } from "playwright-core";

/** The texts of the messages that a card has received. */
export const messages = (page: Page, id: string): Promise<string[]> => page.locator(`#${id} .received .text`).allTextContents();

/** ended waits for the end of a card's RPC and returns its code. */
export async function ended(page: Page, id: string): Promise<string | null> {
  await page.locator(`#${id}:not([data-running]) .outcome strong`).waitFor();
  return await page.locator(`#${id} .outcome strong`).textContent();
}

/** Unary. */
export async function greet(page: Page): Promise<void> {
  await page.click("#greet .run");
  equal(await ended(page, "greet"), "OK");
  deepEqual(await messages(page, "greet"), ['greeting: "Hello, Ada!"']);
}

/** Client-streaming: 1 MiB, with the server's checksum. */
export async function upload(page: Page): Promise<void> {
  await page.selectOption("#upload select", "1048576");
  await page.click("#upload .run");
  equal(await ended(page, "upload"), "OK");
  equal((await messages(page, "upload"))[0], "bytes: 1,048,576, messages: 32");
  equal(await page.locator("#upload .note .text").last().textContent(), "SHA-256 is that of the bytes sent");
}

/** Bidirectional: each message after the one before is back, and after what cut does meanwhile, then the half-close. */
export async function echo(page: Page, cut?: () => Promise<void>): Promise<void> {
  for (const [i, text] of ["one", "two", "three"].entries()) {
    await page.fill("#echo input", text);
    await page.click("#echo .send");
    await page.locator("#echo .received").nth(i).waitFor();
    await cut?.();
  }
  await page.click("#echo .end");
  equal(await ended(page, "echo"), "OK");
  const echoes = (await messages(page, "echo")).map((row) => row.replace(/ \(.*\)$/, ""));
  deepEqual(echoes, ['number: 1, text: "one"', 'number: 2, text: "two"', 'number: 3, text: "three"']);
}

/** Server-streaming: numbers up to so many; at each of those that cuts names, what cut does. */
export async function count(page: Page, to: number, cuts: number[] = [], cut?: () => Promise<void>): Promise<void> {
  await page.fill("#count [name=to]", String(to));
  await page.fill("#count [name=interval]", "20");
  await page.click("#count .run");
  for (const seen of cuts) {
    await page.locator("#count .received").nth(seen).waitFor();
    await cut?.();
  }
  equal(await ended(page, "count"), "OK");
  deepEqual(
    await messages(page, "count"),
    Array.from({ length: to }, (_, i) => `number: ${i + 1}`),
  );
}
