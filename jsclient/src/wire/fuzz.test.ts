// Mutates golden batches. FUZZ_MS is how long, FUZZ_SEED where to begin.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { encodeBatch, parseBatch } from "./codec.js";
import { seal, unseal } from "./envelope.js";
import { isRefusal } from "../testing.js";

const millis = Number(process.env["FUZZ_MS"] ?? 1_000);
let seed = Number(process.env["FUZZ_SEED"] ?? 1);

function random(below: number): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
}

const corpus = ["good", "lenient"].flatMap((file) =>
  (JSON.parse(readFileSync(`../testdata/vectors/${file}.json`, "utf8")) as { hex: string }[]).map((v) => unseal(Buffer.from(v.hex, "hex"))));

/** Changes, drops, repeats or joins stretches of bodies. */
function mutate(body: Uint8Array): Uint8Array {
  const at = random(body.length + 1);
  const end = Math.min(body.length, at + random(9));
  switch (random(4)) {
    case 0: return body.map((b, i) => (i === at ? random(256) : b));
    case 1: return Buffer.concat([body.subarray(0, at), body.subarray(end)]);
    case 2: return Buffer.concat([body.subarray(0, end), body.subarray(at)]);
    default: return Buffer.concat([body.subarray(0, at), corpus[random(corpus.length)]!]);
  }
}

test("what is mutated parses and comes back the same, or is refused by name", () => {
  for (const stop = performance.now() + millis; performance.now() < stop;) {
    const from = seed;
    let body = corpus[random(corpus.length)]!;
    for (let n = random(6); n >= 0; n--) body = mutate(body);
    try {
      const parsed = parseBatch(seal((w) => w.put(body)));
      assert.deepEqual(parseBatch(encodeBatch(parsed)), parsed, `FUZZ_SEED=${from}`);
    } catch (err) {
      assert.ok(isRefusal(err), `FUZZ_SEED=${from}: ${String(err)}`);
    }
  }
});
