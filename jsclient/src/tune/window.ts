// Times are in milliseconds, sizes in bytes.

/** The round trip that a busy machine's scheduling makes. */
const MIN_RTT = 10;
/** A window grows that was consumed in less than so many round trips, and shrinks that was not in so many. */
const GROW_TRIPS = 4;
const SHRINK_TRIPS = 32;
/** The most that is used up of a window before it is extended. */
const LONGEST_STEP = 512 << 10;
/** What a window grows to, and what it shrinks to. */
const MAX_WINDOW = 8 << 20;
const MIN_WINDOW = 64 << 10;

/**
 * Window sizes a stream's window towards its receiver, as quic-go's
 * baseFlowController does (maybeAdjustWindowSize): it doubles when half of it was
 * consumed in less than two round trips, since then it may be what holds the
 * sender up; twice when that took one. It halves when that took sixteen.
 */
export class Window {
  /** In bytes. */
  size: number;
  readonly #min: number;
  /** When the last epoch began, and what was consumed before. */
  #epoch = performance.now();
  #consumed = 0;

  constructor(size: number) {
    this.size = size;
    this.#min = Math.min(size, MIN_WINDOW);
  }

  /** How much of it is used up before it is extended. */
  get step(): number {
    return Math.min(this.size / 4, LONGEST_STEP);
  }

  /** Returns the size for the credit that is about to be given, where so much was consumed in all. The caller sets size, if there is room. */
  next(now: number, rtt: number, consumed: number): number {
    const took = now - this.#epoch;
    const n = consumed - this.#consumed;
    const { size } = this;
    if (n < size / 2) return size;
    this.#epoch = now;
    this.#consumed = consumed;
    const trips = ((took / Math.max(rtt, MIN_RTT)) * size) / n;
    const max = Math.max(size, MAX_WINDOW);
    if (trips <= GROW_TRIPS / 2) return Math.min(4 * size, max); // it surely held the sender up
    if (trips < GROW_TRIPS) return Math.min(2 * size, max);
    return trips > SHRINK_TRIPS ? Math.max(size / 2, this.#min) : size;
  }
}
