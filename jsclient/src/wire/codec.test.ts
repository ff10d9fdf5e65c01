import assert from "node:assert/strict";
import { test } from "node:test";
import type { Batch, Frame, Metadatum } from "./batch.js";
import { encodeBatch, newBatch, parseBatch } from "./codec.js";
import { crc32c } from "./crc.js";
import { seal } from "./envelope.js";
import { isRefusal } from "../testing.js";
import { HEAD, TAIL } from "./envelope.js";

const text = (s: string): Uint8Array => new TextEncoder().encode(s);

/** CRC-32C as it is defined. */
function bitwise(bytes: Uint8Array): number {
  let c = -1;
  for (const byte of bytes) {
    c ^= byte;
    for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (c & 1 && 0x82f63b78);
  }
  return ~c >>> 0;
}

test("crc32c gives the check value of the Castagnoli polynomial", () => {
  assert.equal(crc32c(text("123456789")), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(0)), 0);
  const bytes = new Uint8Array(100).map((_, i) => 37 * i); // of any alignment and length
  for (let from = 0; from < 9; from++) {
    for (let to = from; to <= bytes.length; to++) assert.equal(crc32c(bytes.subarray(from, to)), bitwise(bytes.subarray(from, to)), `${from} to ${to}`);
  }
});

test("an empty batch is only its envelope", () => {
  const bytes = encodeBatch(newBatch());
  assert.equal(bytes.length, HEAD + TAIL);
  assert.deepEqual(parseBatch(bytes), newBatch());
});

test("every single flipped bit is found", () => {
  const good = encodeBatch({ ...newBatch(), x: 7, ack: 3 });
  for (let bit = 0; bit < 8 * good.length; bit++) {
    const bad = good.slice();
    bad[bit >> 3]! ^= 1 << (bit & 7);
    assert.throws(() => parseBatch(bad), RangeError, `bit ${bit}`);
  }
});

test("every truncation is found", () => {
  const good = encodeBatch({ ...newBatch(), x: 7, token: "secret" });
  for (let n = 0; n < good.length; n++) assert.throws(() => parseBatch(good.subarray(0, n)), RangeError);
});

test("what others send is not ours", () => {
  for (const body of ["", "<html><body>log in</body></html>", "{}", "\0".repeat(64)]) {
    assert.throws(() => parseBatch(text(body)), RangeError);
  }
});

test("unknown fields, groups and odd wire types are skipped", () => {
  const bytes = seal((w) => {
    w.varint(16); w.varint(9); // x
    w.varint(792); w.varint(1);
    w.varint(786); w.raw(text("new"));
    w.varint(777); w.put(new Uint8Array(8).fill(0xff));
    w.varint(773); w.put(new Uint8Array(4));
    w.varint(763); w.varint(8); w.varint(5); w.varint(764);
    w.varint(42); w.raw(text("ack as bytes"));
  });
  assert.deepEqual(parseBatch(bytes), { ...newBatch(), x: 9 });
});

test("integers above 2^53 - 1 are refused, but not in fields we do not know", () => {
  const huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
  const field = (n: number): Uint8Array => seal((w) => {
    w.varint(8 * n);
    w.put(Uint8Array.from(huge));
  });
  assert.throws(() => parseBatch(field(5)), RangeError);
  assert.deepEqual(parseBatch(field(200)), newBatch());
  assert.equal(parseBatch(field(13)).holdMillis, 0xffffffff);
  const max = { ...newBatch(), ack: Number.MAX_SAFE_INTEGER };
  assert.equal(parseBatch(encodeBatch(max)).ack, Number.MAX_SAFE_INTEGER);
});

test("a message's length survives also when it is 0", () => {
  const frame = { seq: 1, stream: 1, type: 3, length: 0 };
  const parsed = parseBatch(encodeBatch({ ...newBatch(), frames: [frame] })).frames[0]!;
  assert.equal(parsed.length, 0);
  const fragment = { seq: 2, stream: 1, type: 3, data: text("x") };
  assert.equal(parseBatch(encodeBatch({ ...newBatch(), frames: [fragment] })).frames[0]!.length, undefined);
});

test("random batches come back as they went", () => {
  const random = mulberry32(20261122);
  for (let i = 0; i < 2000; i++) {
    const batch = randomBatch(random);
    assert.deepEqual(parseBatch(encodeBatch(batch)), batch);
  }
});

test("random bytes in a valid envelope parse or are refused, never else", () => {
  const random = mulberry32(7);
  for (let i = 0; i < 5000; i++) {
    const bytes = seal((w) => {
      for (let n = Math.floor(random() * 40); n > 0; n--) w.byte(Math.floor(random() * 256));
    });
    try {
      parseBatch(bytes);
    } catch (err) {
      assert.ok(isRefusal(err), String(err));
    }
  }
});

/** A small seeded generator. */
function mulberry32(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function randomBatch(random: () => number): Batch {
  const int = (max: number): number => Math.floor(random() ** 4 * max);
  const u64 = (): number => int(Number.MAX_SAFE_INTEGER);
  const u32 = (): number => int(2 ** 32 - 1);
  const flag = (): boolean => random() < 0.3;
  const raw = (max = 300): Uint8Array => Uint8Array.from({ length: int(max) }, () => Math.floor(random() * 256));
  const str = (): string => ["", "a", "/pkg.Service/Method", "grüße", "\u{1f600}", "\ufeffbom"][Math.floor(random() * 6)]!;
  const metadata = (): Metadatum[] => Array.from({ length: int(4) }, () => ({ key: str(), value: raw() }));
  const close = () => ({ code: u32(), message: str(), retryAfterMillis: u32(), limit: u64() });
  const frame = (): Frame => ({
    seq: u64(), stream: u64(), type: 9 + int(12), critical: flag(), data: raw(20000), limit: u64(),
    ...(flag() && { length: u64() }),
    ...(flag() && {
      open: {
        method: str(), metadata: metadata(), ...(flag() && { timeoutMicros: u64() }), createdMicros: u64(), compression: str(), early: flag(),
        contentSubtype: str(), waitForReady: flag(), singleRequest: flag(), singleResponse: flag(),
      },
    }),
    ...(flag() && { headers: { metadata: metadata() } }),
    ...(flag() && { end: { status: u32(), message: str(), details: raw(), trailers: metadata(), origin: int(2), reason: str() } }),
    ...(flag() && { close: close() }),
  });
  return {
    session: raw(17), x: u64(), key: raw(17), incarnation: BigInt(u64()) * 2048n, ack: u64(), nowMicros: u64(), awaiting: u64(), prefer: u64(),
    holdMillis: u32(), maxBytes: u32(), resend: flag(), parked: u64(), waitingBytes: u64(), ping: u64(), pong: u64(), padding: raw(), pauseMillis: u32(),
    heldMicros: u64(), token: str(), stopped: flag(), frames: Array.from({ length: int(8) }, frame),
    ...(flag() && { close: close() }),
    ...(flag() && { versions: { lowest: u32(), highest: u32() } }),
    ...(flag() && { hello: { release: str(), streamWindow: u32(), maxMessageBytes: u64() } }),
    ...(flag() && {
      welcome: {
        version: u32(), release: str(), holdMillis: u32(), resumeMillis: u32(), pauseMaxMillis: u32(), streamWindow: u32(), sessionWindow: u32(),
        maxMessageBytes: u64(), maxBatchBytes: u32(), maxMetadataBytes: u32(), maxStreams: u32(), ignoresTokens: flag(), maxExchanges: u32(),
      },
    }),
    ...(flag() && { goAway: { spreadMillis: u32() } }),
  };
}
