// The JavaScript client under the public conformance suite for RPC
// implementations (connectrpc.com/conformance). Standard input tells which RPCs
// to run; they run with the shipped bundle through bridges, and standard output
// tells what the caller saw. ../run.sh runs the suite.

import { parseArgs } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { WebSocket } from "ws";
import { Bridges } from "./bridges.js";
import { newRun, type Run } from "./call.js";
import { openPage } from "./chromium.js";
import { ClientCompatRequestSchema, ClientCompatResponseSchema } from "./gen/connectrpc/conformance/v1/client_compat_pb.js";

/** How many RPCs run at once. */
const PARALLEL = 8;
const PREFIX = 4;

const { values: flags } = parseArgs({
  options: {
    bridge: { type: "string", default: "bridge" }, // the binary
    bundle: { type: "string", default: "client.js" },
    transport: { type: "string", default: "ws" }, // or longpoll
    chromium: { type: "string" }, // the binary; without it, the client runs in Node
  },
});

/** The suite's messages, each preceded by its length in four bytes. */
async function* requests(): AsyncGenerator<Uint8Array, void, undefined> {
  let rest = Buffer.alloc(0);
  for await (const chunk of process.stdin) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    while (rest.length >= PREFIX && rest.length >= PREFIX + rest.readUInt32BE()) {
      const end = PREFIX + rest.readUInt32BE();
      yield rest.subarray(PREFIX, end);
      rest = rest.subarray(end);
    }
  }
}

function write(answer: Uint8Array): void {
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeUInt32BE(answer.length);
  process.stdout.write(Buffer.concat([prefix, answer]));
}

/** Runs a case; that it makes no sense is an answer too. */
async function answer(bridges: Bridges, run: Run, bytes: Uint8Array): Promise<Uint8Array> {
  const request = fromBinary(ClientCompatRequestSchema, bytes);
  try {
    return await run(await bridges.url(request), bytes);
  } catch (err) {
    const { testName } = request;
    return toBinary(ClientCompatResponseSchema, create(ClientCompatResponseSchema, { testName, result: { case: "error", value: { message: String(err) } } }));
  }
}

const bundle = new URL(flags.bundle, `file://${process.cwd()}/`);
const page = flags.chromium ? await openPage(flags.chromium, bundle, flags.transport) : undefined;
const { run, close } = page ?? newRun(await import(bundle.href), { transports: [flags.transport as "ws" | "longpoll"], WebSocket });
const bridges = new Bridges(flags.bridge, page?.origin);
const queue = requests();
const worker = async (): Promise<void> => {
  for (;;) {
    const { value, done } = await queue.next();
    if (done) return;
    write(await answer(bridges, run, value));
  }
};
await Promise.all(Array.from({ length: PARALLEL }, worker));
await close();
await bridges.stop();
