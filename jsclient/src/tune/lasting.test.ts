import assert from "node:assert/strict";
import { test } from "node:test";
import { believe } from "./network.js";
import { LastingTuner } from "./lasting.js";

const KIB = 1 << 10;
const MUCH = 1 << 20;

/** Plays what happens, and gives the length of batches after each. */
function play(...steps: ((tuner: LastingTuner) => void)[]): number[] {
  const tuner = new LastingTuner(believe(undefined, 0, 25_000));
  return steps.map((step) => (step(tuner), tuner.batchBytes / KIB));
}

const broke = (kib: number) => (tuner: LastingTuner): void => tuner.broke(MUCH, kib * KIB);
const passed = (kib: number) => (tuner: LastingTuner): void => tuner.passed(kib * KIB, MUCH);

test("that a WebSocket breaks says nothing of lengths", () => {
  assert.deepEqual(play(...Array(20).fill(broke(0)), ...Array(20).fill(broke(4))), Array(40).fill(64));
  assert.deepEqual(play(...Array(20).fill([broke(64), passed(60)]).flat()), Array(40).fill(64));
});

test("a length that breaks three in a row is halved, and tried again later", () => {
  assert.deepEqual(play(broke(64), broke(60), broke(64), broke(30), broke(15), broke(8), broke(8)), [64, 64, 30, 15, 7.5, 4, 4]);
  const clean = (n: number): ((tuner: LastingTuner) => void)[] => Array(n).fill(passed(32));
  assert.deepEqual(play(broke(64), broke(64), broke(64), ...clean(4)), [64, 64, 32, 32, 32, 32, 64]);
  assert.deepEqual(play(broke(64), broke(64), broke(64), ...clean(4), broke(64), ...clean(8)).slice(6), [64, 32, 32, 32, 32, 32, 32, 32, 32, 64]);
  assert.deepEqual(play(broke(64), broke(64), broke(64), ...clean(4), passed(64), broke(64)).slice(6), [64, 64, 64]);
});

test("care is taken after two that broke with nothing acked, until one has carried much", () => {
  const tuner = new LastingTuner(believe(undefined, 0, 25_000));
  for (const careful of [false, false, true]) {
    assert.equal(tuner.careful, careful);
    tuner.broke(0, 100);
  }
  tuner.passed(100, 64 * KIB - 1);
  assert.equal(tuner.careful, true);
  tuner.passed(100, 64 * KIB);
  assert.equal(tuner.careful, false);
});
