// What the page does that is measured: the same Connect stub on every way.
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { createBridgeTransport } from "./src/connect.js";
import { Channel } from "./src/index.js";
import { Echo } from "./bench_pb.js";

/** Transports by the name of what speaks: each takes a URL and gives a transport, and what closes it. */
const kinds = {
  connect: (baseUrl) => ({ transport: createConnectTransport({ baseUrl, useBinaryFormat: true }) }),
  grpcweb: (baseUrl) => ({ transport: createGrpcWebTransport({ baseUrl, useBinaryFormat: true }) }),
  longpoll: (url) => bridge(url, ["longpoll"]),
  ws: (url) => bridge(url, ["ws"]),
  automatic: (url) => bridge(url, undefined),
};

function bridge(url, transports) {
  const channel = new Channel(url, { transports });
  return { transport: createBridgeTransport(channel), close: () => channel.close() };
}

const opened = {};

globalThis.bench = {
  /**
   * Receives a stream for so many milliseconds, on a transport that is kept;
   * what comes in the first ones is not counted. It looks at the clock itself: a
   * stream that keeps the main thread busy lets nobody else in.
   */
  async stream(kind, url, bytes, millis, warmup = 0) {
    const { transport } = (opened[kind + url] ??= kinds[kind](url));
    const controller = new AbortController();
    const begun = performance.now();
    let start = warmup > 0 ? undefined : begun;
    let received = 0;
    try {
      for await (const { value } of createClient(Echo, transport).stream({ value: new Uint8Array(bytes) }, { signal: controller.signal })) {
        if (value.length !== bytes) throw new Error(`a message of ${value.length} bytes`);
        received++;
        if (bytes < 1000 && received % 64 > 0) continue; // the clock costs something too
        const now = performance.now();
        if (now - start > millis) controller.abort();
        else if (start === undefined && now - begun >= warmup) [start, received] = [now, 0];
      }
    } catch (err) {
      if (!controller.signal.aborted) throw err;
    }
    return { messages: received, seconds: (performance.now() - start) / 1e3 };
  },
  /** Reads a body without end, as stream does. */
  async fetch(url, bytes, millis, warmup) {
    const reader = (await fetch(new URL("/flood", url))).body.getReader();
    const begun = performance.now();
    let start;
    let received = 0;
    for (;;) {
      const { value } = await reader.read();
      const now = performance.now();
      if (start !== undefined) received += value.length;
      else if (now - begun >= warmup) start = now;
      if (now - start > millis) {
        await reader.cancel();
        return { messages: received / bytes, seconds: (now - start) / 1e3 };
      }
    }
  },
  /** How long a unary call takes on a transport that is new, in milliseconds. */
  async first(kind, method, url, bytes) {
    const request = { value: new Uint8Array(bytes) };
    const start = performance.now();
    const { transport, close } = kinds[kind](url);
    const reply = await createClient(Echo, transport)[method](request);
    const took = performance.now() - start;
    close?.();
    if (reply.value.length !== bytes) throw new Error(`an answer of ${reply.value.length} bytes`);
    return took;
  },
  /** How long a POST takes without anything, in milliseconds. */
  async post(url, bytes) {
    const body = new Uint8Array(bytes);
    const start = performance.now();
    const reply = await (await fetch(url, { method: "POST", body })).arrayBuffer();
    const took = performance.now() - start;
    if (reply.byteLength !== bytes) throw new Error(`an answer of ${reply.byteLength} bytes`);
    return took;
  },
};
