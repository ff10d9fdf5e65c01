import assert from "node:assert/strict";
import { describe, test } from "node:test";
// The name that generated stubs know; tsconfig.adapters.json maps it to ../../src/grpc-web.ts.
import * as grpcWeb from "grpc-web";
import type { ChannelOptions } from "../../src/index.js";
import { pollbridge } from "../gen/grpc-web/echo.js";
import { choices, Stage } from "./support.js";

const { EchoClient, Pair, Request, Script } = pollbridge.test.v1;
type Reply = pollbridge.test.v1.Reply;
type Echo = InstanceType<typeof EchoClient>;
type Options = ConstructorParameters<typeof Script>[0];

const stage = new Stage();
const utf8 = new TextEncoder();

function client(options?: ChannelOptions, more?: grpcWeb.GrpcWebClientBaseOptions): Echo {
  return new EchoClient("", undefined, { ...more, channel: stage.channel(options) });
}

function request(script: Options, payload = new Uint8Array(0)): InstanceType<typeof Request> {
  return new Request({ number: 1, payload, script: new Script(script) });
}

function unary(echo: Echo, message: InstanceType<typeof Request>, metadata: grpcWeb.Metadata | null = null): Promise<Reply> {
  return new Promise((resolve, reject) => echo.Unary(message, metadata, (err, reply) => (err ? reject(err) : resolve(reply))));
}

/** Everything that a stream tells, in order. */
function events(stream: grpcWeb.ClientReadableStream<Reply>): Promise<unknown[][]> {
  const log: unknown[][] = [];
  return new Promise((resolve) => {
    stream.on("metadata", (metadata) => log.push(["metadata", metadata["h"]]));
    stream.on("data", (reply) => log.push(["data", reply.number]));
    stream.on("error", (error) => log.push(["error", error.code, error.message]));
    stream.on("status", (status) => {
      log.push(["status", status.code, status.metadata?.["t-bin"]]);
      if (status.code !== 0) resolve(log);
    });
    stream.on("end", () => resolve([...log, ["end"]]));
  });
}

async function failure(run: Promise<unknown>): Promise<grpcWeb.RpcError> {
  const err = await run.then(() => undefined, (err: unknown) => err);
  assert(err instanceof grpcWeb.RpcError, `not an RpcError: ${String(err)}`);
  return err;
}

const timeLimit = { timeout: 60_000 };
const headers = [new Pair({ key: "h", value: utf8.encode("a") }), new Pair({ key: "h", value: utf8.encode("b") })];
const trailers = [new Pair({ key: "t-bin", value: Uint8Array.of(0, 254) })];

for (const [name, transports] of Object.entries(choices)) {
  describe(name, timeLimit, () => {
    test("unary", async () => {
      const reply = await unary(client({ transports }), request({}, Uint8Array.of(1, 2, 3)));
      assert.deepEqual([...reply.payload], [1, 2, 3]);
    });

    test("server streaming", async () => {
      const log = await events(client({ transports }).ServerStream(request({ replies: 300, headers, trailers }), null));
      const data = Array.from({ length: 300 }, (_, i) => ["data", i + 1]);
      assert.deepEqual(log, [["metadata", "a, b"], ...data, ["status", 0, "AP4="], ["end"]]);
    });
  });
}

describe("metadata", timeLimit, () => {
  test("of requests", async () => {
    const sent = { "X-Text": "one", "x-raw-bin": "AP8B", "content-type": "text/html", deadline: String(Date.now() + 60_000) };
    const reply = await unary(client(), request({ reflect: true }), sent);
    const got = reply.metadata.filter((p) => p.key.startsWith("x-")).map((p) => [p.key, [...p.value]]);
    assert.deepEqual(got, [["x-raw-bin", [0, 255, 1]], ["x-text", [...utf8.encode("one")]]]);
    assert(reply.timeout_ms > 50_000 && reply.timeout_ms <= 60_000, `${reply.timeout_ms} ms left`);
  });

  test("of errors", async () => {
    const message = "sorry: 100 % \u{1f600}";
    const failing = request({ replies: 1, headers, trailers, headers_first: true, status: 9, message, details: [new Pair({ key: "k" })] });
    const err = await failure(unary(client(), failing));
    assert.deepEqual([err.code, err.message], [grpcWeb.StatusCode.FAILED_PRECONDITION, message]);
    assert.deepEqual([err.metadata["h"], err.metadata["t-bin"]], ["a, b", "AP4="]);
    assert.match(atob(err.metadata["grpc-status-details-bin"]!), /pollbridge\.test\.v1\.Pair/);
    const log = await events(client().ServerStream(failing, null));
    assert.deepEqual(log, [["metadata", "a, b"], ["data", 1], ["error", 9, message], ["status", 9, "AP4="]]);
  });
});

describe("end of an RPC", timeLimit, () => {
  test("by cancel, after 3 of a million messages: no more events", () =>
    stage.cancels(1, async () => {
      const stream = client().ServerStream(request({ replies: 1_000_000, reply_bytes: 1000 }), null);
      let got = 0;
      await new Promise<void>((resolve) => {
        stream.on("data", () => {
          if (++got < 3) return;
          stream.cancel();
          resolve();
        });
        for (const event of ["error", "status", "end"] as const) stream.on(event as "end", () => assert.fail(event));
      });
      await stage.active(0);
      assert.equal(got, 3);
    }));

  test("by deadline", async () => {
    const echo = client();
    const err = await failure(unary(echo, request({ hang: true }), { deadline: String(Date.now() + 100) }));
    assert.equal(err.code, grpcWeb.StatusCode.DEADLINE_EXCEEDED);
    await unary(echo, request({})); // what was opened before it has reached the bridge, late or not
    await stage.active(0);
  });

  test("by signal, of a promise", () =>
    stage.cancels(1, async () => {
      const controller = new AbortController();
      const base = new grpcWeb.GrpcWebClientBase({ channel: stage.channel() });
      const method = new grpcWeb.MethodDescriptor(
        "/pollbridge.test.v1.Echo/Unary",
        grpcWeb.MethodType.UNARY,
        Request,
        pollbridge.test.v1.Reply,
        (message: InstanceType<typeof Request>) => message.serialize(),
        (bytes: Uint8Array) => pollbridge.test.v1.Reply.deserialize(bytes),
      );
      const reply = await base.unaryCall(method.getName(), request({}), {}, method);
      assert.equal(reply.number, 1);
      const err = failure(base.thenableCall(method.getName(), request({ hang: true }), {}, method, { signal: controller.signal }));
      await stage.active(1);
      controller.abort();
      assert.equal((await err).code, grpcWeb.StatusCode.CANCELLED);
    }));
});

test("stream interceptors wrap RPCs", timeLimit, async () => {
  const log: string[] = [];
  const intercept = (name: string): grpcWeb.StreamInterceptor<unknown, unknown> => ({
    intercept(req, invoker) {
      log.push(`${name} ${req.getMethodDescriptor().getName()}`);
      return invoker(req);
    },
  });
  await unary(client({}, { streamInterceptors: [intercept("inner"), intercept("outer")] }), request({}));
  assert.deepEqual(log, ["outer /pollbridge.test.v1.Echo/Unary", "inner /pollbridge.test.v1.Echo/Unary"]);
});

test("the hostname of a stub is the bridge's URL", timeLimit, async () => {
  const reply = await unary(new EchoClient(stage.url), request({}, Uint8Array.of(7)));
  assert.deepEqual([...reply.payload], [7]);
  grpcWeb.sharedChannel(stage.url).close();
});
