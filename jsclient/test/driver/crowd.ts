// A crowd of clients in Node, for tests that restart bridges: node crowd.js URL CLIENTS.
// It calls until its input ends, and then prints what it saw.

import { WebSocket } from "ws";
import { Channel, type ChannelOptions } from "../../src/index.js";
import { decode, encode, payload, same, SERVICE } from "../echo.js";

/** What a crowd has seen. */
interface Seen {
  /** Calls that ended. */
  calls: number;
  /** How those ended that failed. */
  failed: string[];
  longestMs: number;
}

/** Between the calls of a client, in milliseconds: of one that is busy, and of one that is quiet for longer than a bridge drains. */
const PAUSES = [100, 2_500];

const TRANSPORTS: ChannelOptions[] = [{ transports: ["longpoll"] }, { transports: ["ws"] }, {}];

const seen: Seen = { calls: 0, failed: [], longestMs: 0 };
let leaving = false;
let leave: () => void;
const left = new Promise<void>((resolve) => (leave = resolve));

/** Makes one call after another until the crowd leaves. */
async function play(url: string, options: ChannelOptions, pause: number): Promise<void> {
  const channel = new Channel(url, { ...options, WebSocket });
  for (let number = 1; !leaving; number++) {
    const began = performance.now();
    try {
      const sent = payload(number, 100);
      const { message } = await channel.unary(SERVICE + "Unary", encode({ number, payload: sent }));
      if (!same(decode(message).payload, sent)) throw new Error("another payload came back");
    } catch (err) {
      seen.failed.push(`call ${number} of a client with ${options.transports ?? "both transports"}, every ${pause} ms: ${String(err)}`);
    }
    seen.calls++;
    seen.longestMs = Math.max(seen.longestMs, Math.round(performance.now() - began));
    await Promise.race([left, new Promise((resolve) => setTimeout(resolve, pause))]);
  }
  channel.close();
}

process.stdin.on("end", () => {
  leaving = true;
  leave();
});
process.stdin.resume();
const [url, clients] = process.argv.slice(2) as [string, string];
await Promise.all(Array.from({ length: Number(clients) }, (_, i) => play(url, TRANSPORTS[i % TRANSPORTS.length]!, PAUSES[Math.floor(i / TRANSPORTS.length) % PAUSES.length]!)));
console.log(JSON.stringify(seen));
process.exit(0); // connections that are kept alive would hold it up
