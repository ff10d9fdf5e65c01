import { MaxRate } from "./growth.js";
import { Bunch, type Path } from "./path.js";

// Times are in milliseconds, sizes in bytes.

/** Bodies are not cut below this length: a break of a shorter one could not be told from losses unrelated to length. */
const MIN_BODY = 40 << 10;
/** The shortest body that says something of the rate; as many bytes that wait make another exchange go beside. */
export const LONG_BODY: number = MIN_BODY / 2;
/** How long a body may take where a round trip is shorter. */
const MIN_BODY_TIME = 40;
/** How many bodies are in flight at least. */
export const MIN_BODIES = 2;
/** How much of a round trip bodies take, two in flight: while the rate grows, and from then on. */
const GROWING_TRIPS = 1.25;
const TRIPS = 0.9;
const PROBE_BODY = 4 << 10;

/** How many bytes got through in one direction, and when the last of them did. */
export interface Passage {
  readonly total: number;
  readonly at: number;
}

/** How long a body may be, and how many are to be in flight. */
export interface Bodies {
  readonly length: number;
  readonly n: number;
}

/** Pace keeps the bodies of one direction short enough for what waits behind them: nothing of a body counts before its end, and two are in flight, or more where two of the longest do not fill the path. */
export class Pace {
  passage: Passage = { total: 0, at: 0 };
  readonly #rate = new MaxRate();
  readonly #bunch = new Bunch();
  /** The length that bodies returned last. */
  #max = 0;
  /** Bodies in a row that were not longer than half of it. */
  #short = 0;

  /** Notes that a body of n bytes got through, and what had got through before it was sent. A short one says nothing of the rate. */
  passed(now: number, n: number, before: Passage): void {
    const total = this.passage.total + n;
    this.passage = { total, at: now };
    this.#short = n > this.#max / 2 ? 0 : this.#short + 1;
    if (n < LONG_BODY) return;
    const passed = total - before.total;
    if (this.#short === 0 && passed >= n + LONG_BODY) this.#rate.filled = true; // with another beside it
    this.#rate.sample(now, before.at, passed / Math.max(now - before.at, 0.001));
    this.#bunch.acked(now, n, this.#rate.value, true);
  }

  /**
   * Returns how long a body may be, size at most, and how many to have in flight, most
   * at most: two that each take nearly a round trip nearly fill a path. Where they would
   * be longer than size, or bodies come in bunches, there are as many more as together
   * are as long, while one of as many is longer than half of what it may be.
   */
  bodies(size: number, most: number, path: Path): Bodies {
    const { value, settled } = this.#rate;
    let n = MIN_BODIES;
    if (value > 0 && path.probing) size = Math.min(size, PROBE_BODY);
    else if (value > 0) {
      const all = MIN_BODIES * value * Math.max(path.minRTT * (settled ? TRIPS : GROWING_TRIPS), MIN_BODY_TIME);
      if (this.#short < most) n = Math.min(Math.max(Math.ceil(all / size), n), most);
      size = Math.min(size, Math.max(MIN_BODY, Math.floor(all / n)));
      if (this.#short < most) n = Math.min(n + Math.round(this.#bunch.size / size), most); // in a bunch they came as late as that
    }
    return { length: (this.#max = size), n };
  }
}
