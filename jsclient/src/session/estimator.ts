import { FREE_UPLOAD, MEMORY, UNKNOWN_UPLINK } from "./limits.js";

/** Estimator learns a path's round-trip time. Times are in milliseconds. */
export class Estimator {
  /** Smoothed round-trip time; 0: not measured yet. */
  smooth = 0;
  /** The least of late. */
  least = 0;
  #leastAt = 0;

  /** Takes a measured round-trip time. */
  rtt(now: number, sample: number): void {
    sample = Math.max(sample, 0.001);
    this.smooth += (sample - this.smooth) / (this.smooth === 0 ? 1 : 4);
    if (this.least === 0 || sample <= this.least || now - this.#leastAt > MEMORY) {
      this.least = sample;
      this.#leastAt = now;
    }
  }

  /** The longer of a floor and n round-trip times: a slow network must not be taken for a dead one. */
  atLeast(floor: number, n: number): number {
    return Math.max(floor, n * this.smooth);
  }

  /** How long bytes may take, at half the rate measured, in bytes per millisecond; 0: not measured yet. */
  uploadTime(bytes: number, rate: number): number {
    return (2 * Math.max(0, bytes - FREE_UPLOAD)) / (rate || UNKNOWN_UPLINK);
  }
}
