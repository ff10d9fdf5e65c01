import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { Channel, Code, type Transport } from "../../src/index.js";
import { encode, SERVICE } from "../echo.js";
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

for (const [name, transports] of Object.entries(choices)) {
  for (const asked of [true, false]) {
    test(`${name}: an idempotent RPC ${asked ? "is" : "is not"} sent again after a restart of the bridge`, { timeout: 60_000 }, async () => {
      const channel = new Channel(bridge.url, { transports, WebSocket, resendIdempotent: asked });
      const begun = async (): Promise<number> => (await bridge.stats()).rpcs.Started;
      const until = async (count: number): Promise<void> => {
        while ((await begun()) < count) await new Promise((resolve) => setTimeout(resolve, 10));
      };
      try {
        await channel.unary(SERVICE + "Unary", encode({ number: 1 }));
        const before = await begun();
        const call = channel.open(SERVICE + "Unary", { idempotent: true, singleRequest: true, singleResponse: true });
        void call.send(encode({ number: 1, script: { hang: true } }));
        call.closeSend();
        await until(before + 1);
        await bridge.restart();
        if (asked) await until(before + 2);
        else assert.equal((await call.status).code, Code.Unavailable);
        await channel.unary(SERVICE + "Unary", encode({ number: 1 }));
        assert.equal(await begun(), before + (asked ? 3 : 2));
      } finally {
        channel.close();
      }
    });
  }
}

test("1,000 streams share two exchanges in flight in long-polling", { timeout: 60_000 }, async () => {
  let inFlight = 0;
  let most = 0;
  const counted: typeof fetch = async (input, init) => {
    let open = true;
    const done = (): void => {
      if (open) inFlight--;
      open = false;
    };
    // A poll that makes room (L5) is given up at once, and the next exchange leaves in the same turn of the event loop;
    // fetch says so one turn later.
    init!.signal?.addEventListener("abort", done);
    most = Math.max(most, ++inFlight);
    try {
      const response = await fetch(input, init);
      return new Response(await response.arrayBuffer(), response);
    } finally {
      done();
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
