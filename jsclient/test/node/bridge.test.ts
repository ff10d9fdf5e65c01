import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { Channel, type Transport } from "../../src/index.js";
import { SERVICE } from "../echo.js";
import { scenarios, type Stage } from "../scenarios.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";

let bridge: TestBridge;
before(async () => (bridge = await startTestBridge()));
after(() => bridge.stop());

function stage(channel: Channel): Stage {
  return { channel, cut: bridge.cut, outage: bridge.outage, rpcs: async () => (await bridge.stats()).rpcs };
}

const choices: Record<string, Transport[]> = { longpoll: ["longpoll"], ws: ["ws"], both: ["longpoll", "ws"] };

for (const [name, transports] of Object.entries(choices)) {
  describe(name, () => {
    for (const [what, scenario] of Object.entries(scenarios)) {
      test(what, { timeout: 60_000 }, async () => {
        const channel = new Channel(bridge.url, { transports, WebSocket });
        try {
          await scenario(stage(channel));
        } finally {
          channel.close();
        }
      });
    }
  });
}

test("1,000 streams share two exchanges in flight in long-polling", { timeout: 60_000 }, async () => {
  let inFlight = 0;
  let most = 0;
  const counted: typeof fetch = async (input, init) => {
    most = Math.max(most, ++inFlight);
    try {
      const response = await fetch(input, init);
      return new Response(await response.arrayBuffer(), response);
    } finally {
      inFlight--;
    }
  };
  const channel = new Channel(bridge.url, { transports: ["longpoll"], fetch: counted });
  try {
    await scenarios["1,000 streams"]!(stage(channel));
  } finally {
    channel.close();
  }
  assert.equal(most, 2);
});

for (const idempotent of [true, false]) {
  test(`a new channel's first unary RPC costs ${idempotent ? "one request if it is idempotent" : "two requests"}`, { timeout: 60_000 }, async () => {
    let requests = 0;
    const counted: typeof fetch = (input, init) => (requests++, fetch(input, init));
    const channel = new Channel(bridge.url, { transports: ["longpoll"], fetch: counted });
    try {
      await channel.unary(SERVICE + "Unary", new Uint8Array(0), { idempotent });
    } finally {
      channel.close();
    }
    assert.equal(requests, idempotent ? 1 : 2);
  });
}
