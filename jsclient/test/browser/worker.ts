// A worker of any kind that makes an RPC over each transport and sends its page the answers.

import { Channel, type Transport } from "../../src/index.js";

async function run(): Promise<Record<string, number[]>> {
  const said: Record<string, number[]> = {};
  for (const transport of ["longpoll", "ws"] satisfies Transport[]) {
    const channel = new Channel("/", { transports: [transport] });
    const { message } = await channel.unary("pollbridge.test.v1.Echo/Unary", Uint8Array.of(8, 1));
    said[transport] = Array.from(message);
    channel.close();
  }
  return said;
}

const scope = globalThis as unknown as { postMessage?(data: unknown): void; onconnect?: typeof answer; onmessage?: typeof answer };
const answer = (e: MessageEvent): void => void run().then((said) => e.ports[0]!.postMessage(said));
if (scope.postMessage) void run().then((said) => scope.postMessage!(said));
else scope.onconnect = scope.onmessage = answer; // of a SharedWorker, of a service worker
