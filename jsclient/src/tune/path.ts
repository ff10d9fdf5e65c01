/** How long the best rate and the least round-trip time count. */
const RATE_WINDOW = 10_000;
/** What may always be in flight on a lasting link. */
const MIN_IN_FLIGHT = 64 << 10;
/** What an uplink carries in no time worth counting. */
const FREE_UPLOAD = 4 << 10;
/** Bytes per millisecond that an uplink is taken for before it was measured: it is given twice the time. */
const UNKNOWN_UPLINK = 8.192;

/** Path estimates a path's round-trip time and rate. Times are in milliseconds, rates in bytes per millisecond. */
export class Path {
  /** Smoothed round-trip time; 0 before the first sample. */
  smoothedRTT = 0;
  /** The best rate of the last RATE_WINDOW; 0 before the first sample. */
  maxRate = 0;
  #maxRateAt = 0;
  /** The least round-trip time of the last RATE_WINDOW. */
  #minRTT = 0;
  #minRTTAt = 0;

  /** Takes a measured round-trip time. */
  rtt(now: number, sample: number): void {
    sample = Math.max(sample, 0.001);
    this.smoothedRTT += (sample - this.smoothedRTT) / (this.smoothedRTT === 0 ? 1 : 4);
    if (this.#minRTT === 0 || sample <= this.#minRTT || now - this.#minRTTAt > RATE_WINDOW) {
      this.#minRTT = sample;
      this.#minRTTAt = now;
    }
  }

  /** Takes a frame's round-trip time, in which so many bytes were delivered. */
  sample(now: number, rtt: number, delivered: number): void {
    this.rtt(now, rtt);
    const rate = delivered / rtt;
    if (rtt <= 0 || (rate < this.maxRate && now - this.#maxRateAt <= RATE_WINDOW)) return;
    this.maxRate = rate;
    this.#maxRateAt = now;
  }

  /** Returns the longer of floor and n round-trip times: a slow network must not be taken for a dead one. */
  atLeast(floor: number, n: number): number {
    return Math.max(floor, n * this.smoothedRTT);
  }

  /** Returns how many bytes should be in flight on a lasting link at most, so that no kernel's buffer becomes the queue. */
  maxInFlight(): number {
    return Math.max(MIN_IN_FLIGHT, Math.floor(2 * this.maxRate * this.#minRTT));
  }
}

/** Returns how long bytes may take at half the given rate; 0: it was not measured. */
export function uploadTime(bytes: number, rate: number): number {
  return (2 * Math.max(0, bytes - FREE_UPLOAD)) / (rate || UNKNOWN_UPLINK);
}
