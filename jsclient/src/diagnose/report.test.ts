import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { inBytes, inTime, judge, type Level, rowOf } from "./report.js";
import { table } from "./table.js";

interface Vector {
  found: Record<string, string>;
  profiles: string[];
  verdict: string;
  level: Level;
}

const vectors = JSON.parse(readFileSync("../testdata/vectors/netcheck.json", "utf8")) as Vector[];

for (const [i, { found, ...want }] of vectors.entries()) {
  test(`verdict ${i}: ${want.profiles.join(" ")}`, () => {
    const rows = table.checks.map(({ id }) => rowOf(table, id, found[id] ?? ""));
    assert.deepEqual(judge(table, rows), want);
  });
}

test("figures are written as the Go client does", () => {
  assert.deepEqual([0.834, 8.31, 84.2, 2000, 2140].map(inTime), ["0.83 ms", "8.3 ms", "84 ms", "2 s", "2.1 s"]);
  assert.deepEqual([512, 65_536, 1_572_864].map(inBytes), ["512 B", "64 KiB", "1.5 MiB"]);
});
