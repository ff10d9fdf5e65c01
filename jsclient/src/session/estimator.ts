import { FREE_UPLOAD, MEMORY, MIN_FLIGHT, UNKNOWN_UPLINK } from "./limits.js";

/** Estimator learns a path's round-trip time and rate. Times are in milliseconds. */
export class Estimator {
  /** Smoothed round-trip time; 0: not measured yet. */
  smooth = 0;
  #least = 0;
  #leastAt = 0;
  /** Bytes per millisecond, the best of late; 0: not measured yet. */
  rate = 0;
  #rateAt = 0;

  /** Takes a measured round-trip time. */
  rtt(now: number, sample: number): void {
    sample = Math.max(sample, 0.001);
    this.smooth += (sample - this.smooth) / (this.smooth === 0 ? 1 : 4);
    if (this.#least === 0 || sample <= this.#least || now - this.#leastAt > MEMORY) {
      this.#least = sample;
      this.#leastAt = now;
    }
  }

  /** Takes how many bytes were acked in how long. */
  delivered(now: number, bytes: number, elapsed: number): void {
    this.rtt(now, elapsed);
    if (elapsed <= 0) return;
    const rate = bytes / elapsed;
    if (rate < this.rate && now - this.#rateAt <= MEMORY) return;
    this.rate = rate;
    this.#rateAt = now;
  }

  /** The longer of a floor and n round-trip times: a slow network must not be taken for a dead one. */
  atLeast(floor: number, n: number): number {
    return Math.max(floor, n * this.smooth);
  }

  /** Most bytes that should be in flight on a WebSocket, so that no kernel's buffer becomes the queue. */
  bound(): number {
    return Math.max(MIN_FLIGHT, Math.floor(2 * this.rate * this.#least));
  }
}

/** How long bytes may take, at half the rate measured. */
export function uploadTime(bytes: number, rate: number): number {
  return (2 * Math.max(0, bytes - FREE_UPLOAD)) / (rate || UNKNOWN_UPLINK);
}
