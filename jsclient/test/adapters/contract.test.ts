// What Connect-ES documents, over a bridge and over connect-web's own transport side by side, by clients of Connect 2.3 and 2.2.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Code, ConnectError, createClient, createContextKey, createContextValues, type Interceptor, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { createClient as createClient22 } from "connect22";
import { createBridgeTransport } from "../../src/connect.js";
import { Echo } from "../gen/connect/echo_pb.js";
import { collect, Stage } from "./support.js";

const stage = new Stage();
type Options = { interceptors?: Interceptor[]; defaultTimeoutMs?: number };

const transports: Record<string, (options?: Options) => Transport> = {
  bridge: (options) => createBridgeTransport(stage.channel(), options),
  "connect-web": (options) => createConnectTransport({ baseUrl: stage.url, ...options }),
};
const clients: Record<string, typeof createClient> = { "2.3": createClient, "2.2": createClient22 as unknown as typeof createClient };
const many = { script: { replies: 1_000_000, replyBytes: 1_000 } };

for (const [name, transport] of Object.entries(transports)) {
  for (const [version, create] of Object.entries(clients)) {
    describe(`${name}, Connect ${version}`, { timeout: 60_000 }, () => {
      test("an interceptor sees an absolute URL, what the caller set, and the answer", async () => {
        const key = createContextKey("none");
        const seen: unknown[] = [];
        const spy: Interceptor = (next) => async (req) => {
          seen.push(new URL(req.url).origin === stage.url, new URL(req.url).pathname.endsWith("/pollbridge.test.v1.Echo/Unary"));
          seen.push(req.service.typeName, req.method.name, req.stream, req.contextValues.get(key), req.header.get("x-set"), req.requestMethod);
          const res = await next(req);
          seen.push(res.stream, res.header.get("h"), res.trailer.get("t"));
          return res;
        };
        const bytes = new TextEncoder().encode("v");
        const script = { headers: [{ key: "h", value: bytes }], trailers: [{ key: "t", value: bytes }] };
        const contextValues = createContextValues().set(key, "given");
        await create(Echo, transport({ interceptors: [spy] })).unary({ script }, { contextValues, headers: { "x-set": "1" } });
        assert.deepEqual(seen, [true, true, Echo.typeName, "Unary", false, "given", "1", "POST", false, "v", "v"]);
      });

      test("onHeader and onTrailer are called once each, headers before the first message", async () => {
        const order: string[] = [];
        const options = { onHeader: () => void order.push("header"), onTrailer: () => void order.push("trailer") };
        for await (const reply of create(Echo, transport()).serverStream({ script: { replies: 2 } }, options)) order.push(String(reply.number));
        assert.deepEqual(order, ["header", "1", "2", "trailer"]);
      });

      test("a signal ends a stream with Canceled and its reason's text", async () => {
        const controller = new AbortController();
        const run = async (): Promise<void> => {
          for await (const _ of create(Echo, transport()).serverStream(many, { signal: controller.signal })) controller.abort(new Error("enough"));
        };
        await assert.rejects(run(), (err) => ConnectError.from(err).code === Code.Canceled);
      });

      test("a deadline ends with DeadlineExceeded, in words without a fraction", async () => {
        const error = await create(Echo, transport()).unary({ script: { hang: true } }, { timeoutMs: 300 }).catch((err: unknown) => ConnectError.from(err));
        assert.ok(error instanceof ConnectError && error.code === Code.DeadlineExceeded, String(error));
        assert.doesNotMatch(error.message, /\d\.\d/);
      });

      test("the default timeout holds for RPCs that state none", async () => {
        const error = await create(Echo, transport({ defaultTimeoutMs: 200 })).unary({ script: { hang: true } }).catch((err: unknown) => ConnectError.from(err));
        assert.ok(error instanceof ConnectError && error.code === Code.DeadlineExceeded, String(error));
      });

      test("an error has code, raw message, and metadata", async () => {
        const trailers = [{ key: "t", value: new TextEncoder().encode("v") }];
        const error = await create(Echo, transport()).unary({ script: { status: 9, message: "sorry", trailers } }).catch((err: unknown) => err);
        assert.ok(error instanceof ConnectError);
        assert.deepEqual([error.code, error.rawMessage, error.metadata.get("t")], [Code.FailedPrecondition, "sorry", "v"]);
      });

      test("a loop over all replies ends with the stream", async () => {
        const replies = await collect(create(Echo, transport()).serverStream({ script: { replies: 3 } }));
        assert.deepEqual(replies.map((r) => Number(r.number)), [1, 2, 3]);
      });
    });
  }
}

test("over a bridge leaving a loop early cancels the RPC, from Connect 2.3 on", { timeout: 60_000 }, async () => {
  await stage.cancels(1, async () => {
    for await (const _ of createClient(Echo, transports["bridge"]!()).serverStream(many)) break;
  });
});
