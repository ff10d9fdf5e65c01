import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RpcError, type RpcOptions } from "@protobuf-ts/runtime-rpc";
import type { ChannelOptions } from "../../src/index.js";
import { createBridgeTransport, withCancel } from "../../src/protobuf-ts.js";
import { Request, Script } from "../gen/protobuf-ts/echo.js";
import { EchoClient } from "../gen/protobuf-ts/echo.client.js";
import { choices, collect, Meter, Stage, WINDOW } from "./support.js";

const stage = new Stage();
const utf8 = new TextEncoder();

function client(defaults?: RpcOptions, channel?: ChannelOptions): EchoClient {
  return new EchoClient(createBridgeTransport(stage.channel(channel), defaults));
}

function request(value: { number?: number; payload?: Uint8Array; script?: Partial<Script> }): Request {
  return Request.create({ ...value, script: value.script && Script.create(value.script) });
}

async function failure(run: PromiseLike<unknown>): Promise<RpcError> {
  const err = await Promise.resolve(run).then(() => undefined, (err: unknown) => err);
  assert(err instanceof RpcError, `not an RpcError: ${String(err)}`);
  return err;
}

const timeLimit = { timeout: 60_000 };

for (const [name, transports] of Object.entries(choices)) {
  describe(name, timeLimit, () => {
    test("unary", async () => {
      const { response, status } = await client({}, { transports }).unary(request({ payload: Uint8Array.of(1, 2, 3) }));
      assert.deepEqual([...response.payload], [1, 2, 3]);
      assert.deepEqual(status, { code: "OK", detail: "" });
    });

    test("server streaming", async () => {
      const call = client({}, { transports }).serverStream(request({ script: { replies: 300 } }));
      assert.deepEqual((await collect(call.responses)).map((r) => r.number), Array.from({ length: 300 }, (_, i) => i + 1));
      assert.equal((await call).status.code, "OK");
    });

    test("client streaming", async () => {
      const call = client({}, { transports }).clientStream();
      for (let i = 1; i <= 300; i++) await call.requests.send(request({ number: i, payload: new Uint8Array(500) }));
      await call.requests.complete();
      const { response } = await call;
      assert.deepEqual([response.requests, response.requestBytes], [300, 150_000]);
    });

    test("duplex, each request made of the reply before", async () => {
      const call = client({}, { transports }).bidi();
      await call.requests.send(request({ number: 1, payload: Uint8Array.of(0) }));
      const seen: number[] = [];
      for await (const reply of call.responses) {
        seen.push(reply.payload[0]!);
        if (seen.length === 50) await call.requests.complete();
        else await call.requests.send(request({ number: reply.number + 1, payload: Uint8Array.of(seen.length) }));
      }
      assert.deepEqual(seen, Array.from({ length: 50 }, (_, i) => i));
    });
  });
}

describe("metadata", timeLimit, () => {
  const headers = [{ key: "h", value: utf8.encode("a") }, { key: "h", value: utf8.encode("b") }];
  const trailers = [{ key: "t-bin", value: Uint8Array.of(0, 254) }];
  const script = { reflect: true, headers, trailers, replies: 1 };
  const meta = { "x-text": ["one", "two"], "x-raw-bin": "AP8B", "grpc-timeout": "1n" };

  test("both ways, unary", async () => {
    const call = client({ meta }).unary(request({ script }));
    const got = (await call.response).metadata.filter((p) => p.key.startsWith("x-")).map((p) => [p.key, [...p.value]]);
    assert.deepEqual(got, [["x-raw-bin", [0, 255, 1]], ["x-text", [...utf8.encode("one")]], ["x-text", [...utf8.encode("two")]]]);
    assert.deepEqual((await call.headers)["h"], ["a", "b"]);
    assert.equal((await call.trailers)["t-bin"], "AP4=");
  });

  test("both ways, server streaming", async () => {
    const call = client().serverStream(request({ script }), { meta });
    const [reply] = await collect(call.responses);
    assert.equal(reply!.metadata.filter((p) => p.key.startsWith("x-")).length, 3);
    assert.deepEqual((await call.headers)["h"], ["a", "b"]);
    assert.equal((await call.trailers)["t-bin"], "AP4=");
  });

  test("of errors", async () => {
    const details = [{ key: "k", value: Uint8Array.of(7) }];
    const failing = request({ script: { headers, trailers, headersFirst: true, status: 9, message: "sorry: 100 % \u{1f600}", details } });
    const calls = [client().unary(failing), client().serverStream(failing)];
    for (const call of calls) {
      const err = await failure(call);
      assert.deepEqual([err.code, err.message], ["FAILED_PRECONDITION", "sorry: 100 % \u{1f600}"]);
      assert.deepEqual([err.serviceName, err.methodName], ["pollbridge.test.v1.Echo", call.method.name]);
      assert.deepEqual([err.meta["h"], err.meta["t-bin"]], [["a", "b"], "AP4="]);
      assert.match(atob(err.meta["grpc-status-details-bin"] as string), /pollbridge\.test\.v1\.Pair/);
      assert.deepEqual((await call.headers)["h"], ["a", "b"]);
      assert.equal((await failure(call.trailers)).code, "FAILED_PRECONDITION");
    }
    assert.equal((await failure(collect(client().serverStream(failing).responses))).code, "FAILED_PRECONDITION");
  });

  test("that gRPC forbids", async () => {
    const err = await failure(client({ meta: { x: "\u00e9" } }).unary(request({})));
    assert.equal(err.code, "INTERNAL");
    assert.match(err.message, /metadata x:/);
  });
});

