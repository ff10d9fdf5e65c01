import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { Channel, type Transport } from "../../src/index.js";
import { scenarios } from "../scenarios.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";

let bridge: TestBridge;
before(async () => (bridge = await startTestBridge()));
after(() => bridge.stop());

const choices: Record<string, Transport[]> = { longpoll: ["longpoll"], ws: ["ws"], both: ["longpoll", "ws"] };

for (const [name, transports] of Object.entries(choices)) {
  describe(name, () => {
    for (const [what, scenario] of Object.entries(scenarios)) {
      test(what, { timeout: 60_000 }, async () => {
        const channel = new Channel(bridge.url, { transports, WebSocket });
        try {
          await scenario({
            channel,
            cut: () => bridge.cut(),
            outage: (millis) => bridge.outage(millis),
            rpcs: async () => (await bridge.stats()).rpcs,
          });
        } finally {
          channel.close();
        }
      });
    }
  });
}

test("1,000 streams share two connections in long-polling", { timeout: 60_000 }, async () => {
  const channel = new Channel(bridge.url, { transports: ["longpoll"] });
  try {
    await bridge.cut();
    await bridge.reset();
    await scenarios["1,000 streams"]!({ channel, cut: bridge.cut, outage: bridge.outage, rpcs: async () => (await bridge.stats()).rpcs });
    const { connections } = await bridge.stats();
    assert.ok(connections.peak <= 2, `${connections.peak} connections at once`);
  } finally {
    channel.close();
  }
});
