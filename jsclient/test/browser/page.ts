// What a browser test's page runs: the scenarios, by name.

import { Channel, type Transport } from "../../src/index.js";
import { scenarios, type Stage } from "../scenarios.js";

/** What the test gives to the page. */
interface Backstage {
  backstageCut(): Promise<void>;
  backstageOutage(millis: number): Promise<void>;
  backstageRpcs(): ReturnType<Stage["rpcs"]>;
}

/** Runs one scenario and tells which transport carried it at the end. */
export async function run(name: string, transports: Transport[]): Promise<string> {
  const backstage = globalThis as unknown as Backstage;
  const channel = new Channel("/", { transports });
  try {
    await scenarios[name]!({
      channel,
      cut: () => backstage.backstageCut(),
      outage: (millis) => backstage.backstageOutage(millis),
      rpcs: () => backstage.backstageRpcs(),
    });
    return String(channel.transport);
  } finally {
    channel.close();
  }
}
