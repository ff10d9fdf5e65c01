/** nice-grpc-web over a bridge: `createChannel("", createBridgeTransport(channel))`. */

import { type createChannel, Metadata } from "nice-grpc-web";
import { type Status, StatusError } from "./client.js";
import { type ChannelLike, checkChannel } from "./like.js";
import type { Metadata as Pairs } from "./metadata.js";
import { pump } from "./pump.js";
import { isReserved } from "./text.js";

/** nice-grpc-web does not export the type by its name. */
type Transport = NonNullable<Parameters<typeof createChannel>[1]>;

/**
 * Returns a nice-grpc-web transport for all four kinds of RPC. The address given to
 * nice-grpc-web's createChannel does not matter. Leaving a `for await` early
 * cancels the RPC. Methods declared NO_SIDE_EFFECTS or IDEMPOTENT need not wait
 * until the session is open. Details of a status are in the trailer, as
 * `grpc-status-details-bin`.
 */
export function createBridgeTransport(channel: ChannelLike): Transport {
  checkChannel(channel);
  return async function* ({ metadata, body, signal, method }) {
    const call = channel.open(method.path, {
      metadata: fromNice(metadata),
      signal,
      idempotent: method.options.idempotencyLevel !== undefined && !method.requestStream,
      singleRequest: !method.requestStream,
      singleResponse: !method.responseStream,
    });
    try {
      pump(call, unframe(body));
      yield { type: "header", header: toNice(await call.headers) };
      for await (const message of call.messages) yield { type: "data", data: frame(message) };
    } catch (err) {
      if (!(err instanceof StatusError)) throw err;
      if (err.status.reason === "cancelled") signal.throwIfAborted();
    } finally {
      call.cancel();
    }
    yield { type: "trailer", trailer: trailerOf(await call.status) };
  };
}

/** Bytes before each message on gRPC's wire: a flag and the length. */
const PREFIX = 5;

async function* unframe(frames: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const one of frames) yield one.subarray(PREFIX);
}

function frame(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(PREFIX + message.length);
  new DataView(framed.buffer).setUint32(1, message.length);
  framed.set(message, PREFIX);
  return framed;
}

/** What nice-grpc-web adds for its own transports. */
const marker = "x-grpc-web";

function fromNice(metadata: Metadata): Pairs {
  const wanted = [...metadata].filter(([key]) => key !== marker && !isReserved(key));
  return wanted.flatMap(([key, values]) => values.map((value) => [key, value] as const));
}

function toNice(pairs: Pairs): Metadata {
  const metadata = Metadata();
  for (const [key, value] of pairs) metadata.append<string>(key, value);
  return metadata;
}

function trailerOf({ code, message, trailers }: Status): Metadata {
  return toNice(trailers).set("grpc-status", String(code)).set("grpc-message", encodeURIComponent(message));
}
