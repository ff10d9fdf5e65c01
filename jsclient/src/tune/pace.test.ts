import assert from "node:assert/strict";
import { test } from "node:test";
import { LONG_BODY, Pace } from "./pace.js";
import { Path } from "./path.js";

for (const [what, short, most, n] of [
  ["at first, 2.5 of what the path holds", 0, 16, 10],
  ["as many as may be", 0, 8, 8],
  ["two", 0, 2, 2],
  ["after a few short ones", 7, 8, 8],
  ["after as many short ones", 8, 8, 2],
] as const) {
  test(`where two bodies of the longest do not fill a path there are more, while they come long: ${what}`, () => {
    const size = 100_000;
    const path = new Path();
    path.rtt(1_000, 100);
    const pace = new Pace();
    pace.bodies(size, most, path);
    pace.passed(1_000, 4_000_000, { total: 0, at: 0 });
    for (let i = 0; i < short; i++) pace.passed(2_000, LONG_BODY, pace.passage);
    assert.deepEqual(pace.bodies(size, most, path), { length: size, n });
  });
}

test("where bodies come in bunches there are as many more as came ahead of the rate", () => {
  const path = new Path();
  path.rtt(1_000, 100);
  const pace = new Pace();
  let now = 1_000;
  const pass = (n: number): void => pace.passed(now, n, { total: 0, at: 0 });
  pass(1_000_000);
  for (const [after, most, n] of [
    [[100, 100, 100, 100], 8, 2],
    [[70, 100], 8, 2],
    [[200, 0], 8, 3],
    [[400, 10, 20, 20], 8, 4],
    [[400, 0, 0], 2, 2],
    [Array<number>(101).fill(100), 8, 2],
  ] as const) {
    for (const wait of after) {
      now += wait;
      pass(100_000);
    }
    assert.equal(pace.bodies(1 << 20, most, path).n, n, `${after} ms apart`);
  }
});
