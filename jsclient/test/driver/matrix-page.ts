// What a page of the matrix runs: every kind of RPC at once, then two that are
// quiet for a while, because networks do their worst to what is quiet.

import { type Call, Channel, type Metadata } from "../../src/index.js";
import { decode, encode, type Pair, payload, same, type Script, SERVICE } from "../echo.js";

/** What a caller sees of one RPC. */
export interface Transcript {
  kind: string;
  code: number;
  message: string;
  /** Headers, messages in order, trailers. */
  seen: string[];
}

/** One RPC: requests of so many bytes with a pause, in milliseconds, between them. */
interface Rpc {
  method: string;
  requests: number;
  size: number;
  pause: number;
  script: Script;
}

const text = new TextEncoder();
const pairs: Pair[] = [
  { key: "color", value: text.encode("red") },
  { key: "color", value: text.encode("blue, green") },
  { key: "raw-bin", value: Uint8Array.of(0, 1, 254, 255) },
];

/** The RPCs, one wave after the other; step is the time between two messages, in milliseconds. */
function waves(step: number): Rpc[][] {
  const script = { headers: pairs, trailers: pairs };
  return [
    [
      { method: "Unary", requests: 1, size: 2_000, pause: 0, script },
      { method: "ServerStream", requests: 1, size: 5_000, pause: 0, script: { ...script, replies: 10, delayMs: step, headersFirst: true } },
      { method: "ClientStream", requests: 6, size: 40_000, pause: step, script },
      { method: "Bidi", requests: 10, size: 3_000, pause: step, script },
    ],
    [
      { method: "Unary", requests: 1, size: 100, pause: 0, script: { ...script, delayMs: 16 * step } },
      { method: "Bidi", requests: 2, size: 3_000, pause: 16 * step, script },
    ],
  ];
}

/** What is to be played where. */
export interface Play {
  /** The bridge's. */
  url: string;
  step: number;
  /** How many of the waves. */
  waves: number;
  /** What is to carry messages at the end; empty: whatever it is. */
  carried: string;
}

/** Plays the waves, and tells what carries messages at the end: a slow machine may take a moment longer to find out. */
export async function play({ url, step, waves: first, carried }: Play): Promise<{ carried: string; transcripts: Transcript[] }> {
  const channel = new Channel(url);
  const transcripts: Transcript[] = [];
  for (const wave of waves(step).slice(0, first)) transcripts.push(...(await Promise.all(wave.map((rpc) => run(channel, rpc)))));
  const limit = AbortSignal.timeout(90_000);
  while (carried && channel.transport !== carried && !limit.aborted) await new Promise((resolve) => setTimeout(resolve, 50));
  const result = { carried: channel.transport ?? "", transcripts };
  channel.close();
  return result;
}

async function run(channel: Channel, rpc: Rpc): Promise<Transcript> {
  const call = channel.open(SERVICE + rpc.method);
  const sending = send(call, rpc);
  const seen: string[] = [];
  try {
    for await (const raw of call.messages) {
      const { number, payload: got, requests, requestBytes } = decode(raw);
      const of = rpc.method === "ClientStream" ? rpc.requests : rpc.method === "ServerStream" ? 1 : number;
      seen.push(`${number}: ${got.length} bytes ${same(got, payload(of, rpc.size)) ? "as sent" : "spoilt"} after ${requests} of ${requestBytes}`);
    }
  } catch {
    // The status says why.
  }
  await sending;
  const { code, message, trailers } = await call.status;
  return { kind: rpc.method, code, message, seen: [...show(await call.headers), ...seen, ...show(trailers)] };
}

async function send(call: Call, { requests, size, pause, script }: Rpc): Promise<void> {
  try {
    for (let number = 1; number <= requests; number++) {
      if (number > 1) await new Promise((resolve) => setTimeout(resolve, pause));
      await call.send(encode({ number, payload: payload(number, size), ...(number === 1 && { script }) }));
    }
  } catch {
    return; // the status says why
  }
  call.closeSend();
}

/** Metadata as text: keys have no order among each other. */
function show(metadata: Metadata): string[] {
  return metadata.map(([key, value]) => `${key}: ${value}`).sort((a, b) => a.localeCompare(b));
}
