import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ClientError, createChannel, createClient, Metadata, Status } from "nice-grpc-web";
import type { ChannelOptions } from "../../src/index.js";
import { createBridgeTransport } from "../../src/nice-grpc-web.js";
import { type EchoClient, EchoDefinition } from "../gen/nice-grpc/echo.js";
import { choices, collect, Meter, Queue, Stage, WINDOW } from "./support.js";

const stage = new Stage();
const utf8 = new TextEncoder();

function client(options?: ChannelOptions): EchoClient {
  return createClient(EchoDefinition, createChannel("", createBridgeTransport(stage.channel(options))));
}

async function failure(run: Promise<unknown>): Promise<Error> {
  const err = await run.then(() => undefined, (err: unknown) => err);
  assert(err instanceof Error, `not an Error: ${String(err)}`);
  return err;
}

const timeLimit = { timeout: 60_000 };

for (const [name, transports] of Object.entries(choices)) {
  describe(name, timeLimit, () => {
    test("unary", async () => {
      const reply = await client({ transports }).unary({ payload: Uint8Array.of(1, 2, 3) });
      assert.deepEqual([...reply.payload], [1, 2, 3]);
    });

    test("server streaming", async () => {
      const replies = await collect(client({ transports }).serverStream({ script: { replies: 300 } }));
      assert.deepEqual(replies.map((r) => r.number), Array.from({ length: 300 }, (_, i) => i + 1));
    });

    test("client streaming", async () => {
      async function* requests() {
        for (let number = 1; number <= 300; number++) yield { number, payload: new Uint8Array(500) };
      }
      const reply = await client({ transports }).clientStream(requests());
      assert.deepEqual([reply.requests, reply.requestBytes], [300, 150_000]);
    });

    test("bidi, each request made of the reply before", async () => {
      const requests = new Queue<{ number: number; payload: Uint8Array }>();
      requests.push({ number: 1, payload: Uint8Array.of(0) });
      const seen: number[] = [];
      for await (const reply of client({ transports }).bidi(requests)) {
        seen.push(reply.payload[0]!);
        if (seen.length === 50) requests.end();
        else requests.push({ number: reply.number + 1, payload: Uint8Array.of(seen.length) });
      }
      assert.deepEqual(seen, Array.from({ length: 50 }, (_, i) => i));
    });
  });
}

describe("metadata", timeLimit, () => {
  const headers = [{ key: "h", value: utf8.encode("a") }, { key: "h", value: utf8.encode("b") }];
  const trailers = [{ key: "t-bin", value: Uint8Array.of(0, 254) }];

  test("both ways", async () => {
    let header = Metadata();
    let trailer = Metadata();
    const sent = Metadata().append("x-text", "one").append("x-text", "two").append("x-raw-bin", Uint8Array.of(0, 255, 1));
    const [reply] = await collect(
      client().serverStream(
        { script: { reflect: true, headers, trailers, replies: 1 } },
        { metadata: sent, onHeader: (h) => void (header = h), onTrailer: (t) => void (trailer = t) },
      ),
    );
    const got = reply!.metadata.filter((p) => p.key.startsWith("x-")).map((p) => [p.key, [...p.value]]);
    assert.deepEqual(got, [["x-raw-bin", [0, 255, 1]], ["x-text", [...utf8.encode("one, two")]]]);
    assert.equal(header.get("h"), "a, b");
    assert.deepEqual([...trailer.get("t-bin")!], [0, 254]);
  });

  for (const kind of ["unary", "serverStream"] as const) {
    test(`of errors, ${kind}`, async () => {
      let trailer = Metadata();
      const details = [{ key: "k", value: Uint8Array.of(7) }];
      const request = { script: { headers, trailers, headersFirst: true, status: 9, message: "sorry: 100 % \u{1f600}", details } };
      const options = { onTrailer: (t: Metadata) => void (trailer = t) };
      const err = await failure(kind === "unary" ? client().unary(request, options) : collect(client().serverStream(request, options)));
      assert(err instanceof ClientError);
      assert.deepEqual([err.code, err.details], [Status.FAILED_PRECONDITION, "sorry: 100 % \u{1f600}"]);
      assert.deepEqual([...trailer.get("t-bin")!], [0, 254]);
      assert.match(Buffer.from(trailer.get("grpc-status-details-bin")!).toString("latin1"), /pollbridge\.test\.v1\.Pair/);
    });
  }
});

describe("end of an RPC", timeLimit, () => {
  test("by signal", () =>
    stage.cancels(1, async () => {
      const controller = new AbortController();
      const err = failure(client().unary({ script: { hang: true } }, { signal: controller.signal }));
      await stage.active(1);
      controller.abort();
      assert.equal((await err).name, "AbortError");
    }));

  test("by an exception in the requests", () =>
    stage.cancels(1, async () => {
      async function* requests() {
        yield { number: 1 };
        await stage.active(1);
        throw new Error("no more paper");
      }
      assert.equal((await failure(collect(client().bidi(requests())))).message, "no more paper");
    }));

  test("before the requests do: they are left", async () => {
    let left = false;
    async function* requests() {
      try {
        for (let number = 1; ; number++) yield { number, payload: new Uint8Array(1000), script: { stopAfter: 3 } };
      } finally {
        left = true;
      }
    }
    assert.equal((await collect(client().bidi(requests()))).length, 3);
    await new Promise((resolve) => setImmediate(resolve));
    assert(left);
  });
});

describe("a stream of a million messages, left after 3", timeLimit, () => {
  const million = { script: { replies: 1_000_000, replyBytes: 1000 } };

  test("is cancelled", () =>
    stage.cancels(1, async () => {
      let got = 0;
      for await (const _ of client().serverStream(million)) if (++got === 3) break;
    }));

  test("brings at most a window more when it is just not read on", async () => {
    const meter = new Meter();
    const channel = stage.channel({ transports: ["longpoll"], fetch: meter.fetch });
    const echo: EchoClient = createClient(EchoDefinition, createChannel("", createBridgeTransport(channel)));
    const replies = echo.serverStream(million)[Symbol.asyncIterator]();
    for (let i = 0; i < 3; i++) await replies.next();
    for (let i = 0; i < 200; i++) await echo.unary({});
    assert(meter.bytes < WINDOW, `${meter.bytes} bytes`);
    channel.close();
    await stage.active(0);
  });
});
