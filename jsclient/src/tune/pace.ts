import { MaxRate } from "./growth.js";
import type { Path } from "./path.js";

// Times are in milliseconds, sizes in bytes.

/** Bodies are not cut below this length: a break of a shorter one could not be told from losses unrelated to length. */
const MIN_BODY = 40 << 10;
/** The shortest body that says something of the rate; as many bytes that wait make another exchange go beside. */
export const LONG_BODY: number = MIN_BODY / 2;
/** How long a body may take where a round trip is shorter. */
const MIN_BODY_TIME = 40;
/** How much of a round trip bodies take, two in flight: while the rate grows, and from then on. */
const GROWING_TRIPS = 1.25;
const TRIPS = 0.9;
const PROBE_BODY = 4 << 10;

/** How many bytes got through in one direction, and when the last of them did. */
export interface Passage {
  readonly total: number;
  readonly at: number;
}

/** Pace keeps the bodies of one direction short enough for what waits behind them: nothing of a body counts before its end, and two are in flight. */
export class Pace {
  passage: Passage = { total: 0, at: 0 };
  readonly #rate = new MaxRate();
  /** What maxBody returned last. */
  #max = 0;

  /** Notes that a body of n bytes got through, and what had got through before it was sent. A short one says nothing of the rate. */
  passed(now: number, n: number, before: Passage): void {
    const total = this.passage.total + n;
    this.passage = { total, at: now };
    if (n < LONG_BODY) return;
    const passed = total - before.total;
    if (n > this.#max / 2 && passed >= n + LONG_BODY) this.#rate.filled = true; // with another beside it
    this.#rate.sample(now, before.at, passed / Math.max(now - before.at, 0.001));
  }

  /** Returns how long a body may be, size at most. */
  maxBody(size: number, path: Path): number {
    const { value, settled } = this.#rate;
    if (value > 0) {
      const took = Math.max(path.minRTT * (settled ? TRIPS : GROWING_TRIPS), MIN_BODY_TIME);
      size = Math.min(size, path.probing ? PROBE_BODY : Math.max(MIN_BODY, Math.floor(value * took)));
    }
    return (this.#max = size);
  }
}
