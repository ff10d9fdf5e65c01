// Mutates batches, and their form as text. FUZZ_MS is how long, FUZZ_SEED where
// to begin. FUZZ_KEEP=yes adds what is new to the corpus, which is for Git.

import assert from "node:assert/strict";
import { appendFileSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { isRefusal } from "../testing.js";
import { base64, fromBase64, fromLatin1, latin1 } from "./base64.js";
import type { Batch } from "./batch.js";
import { encodeBatch, parseBatch } from "./codec.js";
import { seal, unseal } from "./envelope.js";

/** What was found, a body in each line, as base64. */
const CORPUS = "test/corpus/bodies.txt";

const millis = Number(process.env["FUZZ_MS"] ?? 1_000);
let seed = Number(process.env["FUZZ_SEED"] ?? 1);

function random(below: number): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
}

const golden = ["good", "lenient"].flatMap((file) =>
  (JSON.parse(readFileSync(`../testdata/vectors/${file}.json`, "utf8")) as { hex: string }[]).map((v) => unseal(Buffer.from(v.hex, "hex"))));
const found = readFileSync(CORPUS, "utf8").split("\n").filter((line) => line).map(fromBase64);
const corpus = [...golden, ...found];

/** Changes, drops, repeats or joins stretches of bytes. */
function mutate(body: Uint8Array, other: Uint8Array): Uint8Array {
  const at = random(body.length + 1);
  const end = Math.min(body.length, at + random(9));
  switch (random(4)) {
    case 0: return body.map((b, i) => (i === at ? random(256) : b));
    case 1: return Buffer.concat([body.subarray(0, at), body.subarray(end)]);
    case 2: return Buffer.concat([body.subarray(0, end), body.subarray(at)]);
    default: return Buffer.concat([body.subarray(0, at), other]);
  }
}

function mutated(bytes: Uint8Array): Uint8Array {
  for (let n = random(6); n >= 0; n--) bytes = mutate(bytes, corpus[random(corpus.length)]!);
  return bytes;
}

/** What a batch parses to, or by what name it is refused. */
function outcome(parse: () => Batch): Batch | string {
  try {
    return parse();
  } catch (err) {
    const named = isRefusal(err) || (err instanceof DOMException && err.name === "InvalidCharacterError");
    assert.ok(named, String(err));
    return (err as Error).message;
  }
}

/** How many values and bytes hang on a value. */
function weight(value: unknown): number {
  if (value instanceof Uint8Array || typeof value === "string") return 1 + value.length;
  if (typeof value !== "object" || value === null) return 1;
  return Object.values(value).reduce((n: number, v) => n + weight(v), 1);
}

/** The names of what is in an outcome. */
function features(of: unknown, name: string): string[] {
  if (Array.isArray(of)) return of.flatMap((v) => features(v, name));
  if (typeof of !== "object" || of === null || of instanceof Uint8Array) return [name === "" ? String(of) : `${name} ${weight(of) > 1} ${String(of).length > 9}`];
  return Object.entries(of).flatMap(([key, v]) => features(v, `${name}.${key}`));
}

const empty = weight(parseBatch(seal(() => undefined)));

/** Holds what must be true of any body. */
function check(body: Uint8Array): Batch | string {
  const parsed = outcome(() => parseBatch(seal((w) => w.put(body))));
  if (typeof parsed === "string") return parsed;
  assert.ok(weight(parsed) <= empty + 16 * body.length, `${body.length} bytes make ${weight(parsed)}`);
  assert.deepEqual(parseBatch(encodeBatch(parsed)), parsed);
  return parsed;
}

/** What is new in the outcome of a body is a reason to keep it. */
const kinds = (body: Uint8Array): string[] => features(check(body), "");

/** Runs one step after the other for a while; says which one failed. */
function fuzz(millis: number, step: () => void): number {
  let steps = 0;
  for (const stop = performance.now() + millis; performance.now() < stop; steps++) {
    const from = seed;
    try {
      step();
    } catch (err) {
      throw new Error(`FUZZ_SEED=${from}`, { cause: err });
    }
  }
  return steps;
}

test("what was found parses and comes back the same, or is refused by name", () => found.forEach(check));

test("what is mutated parses and comes back the same, or is refused by name; its size is bounded by the body's", (t) => {
  const known = new Set(corpus.flatMap(kinds));
  const steps = fuzz(0.8 * millis, () => {
    const body = mutated(corpus[random(corpus.length)]!);
    const fresh = kinds(body).filter((feature) => !known.has(feature));
    if (fresh.length === 0 || body.length > 4_096) return;
    fresh.forEach((feature) => known.add(feature));
    corpus.push(body);
    if (process.env["FUZZ_KEEP"]) appendFileSync(CORPUS, base64(body) + "\n");
  });
  t.diagnostic(`${steps} bodies, ${corpus.length - golden.length - found.length} of a new kind`);
});

test("a mutated text parses to what was sent, or is refused by name", (t) => {
  const steps = fuzz(0.2 * millis, () => {
    const batch = seal((w) => w.put(corpus[random(corpus.length)]!));
    const text = latin1(mutated(fromLatin1(base64(batch))));
    const parsed = outcome(() => parseBatch(fromBase64(text)));
    if (typeof parsed !== "string") assert.deepEqual(parsed, parseBatch(batch));
  });
  t.diagnostic(`${steps} texts`);
});
