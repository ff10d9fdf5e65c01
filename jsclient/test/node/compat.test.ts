// The JavaScript client of 0.1.0, kept as it was released, with this bridge;
// and this client with the bridge of 0.1.0, whose source OLD_BRIDGE names.

import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { WebSocket } from "ws";
import { Channel, type Transport } from "../../src/index.js";
import { scenarios, type Stage } from "../scenarios.js";
import { startTestBridge, type TestBridge } from "../testbridge.js";

const OLD_CLIENT = pathToFileURL("test/compat/0.1.0/client.js").href;

/** What came after 0.1.0. */
const NEWER = ["metadata over the limit", "wrong arguments"];

/** What every run proves; the long runs (LONG=1) take all that 0.1.0 had. */
const MAIN_ROAD = ["four kinds", "metadata and status", "connections cut", "outage", "cancel, abort, deadline"];

const chosen = Object.entries(scenarios).filter(([what]) => (process.env.LONG ? !NEWER.includes(what) : MAIN_ROAD.includes(what)));

const choices: Record<string, Transport[]> = { longpoll: ["longpoll"], ws: ["ws"], both: ["longpoll", "ws"] };

function pair(name: string, source: string | undefined, client: () => Promise<typeof Channel>): void {
  describe(name, () => {
    let bridge: TestBridge;
    let Client: typeof Channel;
    before(async () => {
      bridge = await startTestBridge(source);
      Client = await client();
    });
    after(() => bridge.stop());

    for (const [choice, transports] of Object.entries(choices)) {
      for (const [what, scenario] of chosen) {
        test(`${choice}: ${what}`, { timeout: 60_000 }, async () => {
          const channel = new Client(bridge.url, { transports, WebSocket });
          const stage: Stage = { channel, cut: bridge.cut, outage: bridge.outage, rpcs: async () => (await bridge.stats()).rpcs };
          try {
            await scenario(stage);
          } finally {
            channel.close();
          }
        });
      }
    }
  });
}

pair("the client of 0.1.0 with this bridge", undefined, async () => ((await import(OLD_CLIENT)) as { Channel: typeof Channel }).Channel);
if (process.env.OLD_BRIDGE) pair("this client with the bridge of 0.1.0", process.env.OLD_BRIDGE, async () => Channel);
