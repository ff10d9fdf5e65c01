// Where what is loaded later cannot be loaded: client.js without what lies beside it.

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";
import { decode, encode, SERVICE } from "../echo.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";

let bridge: TestBridge;
const folder = mkdtempSync(join(tmpdir(), "pollbridge-"));
before(async () => (bridge = await startTestBridge()));
after(async () => {
  await bridge.stop();
  rmSync(folder, { recursive: true });
});

async function alone(): Promise<typeof import("../../src/index.js")> {
  copyFileSync("bundle/client.js", join(folder, "client.mjs"));
  return (await import(join(folder, "client.mjs"))) as typeof import("../../src/index.js");
}

test("a channel goes on by long-polling", { timeout: 60_000 }, async (t) => {
  const { Channel } = await alone();
  const channel = new Channel(bridge.url, { WebSocket });
  t.after(() => channel.close());
  const call = channel.open(SERVICE + "Bidi");
  for (let number = 1; number <= 5; number++) {
    void call.send(encode({ number, payload: new Uint8Array(20_000 * number) }));
    const { value } = await call.messages.next();
    assert.deepEqual([decode(value!).number, decode(value!).payload.length], [number, 20_000 * number]);
  }
  assert.deepEqual([channel.state, channel.transport], ["open", "longpoll"]);
});

test("a channel that is to have WebSockets only says what it lacks", { timeout: 60_000 }, async (t) => {
  const { Channel } = await alone();
  const channel = new Channel(bridge.url, { WebSocket, transports: ["ws"] });
  t.after(() => channel.close());
  while (!channel.lastError) await new Promise((resolve) => channel.addEventListener("statechange", resolve, { once: true }));
  assert.equal(channel.lastError.message, "later.js could not be loaded");
});
