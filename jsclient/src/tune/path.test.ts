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
