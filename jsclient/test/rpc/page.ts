// Clients that know nothing of Pollbridge, as they are published, in a page:
// each makes the RPCs that it can make in a browser.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { Echo } from "../gen/connect/echo_pb.js";
import { pollbridge } from "../gen/grpc-web/echo.js";

const { EchoClient, Pair, Request, Script } = pollbridge.test.v1;

/** What came of a unary RPC, of a stream of three, and of one that fails. */
interface Outcome {
  number: number;
  header: string | undefined;
  streamed: number[];
  code: number;
  message: string;
}

const text = new TextEncoder();
const NOT_FOUND = 5;

async function viaConnect(transport: Parameters<typeof createClient>[1]): Promise<Outcome> {
  const client = createClient(Echo, transport);
  let header: string | undefined;
  const reply = await client.unary(
    { number: 7n, script: { headers: [{ key: "h", value: text.encode("1") }] } },
    { headers: { "my-key": "x" }, onHeader: (headers) => (header = headers.get("h") ?? undefined) },
  );
  const streamed: number[] = [];
  for await (const { number } of client.serverStream({ script: { replies: 3 } })) streamed.push(Number(number));
  const err = await client.unary({ script: { status: NOT_FOUND, message: "gone, 100 %" } }).then(() => undefined, (err: unknown) => err);
  const { code, rawMessage: message } = ConnectError.from(err, Code.Unknown);
  return { number: Number(reply.number), header, streamed, code, message };
}

async function viaGrpcWeb(format: "text" | "binary"): Promise<Outcome> {
  const client = new EchoClient(location.origin, undefined, { format } as object);
  let header: string | undefined;
  const number = await new Promise<number>((resolve, reject) => {
    const headers = [new Pair({ key: "h", value: text.encode("1") })];
    const call = client.Unary(new Request({ number: 7, script: new Script({ headers }) }), { "my-key": "x" }, (err: Error | null, reply: { number: number }) =>
      err ? reject(err) : resolve(reply.number));
    call.on("metadata", (metadata: Record<string, string>) => (header = metadata["h"]));
  });
  const streamed = await new Promise<number[]>((resolve, reject) => {
    const numbers: number[] = [];
    const stream = client.ServerStream(new Request({ script: new Script({ replies: 3 }) }), {});
    stream.on("data", (reply: { number: number }) => numbers.push(reply.number));
    stream.on("error", reject);
    stream.on("end", () => resolve(numbers));
  });
  const { code, message } = await new Promise<{ code: number; message: string }>((resolve) =>
    client.Unary(new Request({ script: new Script({ status: NOT_FOUND, message: "gone, 100 %" }) }), {}, resolve));
  return { number, header, streamed, code, message };
}

const clients: Record<string, () => Promise<Outcome>> = {
  "connect-web": () => viaConnect(createConnectTransport({ baseUrl: location.origin })),
  "connect-web in binary": () => viaConnect(createConnectTransport({ baseUrl: location.origin, useBinaryFormat: true })),
  "connect-web's gRPC-Web": () => viaConnect(createGrpcWebTransport({ baseUrl: location.origin })),
  "grpc-web in text": () => viaGrpcWeb("text"),
  "grpc-web in binary": () => viaGrpcWeb("binary"),
};

export const run = (client: string): Promise<Outcome> => clients[client]!();
