import assert from "node:assert/strict";
import { test } from "node:test";
import type { Frame } from "../wire/batch.js";
import { Inbox } from "./inbox.js";

const frame = (seq: number, size = 0): Frame => ({ seq, stream: 1, type: 3, data: new Uint8Array(size) });
const take = (inbox: Inbox, ...seqs: number[]): number[] => seqs.flatMap((seq) => [...inbox.accept(frame(seq))].map((f) => f.seq));

test("frames come out in order, each once (D1)", () => {
  const inbox = new Inbox();
  assert.deepEqual(take(inbox, 1, 3, 3, 5, 1, 2, 2, 4, 5, 6), [1, 2, 3, 4, 5, 6]);
  assert.equal(inbox.taken, 6);
  assert.equal(inbox.hasGap, false);
});

test("beyond 7,168 frames ahead of order are dropped and asked for until they came", () => {
  const inbox = new Inbox();
  for (let seq = 2; seq <= 7171; seq++) assert.deepEqual(take(inbox, seq), []);
  assert.equal(inbox.hasGap, true);
  assert.equal(take(inbox, 1).length, 7169);
  assert.equal(inbox.taken, 7169);
  assert.equal(inbox.hasGap, true);
  take(inbox, 7170, 7171);
  assert.equal(inbox.hasGap, false);
});

test("beyond 7 MiB ahead of order frames are dropped", () => {
  const inbox = new Inbox();
  for (let seq = 2; seq <= 449; seq++) [...inbox.accept(frame(seq, 16 << 10))];
  assert.equal(inbox.hasGap, false);
  [...inbox.accept(frame(450, 1))];
  assert.equal(inbox.hasGap, true);
});

test("an ack is pending for every frame received, duplicates too", () => {
  const inbox = new Inbox();
  [...inbox.accept(frame(1, 100)), ...inbox.accept(frame(1, 100)), ...inbox.accept(frame(3, 0))];
  assert.equal(inbox.ackPending, 132 + 132 + 32);
});
