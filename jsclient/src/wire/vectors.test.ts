import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { encodeBatch, parseBatch } from "./codec.js";
import { isRefusal } from "../testing.js";

interface Vector {
  name: string;
  hex: string;
  batch: JsonObject;
  error?: string;
  wide?: boolean;
}

type Json = string | number | boolean | JsonObject | Json[];
interface JsonObject {
  [name: string]: Json;
}

function load(file: string): Vector[] {
  return JSON.parse(readFileSync(`../testdata/vectors/${file}.json`, "utf8")) as Vector[];
}

const unhex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));

/** Names that differ from the schema's in camel case. */
const renamed: Record<string, string> = {
  now_us: "nowMicros", hold_ms: "holdMillis", pause_ms: "pauseMillis", held_us: "heldMicros", timeout_us: "timeoutMicros", created_us: "createdMicros",
  resume_ms: "resumeMillis", pause_max_ms: "pauseMaxMillis", retry_after_ms: "retryAfterMillis", spread_ms: "spreadMillis",
};
const byteFields = new Set(["session", "key", "padding", "data", "details", "value"]);

/** Turns a vector's batch into what parseBatch gives, zero values left out. */
function fromVector(value: JsonObject, inMetadatum = false): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [name, v] of Object.entries(value)) {
    const key = renamed[name] ?? name.replace(/_(\w)/g, (_, c: string) => c.toUpperCase());
    out[key] = convert(name, v, inMetadatum);
  }
  return out;
}

const textFields = new Set(["release", "token", "message", "method", "compression", "content_subtype", "reason"]);

function convert(name: string, v: Json, inMetadatum: boolean): unknown {
  if (Array.isArray(v)) return v.map((e) => fromVector(e as JsonObject, name !== "frames"));
  if (typeof v === "object") return fromVector(v);
  if (typeof v !== "string" || textFields.has(name) || (inMetadatum && name === "key")) return v;
  if (byteFields.has(name)) return unhex(v);
  return name === "incarnation" ? BigInt(v) : Number(v);
}

/** Leaves out what is zero and has no presence. */
function slim(value: unknown): unknown {
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(slim);
  const out: Record<string, unknown> = {};
  for (const [name, v] of Object.entries(value)) {
    const zero = v === 0 || v === 0n || v === false || v === "" || (v instanceof Uint8Array && v.length === 0) || (Array.isArray(v) && v.length === 0);
    if (!zero || name === "timeoutMicros" || name === "length") out[name] = slim(v);
  }
  return out;
}

for (const file of ["good", "lenient"]) {
  for (const v of load(file)) {
    test(`${file}: ${v.name}`, () => {
      if (v.wide) {
        assert.throws(() => parseBatch(unhex(v.hex)), isRefusal);
        return;
      }
      const parsed = parseBatch(unhex(v.hex));
      assert.deepEqual(slim(parsed), slim(fromVector(v.batch)));
      const bytes = encodeBatch(parsed);
      // Of types to come the client says none, and does not write them as an enum would.
      if (file === "good" && !v.name.includes("to come")) assert.equal(Buffer.from(bytes).toString("hex"), v.hex);
      else assert.deepEqual(parseBatch(bytes), parsed);
    });
  }
}

for (const v of load("bad")) {
  test(`bad: ${v.name}`, () => {
    assert.throws(() => parseBatch(unhex(v.hex)), isRefusal);
  });
}
