import assert from "node:assert/strict";
import { test } from "node:test";
import { fixture, flush } from "../testing.js";
import { LinkError } from "../dialer/carrier.js";
import { Memory } from "../dialer/memory.js";
import { Uplink } from "./uplink.js";

const KIB = 1 << 10;

/** What a network does with a body: lets it up, says that it is too long, breaks, or answers a page. */
type Outcome = "passes" | "refused" | "broke" | "failed";

/** Sends so many bytes in bodies as long as allowed; gives how many of them failed, and the longest that got through. */
function send(uplink: Uplink, bytes: number, lets: (n: number) => Outcome): { failed: number; sent: number; longest: number } {
  let failed = 0;
  let sent = 0;
  let longest = 0;
  while (bytes > 0) {
    if (uplink.wantsProof) uplink.proof(lets(100) === "passes");
    const n = uplink.size;
    const outcome = lets(n);
    sent++;
    if (outcome === "passes") {
      uplink.passed(n, 50);
      longest = Math.max(longest, n);
      bytes -= n;
      continue;
    }
    failed++;
    uplink[outcome](n);
  }
  return { failed, sent, longest };
}

const fresh = (): Uplink => new Uplink(new Memory("test", undefined, 25_000).network);

for (const outcome of ["refused", "broke", "failed"] as const) {
  for (const limit of [100_000, 40_000, 20_000, 2_000]) {
    test(`bodies over ${limit} bytes fail (${outcome}): a few do, then seldom one; without the limit they grow again`, () => {
      const uplink = fresh();
      const narrow = (n: number): Outcome => (n > limit ? outcome : "passes");
      const { failed } = send(uplink, 50 * limit, narrow);
      assert.ok(failed > 0 && failed <= (outcome === "failed" || limit < 20_000 ? 40 : 12), `${failed} bodies failed`);
      const later = send(uplink, 640 * limit, narrow);
      assert.ok(later.failed <= later.sent / 10, `${later.failed} of ${later.sent} bodies failed later`);
      assert.equal(send(uplink, 64 * 32 * KIB + 4_000_000, () => "passes").longest, 1024 * KIB);
    });
  }
}

for (const outcome of ["broke", "failed"] as const) {
  test(`a third of all bodies lost (${outcome}), whatever their length, leave them long`, () => {
    const uplink = fresh();
    let seed = 1;
    const lossy = (): Outcome => ((seed = (seed * 48_271) % 2_147_483_647) % 3 === 0 ? outcome : "passes");
    const { sent } = send(uplink, 100 * 512 * KIB, lossy);
    assert.ok(sent < 300, `${sent} bodies for what 100 can carry`);
  });

  test(`an outage (${outcome}) teaches nothing`, () => {
    const uplink = fresh();
    send(uplink, 10 * 512 * KIB, () => "passes");
    let left = 60;
    send(uplink, 1, () => (left-- > 0 ? outcome : "passes"));
    assert.equal(uplink.size, 1024 * KIB);
  });
}

test("a bridge that states its limit is believed", () => {
  const uplink = fresh();
  uplink.overLimit(64 * KIB, 50_000);
  assert.equal(uplink.size, 50_000);
  uplink.passed(50_000, 50);
  assert.equal(uplink.size, 50_000);
});

for (const [what, error, bytes] of [
  ["413", new LinkError("status", "HTTP status 413", { status: 413 }), 32 * KIB],
  ["a break", new LinkError("network", "Failed to fetch"), 32 * KIB],
  ["502", new LinkError("status", "HTTP status 502", { status: 502 }), 64 * KIB],
  ["a login page", new LinkError("foreign", "a page", { status: 200, cut: true }), 64 * KIB],
  ["an answer cut", new LinkError("network", "the answer was cut", { status: 200, cut: true }), 64 * KIB],
] as const) {
  test(`${what} leaves batches at ${bytes >> 10} KiB`, async (t) => {
    const { carrier, network, open } = await fixture(t, ["longpoll"]);
    const stream = await open();
    await carrier.last.answer({ ack: 1 });
    void stream.send(new Uint8Array(60 * KIB));
    await flush();
    await carrier.last.fail(error);
    assert.ok(Math.abs(network.upBytes - bytes) < 4 * KIB, `${network.upBytes} bytes`);
  });
}

test("after three failures a poll goes without frames, to be answered at once; if it is and they fail again, batches are halved", async (t) => {
  const { carrier, network, open, tick } = await fixture(t, ["longpoll"]);
  const page = new LinkError("foreign", "a page", { status: 200, cut: true });
  const stream = await open();
  await carrier.last.answer({ ack: 1 });
  void stream.send(new Uint8Array(60 * KIB));
  await flush();
  const seen: number[] = [];
  for (let i = 0; i < 10 && network.upBytes === 64 * KIB; i++) {
    await tick(5_000);
    assert.equal(carrier.waiting.size, 1);
    const { frames, holdMillis } = carrier.last.batch;
    seen.push(frames.length);
    if (frames.length > 0) await carrier.last.fail(page);
    else {
      assert.equal(holdMillis, 0);
      await carrier.last.answer();
    }
  }
  assert.deepEqual(seen.map((n) => n > 0), [true, true, true, false, true]);
  assert.ok(network.upBytes <= 32 * KIB, `${network.upBytes} bytes`);
});

test("after a reset two bodies are in flight again once one nearly as long got through: the next are as long as the path was measured, not as the last", () => {
  const uplink = new Uplink(new Memory("test", undefined, 25_000).network);
  for (let i = 0; i < 8; i++) uplink.passed(uplink.size, 50);
  uplink.broke(534_096);
  uplink.broke(534_036);
  assert.equal(uplink.alone, true);
  uplink.passed(400 * KIB, 50);
  assert.equal(uplink.alone, true);
  uplink.passed(518_205, 50);
  assert.equal(uplink.alone, false);
});
