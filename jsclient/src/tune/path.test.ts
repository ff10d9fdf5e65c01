import assert from "node:assert/strict";
import { test } from "node:test";
import { Path } from "./path.js";

test("acks that come in bunches do not keep what is in flight short", () => {
  const busy = 100; // milliseconds, where a round trip takes 20
  const frame = 16 << 10;
  const path = new Path();
  path.rtt(0, 20);
  let flight = path.maxInFlight();
  for (let now = busy; now < 4_000 && flight < 1 << 20; now += busy) {
    path.rate.filled = true;
    for (let acked = 0; acked < flight; acked += frame) path.sample(now, busy, frame, flight, busy);
    flight = path.maxInFlight();
  }
  assert.ok(flight >= 1 << 20, `${flight} bytes in flight after 40 bunches`);
});

test("where the least round trip is measured anew, that is the lower of two: one of two in flight may have waited for the other", () => {
  const path = new Path();
  path.rtt(0, 50);
  path.rtt(10_001, 60);
  assert.deepEqual([path.probing, path.minRTT], [true, 50]);
  path.rtt(10_058, 57);
  assert.deepEqual([path.probing, path.minRTT], [true, 50]);
  path.rtt(10_061, 53);
  assert.deepEqual([path.probing, path.minRTT], [false, 53]);
  path.rtt(20_062, 60);
  path.rtt(20_120, 57);
  path.bodyPassed(20_121, 64 << 10); // the path was not empty
  path.rtt(20_180, 58);
  assert.deepEqual([path.probing, path.minRTT], [true, 53]);
  path.rtt(20_190, 59);
  assert.deepEqual([path.probing, path.minRTT], [false, 58]);
});
