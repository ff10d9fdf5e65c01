// Generated clients of each kind in a page: each makes its kinds of RPC once.

import { createClient as createConnectClient } from "@connectrpc/connect";
import { createChannel, createClient as createNiceClient } from "nice-grpc-web";
import { createBridgeTransport as connect } from "../../src/connect.js";
import { Channel } from "../../src/index.js";
import { createBridgeTransport as niceGrpcWeb } from "../../src/nice-grpc-web.js";
import { createBridgeTransport as protobufTs } from "../../src/protobuf-ts.js";
import { Echo } from "../gen/connect/echo_pb.js";
import { pollbridge } from "../gen/grpc-web/echo.js";
import { EchoDefinition, type EchoClient as NiceClient } from "../gen/nice-grpc/echo.js";
import { EchoClient } from "../gen/protobuf-ts/echo.client.js";
import { Request, Script } from "../gen/protobuf-ts/echo.js";

const N = 20;

/** How many messages came back: to a unary RPC, a server stream, a client stream (as the server counted them) and a bidirectional one. */
type Counts = number[];

async function count(messages: AsyncIterable<unknown>): Promise<number> {
  let n = 0;
  for await (const _ of messages) n++;
  return n;
}

async function* numbers<T>(make: (number: number) => T): AsyncGenerator<T, void, undefined> {
  for (let number = 1; number <= N; number++) yield make(number);
}

const script = { replies: N };

/** What each adapter's client does. */
export const adapters: Record<string, (channel: Channel) => Promise<Counts>> = {
  async connect(channel) {
    const client = createConnectClient(Echo, connect(channel));
    const request = (number: number): { number: bigint } => ({ number: BigInt(number) });
    return [
      Number((await client.unary(request(1))).number),
      await count(client.serverStream({ script })),
      Number((await client.clientStream(numbers(request))).requests),
      await count(client.bidi(numbers(request))),
    ];
  },

  async "protobuf-ts"(channel) {
    const client = new EchoClient(protobufTs(channel));
    const uploaded = client.clientStream();
    const chat = client.bidi();
    for await (const request of numbers((number) => Request.create({ number }))) {
      await uploaded.requests.send(request);
      await chat.requests.send(request);
    }
    await uploaded.requests.complete();
    await chat.requests.complete();
    return [
      (await client.unary(Request.create({ number: 1 }))).response.number,
      await count(client.serverStream(Request.create({ script: Script.create(script) })).responses),
      (await uploaded).response.requests,
      await count(chat.responses),
    ];
  },

  async "nice-grpc-web"(channel) {
    const client: NiceClient = createNiceClient(EchoDefinition, createChannel("", niceGrpcWeb(channel)));
    const request = (number: number): { number: number } => ({ number });
    return [
      (await client.unary(request(1))).number,
      await count(client.serverStream({ script })),
      (await client.clientStream(numbers(request))).requests,
      await count(client.bidi(numbers(request))),
    ];
  },

  async "grpc-web"(channel) {
    const { EchoClient, Request, Script } = pollbridge.test.v1;
    const client = new EchoClient("", undefined, { channel });
    const unary = new Promise<number>((resolve, reject) =>
      client.Unary(new Request({ number: 1 }), null, (err, reply) => (err ? reject(err) : resolve(reply.number))));
    const streamed = new Promise<number>((resolve, reject) => {
      let n = 0;
      const stream = client.ServerStream(new Request({ script: new Script(script) }), {});
      stream.on("data", () => n++);
      stream.on("error", reject);
      stream.on("end", () => resolve(n));
    });
    return [await unary, await streamed];
  },
};

/** Runs one adapter's client over one transport. */
export async function run(adapter: string, transport: "ws" | "longpoll"): Promise<Counts> {
  const channel = new Channel("/", { transports: [transport] });
  try {
    return await adapters[adapter]!(channel);
  } finally {
    channel.close();
  }
}
