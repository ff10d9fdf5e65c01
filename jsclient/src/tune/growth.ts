// Times are in milliseconds, rates in bytes per millisecond.

/** A rate grows that becomes so many times as high within a round trip, and has stopped when it did not in so many of them. */
const GROWING = 1.25;
const MAX_FLAT_ROUNDS = 3;
/** How long the best rate counts. */
export const RATE_WINDOW = 10_000;

/** MaxRate is the best rate of the last RATE_WINDOW, and tells when it has stopped growing, as in BBR's STARTUP: in round trips in which more would have been sent. */
export class MaxRate {
  /** 0 before the first sample. */
  value = 0;
  /** It has stopped growing. */
  settled = false;
  /** In this round trip more would have been sent. */
  filled = false;
  #at = 0;
  #roundStart = 0;
  #before = 0;
  #flat = 0;

  /** Takes a rate, measured by what was sent at sentAt. */
  sample(now: number, sentAt: number, rate: number): void {
    if (rate >= this.value || now - this.#at > RATE_WINDOW) {
      if (rate < this.value / 2) {
        this.settled = this.filled = false;
        this.#roundStart = this.#before = this.#flat = 0;
      }
      this.value = rate;
      this.#at = now;
    }
    if (sentAt < this.#roundStart) return;
    this.#roundStart = now;
    if (this.settled || !this.filled) return;
    this.filled = false;
    if (this.value < this.#before * GROWING) {
      this.settled = ++this.#flat >= MAX_FLAT_ROUNDS;
      return;
    }
    this.#before = this.value;
    this.#flat = 0;
  }
}
