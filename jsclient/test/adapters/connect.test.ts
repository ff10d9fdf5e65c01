import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient, createContextKey, createContextValues, type Interceptor } from "@connectrpc/connect";
import { type BridgeTransportOptions, createBridgeTransport, withCancel } from "../../src/connect.js";
import type { ChannelOptions } from "../../src/index.js";
import { StatusError } from "../../src/index.js";
import { Echo, PairSchema } from "../gen/connect/echo_pb.js";
import { choices, collect, Meter, Queue, Stage, WINDOW } from "./support.js";

const stage = new Stage();
const utf8 = new TextEncoder();

function client(options?: BridgeTransportOptions, channel?: ChannelOptions): Client<typeof Echo> {
  return createClient(Echo, createBridgeTransport(stage.channel(channel), options));
}

async function failure(run: Promise<unknown>): Promise<ConnectError> {
  const err = await run.then(() => undefined, (err: unknown) => err);
  assert(err instanceof ConnectError, `not a ConnectError: ${String(err)}`);
  return err;
}

const timeLimit = { timeout: 60_000 };

for (const [name, transports] of Object.entries(choices)) {
  describe(name, timeLimit, () => {
    test("unary", async () => {
      const reply = await client({}, { transports }).unary({ number: 1n, payload: Uint8Array.of(1, 2, 3) });
      assert.deepEqual([...reply.payload], [1, 2, 3]);
    });

    test("server streaming", async () => {
      const replies = await collect(client({}, { transports }).serverStream({ script: { replies: 300 } }));
      assert.deepEqual(replies.map((r) => Number(r.number)), Array.from({ length: 300 }, (_, i) => i + 1));
    });

    test("client streaming", async () => {
      async function* requests() {
        for (let i = 1; i <= 300; i++) yield { number: BigInt(i), payload: new Uint8Array(500) };
      }
      const reply = await client({}, { transports }).clientStream(requests());
      assert.deepEqual([reply.requests, reply.requestBytes], [300n, 150_000n]);
    });

    test("bidi, each request made of the reply before", async () => {
      const requests = new Queue<{ number: bigint; payload: Uint8Array }>();
      requests.push({ number: 1n, payload: Uint8Array.of(0) });
      const seen: number[] = [];
      for await (const reply of client({}, { transports }).bidi(requests)) {
        seen.push(reply.payload[0]!);
        if (seen.length === 50) requests.end();
        else requests.push({ number: reply.number + 1n, payload: Uint8Array.of(seen.length) });
      }
      assert.deepEqual(seen, Array.from({ length: 50 }, (_, i) => i));
    });
  });
}

describe("metadata", timeLimit, () => {
  const headers = [{ key: "h", value: utf8.encode("a") }, { key: "h", value: utf8.encode("b") }];
  const trailers = [{ key: "t-bin", value: Uint8Array.of(0, 254) }];
  const script = { reflect: true, headers, trailers };

  for (const kind of ["unary", "serverStream"] as const) {
    test(`both ways, ${kind}`, async () => {
      let header = new Headers();
      let trailer = new Headers();
      const sent = new Headers([["x-text", "one"], ["x-text", "two"], ["x-raw-bin", "AP8B"], ["x-raw-bin", "Ag"], ["grpc-timeout", "1n"]]);
      const options = { headers: sent, onHeader: (h: Headers) => void (header = h), onTrailer: (t: Headers) => void (trailer = t) };
      const request = { script: { ...script, replies: 1 } };
      const echo = client();
      const [reply] = kind === "unary" ? [await echo.unary(request, options)] : await collect(echo.serverStream(request, options));
      const got = reply!.metadata.filter((p) => p.key.startsWith("x-")).map((p) => [p.key, [...p.value]]);
      assert.deepEqual(got, [["x-raw-bin", [0, 255, 1]], ["x-raw-bin", [2]], ["x-text", [...utf8.encode("one, two")]]]);
      assert.equal(header.get("h"), "a, b");
      assert.equal(trailer.get("t-bin"), "AP4=");
    });

    test(`of errors, ${kind}`, async () => {
      const detail = create(PairSchema, { key: "k", value: Uint8Array.of(7) });
      const request = { script: { ...script, headersFirst: true, status: 9, message: "sorry: 100 % \u{1f600}", details: [detail] } };
      const echo = client();
      const err = await failure(kind === "unary" ? echo.unary(request) : collect(echo.serverStream(request)));
      assert.equal(err.code, Code.FailedPrecondition);
      assert.equal(err.rawMessage, "sorry: 100 % \u{1f600}");
      assert.deepEqual(err.findDetails(PairSchema), [detail]);
      assert.equal(err.metadata.get("h"), "a, b");
      assert.equal(err.metadata.get("t-bin"), "AP4=");
      assert(err.cause instanceof StatusError);
      assert.equal(err.cause.status.origin, "backend");
    });
  }

  test("that gRPC forbids", async () => {
    const err = await failure(client().unary({}, { headers: { x: "\u00e9" } }));
    assert.equal(err.code, Code.Internal);
    assert.match(err.rawMessage, /metadata x:/);
    const bin = await failure(collect(client().serverStream({}, { headers: { "x-bin": "a" } })));
    assert.equal(bin.code, Code.Internal);
    assert.match(bin.rawMessage, /metadata x-bin:/);
  });
});

