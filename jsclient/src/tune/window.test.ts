import assert from "node:assert/strict";
import { test } from "node:test";
import { Window } from "./window.js";

test("a window grows to four times what is consumed in a round trip, and shrinks for a slow reader", () => {
  const window = new Window(64 << 10);
  let now = performance.now();
  let consumed = 0;
  for (const [rate, seconds, least, most] of [
    [100, 10, 64 << 10, 64 << 10],
    [5_000, 3, 2 << 20, 8 << 20],
    [50_000, 3, 8 << 20, 8 << 20],
    [1_000, 30, 1 << 20, 4 << 20],
    [20, 600, 64 << 10, 64 << 10],
  ] as const) {
    for (const end = now + 1_000 * seconds; now < end; ) {
      now += 1;
      consumed += rate;
      window.size = window.next(now, 100, consumed);
    }
    assert.ok(window.size >= least && window.size <= most, `${rate} bytes/ms: a window of ${window.size} bytes`);
  }
});