describe("end of an RPC", timeLimit, () => {
  const hang = request({ script: { hang: true } });

  test("by signal", () =>
    stage.cancels(2, async () => {
      const controller = new AbortController();
      const echo = client({ abort: controller.signal });
      const calls = [echo.unary(hang), echo.serverStream(hang)];
      await stage.active(2);
      controller.abort();
      for (const call of calls) assert.equal((await failure(call)).code, "CANCELLED");
    }));

  test("by deadline", async () => {
    const channel = stage.channel();
    const limited = (timeout: number | Date): EchoClient => new EchoClient(createBridgeTransport(channel, { timeout }));
    assert.equal((await failure(limited(100).unary(hang))).code, "DEADLINE_EXCEEDED");
    assert.equal((await failure(limited(new Date(Date.now() + 100)).serverStream(hang))).code, "DEADLINE_EXCEEDED");
    // What was opened before this has reached the bridge, late or not.
    await new EchoClient(createBridgeTransport(channel)).unary(request({}));
    await stage.active(0);
  });

  test("before the requests do", async () => {
    const call = client().clientStream();
    await call.requests.send(request({ number: 1, script: { status: 9, stopAfter: 1 } }));
    assert.equal((await failure(call.response)).code, "FAILED_PRECONDITION");
    assert.equal((await failure(call.requests.send(request({ number: 2 })))).code, "FAILED_PRECONDITION");
  });
});

describe("callbacks", timeLimit, () => {
  test("get all messages", async () => {
    const call = client().serverStream(request({ script: { replies: 3 } }));
    const log: unknown[] = [];
    const removed = call.responses.onMessage(() => log.push("removed"));
    removed();
    call.responses.onMessage((reply) => log.push(reply.number));
    await new Promise<void>((resolve) => call.responses.onComplete(resolve));
    assert.deepEqual(log, [1, 2, 3]);
  });

  test("get the error", async () => {
    const call = client().serverStream(request({ script: { replies: 1, status: 14 } }));
    let replies = 0;
    call.responses.onMessage(() => replies++);
    const err = await new Promise<Error>((resolve) => call.responses.onError(resolve));
    assert.deepEqual([(err as RpcError).code, replies], ["UNAVAILABLE", 1]);
  });

  test("watch what an iterator reads", async () => {
    const call = client().serverStream(request({ script: { replies: 100 } }));
    let watched = 0;
    call.responses.onMessage(() => watched++);
    assert.equal((await collect(call.responses)).length, 100);
    assert.equal(watched, 100);
  });
});

describe("a stream of a million messages, left after 3", timeLimit, () => {
  const million = request({ script: { replies: 1_000_000, replyBytes: 1000 } });

  test("is cancelled", () =>
    stage.cancels(2, async () => {
      const echo = client();
      let got = 0;
      for await (const _ of echo.serverStream(million).responses) if (++got === 3) break;
      for await (const _ of withCancel((abort) => echo.serverStream(million, { abort }).responses)) if (++got === 6) break;
      assert.equal(got, 6);
    }));

  test("brings at most a window more when it is just not read on", async () => {
    const meter = new Meter();
    const channel = stage.channel({ transports: ["longpoll"], fetch: meter.fetch });
    const echo = new EchoClient(createBridgeTransport(channel));
    const replies = echo.serverStream(million).responses[Symbol.asyncIterator]();
    for (let i = 0; i < 3; i++) await replies.next();
    for (let i = 0; i < 200; i++) await echo.unary(request({}));
    assert(meter.bytes < WINDOW, `${meter.bytes} bytes`);
    channel.close();
    await stage.active(0);
  });
});