describe("end of an RPC", timeLimit, () => {
  const hang = { script: { hang: true } };

  for (const kind of ["unary", "serverStream"] as const) {
    const run = (echo: Client<typeof Echo>, options: { signal?: AbortSignal; timeoutMs?: number }): Promise<unknown> =>
      kind === "unary" ? echo.unary(hang, options) : collect(echo.serverStream(hang, options));

    test(`by signal, ${kind}`, () =>
      stage.cancels(1, async () => {
        const controller = new AbortController();
        const err = failure(run(client(), { signal: controller.signal }));
        await stage.active(1);
        controller.abort();
        assert.equal((await err).code, Code.Canceled);
      }));

    test(`by a signal that had aborted, ${kind}`, async () => {
      const err = await failure(run(client(), { signal: AbortSignal.abort(new Error("not wanted")) }));
      assert.deepEqual([err.code, err.rawMessage], [Code.Canceled, "not wanted"]);
    });

    test(`by deadline, ${kind}`, async () => {
      const channel = stage.channel();
      const limited = createClient(Echo, createBridgeTransport(channel, { defaultTimeoutMs: 100 }));
      const echo = createClient(Echo, createBridgeTransport(channel));
      assert.equal((await failure(run(echo, { timeoutMs: 100 }))).code, Code.DeadlineExceeded);
      assert.equal((await failure(run(limited, {}))).code, Code.DeadlineExceeded);
      await echo.unary({}); // what was opened before it has reached the bridge, late or not
      await stage.active(0);
    });
  }

  test("the server is told the deadline", async () => {
    const script = { reflect: true };
    const left = Number((await client({ defaultTimeoutMs: 60_000 }).unary({ script })).timeoutMs);
    assert(left > 50_000 && left <= 60_000, `${left} ms left`);
    assert.equal((await client({ defaultTimeoutMs: 60_000 }).unary({ script }, { timeoutMs: 0 })).timeoutMs, 0n);
  });

  test("by an exception in the requests", () =>
    stage.cancels(1, async () => {
      async function* requests() {
        yield { number: 1n };
        await stage.active(1);
        throw new Error("no more paper");
      }
      const err = await failure(collect(client().bidi(requests())));
      assert.deepEqual([err.code, err.rawMessage], [Code.Unknown, "no more paper"]);
    }));

  test("before the requests do: they are left", async () => {
    let left = false;
    async function* requests() {
      try {
        for (let number = 1n; ; number++) yield { number, payload: new Uint8Array(1000), script: { stopAfter: 3 } };
      } finally {
        left = true;
      }
    }
    assert.equal((await collect(client().bidi(requests()))).length, 3);
    await new Promise((resolve) => setImmediate(resolve));
    assert(left);
  });
});

