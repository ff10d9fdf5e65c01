import assert from "node:assert/strict";
import { test } from "node:test";
import { Downlink } from "./downlink.js";
import { believe } from "./network.js";

const KIB = 1 << 10;

/** What happens, so many times, and what is asked for afterwards. */
type Step = [what: "fails" | "fail together" | "is cut" | "proves" | number, times: number, ask: number, more?: boolean];

const rows: Record<string, Step[]> = {
  "grows by long answers": [[32 * KIB, 1, 64 * KIB], [33 * KIB, 1, 128 * KIB], [128 * KIB, 9, 256 * KIB]],
  "cut once": [["is cut", 1, 32 * KIB], [32 * KIB, 1, 64 * KIB]],
  "an outage tells nothing": [["fails", 2, 64 * KIB], ["fails", 9, 4 * KIB], [100, 1, 64 * KIB, false]],
  "those that fail together tell no more than one": [["fail together", 2, 64 * KIB], ["fail together", 1, 4 * KIB]],
  "a proof says nothing of longer ones, and is the cause only where they are suspected": [["fails", 2, 64 * KIB], ["proves", 1, 64 * KIB], ["fails", 1, 4 * KIB], ["proves", 1, 32 * KIB]],
  "a limit": [
    ["fails", 3, 4 * KIB],
    [4 * KIB, 1, 32 * KIB],
    [32 * KIB, 7, 32 * KIB],
    [32 * KIB, 1, 64 * KIB],
    ["fails", 3, 4 * KIB],
    [4 * KIB, 1, 32 * KIB],
    [32 * KIB, 15, 32 * KIB],
    [32 * KIB, 1, 64 * KIB],
    [60 * KIB, 1, 128 * KIB],
  ],
};

for (const [name, steps] of Object.entries(rows)) {
  test(`downlink: ${name}`, () => {
    const network = believe({ since: 0, downBytes: 64 * KIB }, 0, 25_000);
    const downlink = new Downlink(network);
    let now = 0;
    for (const [i, [what, times, ask, more = true]] of steps.entries()) {
      for (let n = 0; n < times; n++) {
        now += 1_000;
        if (what === "is cut") downlink.cut();
        else if (what === "fails") downlink.failed(now - 1, now);
        else if (what === "proves") downlink.proof();
        else if (what === "fail together") for (let k = 0; k < 3; k++) downlink.failed(now - 1, now);
        else downlink.passed(what, 1, more);
      }
      assert.equal(downlink.ask, ask, `step ${i}, ${what}`);
    }
  });
}
