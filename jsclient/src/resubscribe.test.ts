import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeBridge, statusError } from "./fakebridge.js";
import { type Channel, Code, resubscribe, type ResubscribeOptions } from "./index.js";

const EARLY: ResubscribeOptions = { backoff: { leastMs: 1, mostMs: 1, idleMs: 1 } };

/** A bridge whose stream counts on from the number in its request, three at a time, then waits; after a restart, on. */
function counting(t: TestContext, last: number): { bridge: FakeBridge; channel: Channel; asked: number[]; open: () => number } {
  const bridge = new FakeBridge();
  t.after(() => bridge.close());
  const asked: number[] = [];
  let open = 0;
  bridge.stream("/s.S/Count", async function* (requests, { signal }) {
    const from = (await requests.next()).value![0]!;
    asked.push(from);
    open++;
    signal.addEventListener("abort", () => open--);
    for (let n = from + 1; n <= Math.min(from + 3, last); n++) yield Uint8Array.of(n);
    if (from + 3 < last) await new Promise((resolve) => signal.addEventListener("abort", resolve));
  });
  return { bridge, channel: bridge.channel({ backoff: EARLY.backoff }), asked, open: () => open };
}

const from = (channel: Channel) => (last: Uint8Array | undefined, signal: AbortSignal) => {
  const call = channel.open("/s.S/Count", { signal, singleRequest: true });
  void call.send(Uint8Array.of(last?.[0] ?? 0));
  call.closeSend();
  return call;
};

test("a stream begins again behind its latest message after each lost session, until it ends", async (t) => {
  const { bridge, channel, asked } = counting(t, 8);
  const got: number[] = [];
  for await (const [n] of resubscribe(from(channel), EARLY)) {
    got.push(n!);
    if (n! % 3 === 0) bridge.restart();
  }
  assert.deepEqual(got, [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.deepEqual(asked, [0, 3, 6]);
});

test("leaving the loop cancels the RPC, and no other begins", async (t) => {
  const { channel, asked, open } = counting(t, 100);
  for await (const _ of resubscribe(from(channel), EARLY)) break;
  while (open() > 0) await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(asked, [0]);
});

test("its signal ends it, also while it waits for the next try", async (t) => {
  const controller = new AbortController();
  const reason = new Error("enough");
  t.mock.method(Math, "random", () => 1);
  let tries = 0;
  const start = (): AsyncIterable<number> => ({
    async *[Symbol.asyncIterator]() {
      tries++;
      setTimeout(() => controller.abort(reason));
      throw statusError(Code.Unavailable, "gone");
    },
  });
  const stream = resubscribe(start, { signal: controller.signal, backoff: { leastMs: 1_000_000, mostMs: 1_000_000 } });
  await assert.rejects(async () => stream.next(), reason);
  assert.equal(tries, 1);
});

test("what another try does not mend is thrown: other statuses, errors of start, a bridge that refuses the page", async () => {
  const refused = { code: 14, cause: { status: { reason: "origin" } } };
  for (const err of [statusError(Code.NotFound, "none"), new RangeError("no such topic"), refused, undefined]) {
    let tries = 0;
    const stream = resubscribe((): AsyncIterable<number> => {
      tries++;
      throw err;
    }, EARLY);
    await assert.rejects(stream.next().catch((thrown: unknown) => assert.equal(thrown, err) ?? Promise.reject(new Error("as it was"))), /as it was/);
    assert.equal(tries, 1);
  }
  await assert.rejects(resubscribe(() => [] as never, { wait: 1 } as never).next(), /^TypeError: option wait: there is none of this name, but signal, backoff$/);
});

test("errors of generated clients are known by their code", async () => {
  for (const code of [14, "UNAVAILABLE"]) {
    let tries = 0;
    async function* start(last: number | undefined): AsyncGenerator<number> {
      yield ++tries;
      if (last !== 2) throw { code };
    }
    const got: number[] = [];
    for await (const n of resubscribe(start, EARLY)) got.push(n);
    assert.deepEqual(got, [1, 2, 3]);
  }
});