describe("interceptors", timeLimit, () => {
  test("wrap each RPC, the first outermost", async () => {
    const key = createContextKey("nobody");
    const log: string[] = [];
    const tracing = (name: string): Interceptor => (next) => async (req) => {
      log.push(`${name} > ${req.method.name} ${req.url} ${req.requestMethod} ${req.stream} ${req.contextValues.get(key)}`);
      req.header.append("x-via", name);
      const res = await next(req);
      log.push(`${name} <`);
      return res;
    };
    const echo = client({ interceptors: [tracing("a"), tracing("b")] });
    const reply = await echo.unary({ script: { reflect: true } }, { contextValues: createContextValues().set(key, "me") });
    assert.deepEqual(log, [
      `a > Unary ${stage.url}/bridge/pollbridge.test.v1.Echo/Unary POST false me`,
      `b > Unary ${stage.url}/bridge/pollbridge.test.v1.Echo/Unary POST false me`,
      "b <",
      "a <",
    ]);
    const via = reply.metadata.find((p) => p.key === "x-via");
    assert.equal(new TextDecoder().decode(via?.value), "a, b");
    log.length = 0;
    await collect(echo.serverStream({ script: { replies: 1 } }));
    assert.equal(log[0], `a > ServerStream ${stage.url}/bridge/pollbridge.test.v1.Echo/ServerStream POST true nobody`);
  });

  test("may change messages both ways", async () => {
    const change: Interceptor = (next) => async (req) => {
      if (!req.stream) return next(req);
      async function* twice<T>(messages: AsyncIterable<T>) {
        for await (const message of messages) yield* [message, message];
      }
      const res = await next({ ...req, message: twice(req.message) });
      return res.stream ? { ...res, message: twice(res.message) } : res;
    };
    async function* requests() {
      yield { number: 1n };
    }
    assert.equal((await collect(client({ interceptors: [change] }).bidi(requests()))).length, 4);
  });

  test("see errors as ConnectError, and may try again", async () => {
    const codes: Code[] = [];
    const retry: Interceptor = (next) => async (req) => {
      try {
        return await next(req);
      } catch (err) {
        codes.push(ConnectError.from(err).code);
        req.header.set("x-again", "yes");
        return next(req);
      }
    };
    const err = await failure(client({ interceptors: [retry] }).unary({ script: { status: 14 } }));
    assert.deepEqual([err.code, ...codes], [Code.Unavailable, Code.Unavailable]);
  });

  test("have a signal that aborts at the deadline", async () => {
    const wait: Interceptor = () => (req) => new Promise((_, reject) => req.signal.addEventListener("abort", () => reject(req.signal.reason)));
    assert.equal((await failure(client({ interceptors: [wait] }).unary({}, { timeoutMs: 50 }))).code, Code.DeadlineExceeded);
  });
});

test("a method without side effects travels with the opening of the session", timeLimit, async () => {
  const opening = async (idempotency: number): Promise<string> => {
    const meter = new Meter();
    const channel = stage.channel({ transports: ["longpoll"], lazy: true, fetch: meter.fetch });
    const method = { ...Echo.method.unary, idempotency };
    await createBridgeTransport(channel).unary(method, undefined, undefined, undefined, { number: 1n });
    return meter.requests[0]!;
  };
  assert.match(await opening(1), /pollbridge\.test\.v1\.Echo\/Unary/);
  assert.doesNotMatch(await opening(0), /Unary/);
});

describe("a stream of a million messages, left after 3", timeLimit, () => {
  const request = { script: { replies: 1_000_000, replyBytes: 1000 } };

  test("brings at most a window more", async () => {
    const meter = new Meter();
    const channel = stage.channel({ transports: ["longpoll"], fetch: meter.fetch });
    const echo = createClient(Echo, createBridgeTransport(channel));
    let got = 0;
    for await (const _ of echo.serverStream(request)) if (++got === 3) break;
    for (let i = 0; i < 200; i++) await echo.unary({});
    assert(meter.bytes < WINDOW, `${meter.bytes} bytes`);
    channel.close();
    await stage.active(0);
  });

  test("is cancelled by withCancel", () =>
    stage.cancels(1, async () => {
      const echo = client();
      let got = 0;
      for await (const _ of withCancel((signal) => echo.serverStream(request, { signal }))) if (++got === 3) break;
    }));
});

describe("options of connect-web's transports", () => {
  const make = (options: object) => () => createBridgeTransport(stage.channel({ lazy: true }), options);
  const refused: Record<string, RegExp> = {
    baseUrl: /^TypeError: option baseUrl: the channel has it/,
    fetch: /^TypeError: option fetch: an option of Channel$/,
    jsonOptions: /always binary$/,
    useHttpGet: /^TypeError: option useHttpGet/,
    interceptor: /^TypeError: option interceptor: there is none of this name, but interceptors, /,
  };
  for (const [name, message] of Object.entries(refused)) {
    test(`${name} is refused by name`, () => assert.throws(make({ [name]: "/" }), message));
  }

  test("binaryOptions are heeded", async () => {
    const reply = await client({ binaryOptions: { readUnknownFields: false } }).unary({ number: 1n, payload: Uint8Array.of(1) });
    assert.deepEqual([...reply.payload], [1]);
  });
});
