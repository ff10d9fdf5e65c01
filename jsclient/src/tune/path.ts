import { MaxRate, RATE_WINDOW } from "./growth.js";

// Times are in milliseconds, rates in bytes per millisecond.

/** What may always be in flight on a lasting link, and the time whose traffic may: each end is busy for longer than a short path takes. */
const MIN_IN_FLIGHT = 64 << 10;
const MIN_FLIGHT_TIME = 10;
/** The least while the round trip is measured: two frames. */
const PROBE_IN_FLIGHT = 2 * ((16 << 10) + 32);
/** The longest body, in bytes, beside which that is. */
const PROBE_BODY = 4 << 10;
/** What an uplink carries in no time worth counting. */
const FREE_UPLOAD = 4 << 10;
/** Bytes per millisecond that an uplink is taken for before it was measured: it is given twice the time. */
const UNKNOWN_UPLINK = 8.192;

/** Path estimates a path's round-trip time and rate, with the filters of BBR. */
export class Path {
  /** Smoothed round-trip time; 0 before the first sample. */
  smoothedRTT = 0;
  /** The least round-trip time of the last RATE_WINDOW; 0 before the first sample. */
  minRTT = 0;
  /** By acked frames of a lasting link. */
  readonly rate: MaxRate = new MaxRate();
  #minRTTAt = 0;
  /** When less was sent so that minRTT can be measured (BBR's PROBE_RTT); 0: it is not. */
  #probeStart = 0;

  /** Little is sent so that minRTT can be measured. */
  get probing(): boolean {
    return this.#probeStart > 0;
  }

  /** Takes a measured round-trip time. */
  rtt(now: number, sample: number): void {
    sample = Math.max(sample, 0.001);
    this.smoothedRTT += (sample - this.smoothedRTT) / (this.smoothedRTT === 0 ? 1 : 4);
    if (this.minRTT === 0 || sample <= this.minRTT || (this.probing && now - sample >= this.#probeStart)) {
      this.minRTT = sample;
      this.#minRTTAt = now;
      this.#probeStart = 0;
    } else if (!this.probing && now - this.#minRTTAt > RATE_WINDOW) this.#probeStart = now;
  }

  /** Notes that an exchange with a body of n bytes is over: a sample taken beside a long one would not tell the least round-trip time. */
  bodyPassed(now: number, n: number): void {
    if (this.probing && n > PROBE_BODY) this.#probeStart = now;
  }

  /** Takes a frame's round-trip time, and how many bytes were delivered in what time since it was sent. */
  sample(now: number, rtt: number, delivered: number, took: number): void {
    this.rtt(now, rtt);
    if (took > 0) this.rate.sample(now, now - rtt, delivered / took);
  }

  /** Returns the longer of floor and n round-trip times: a slow network must not be taken for a dead one. */
  atLeast(floor: number, n: number): number {
    return Math.max(floor, n * this.smoothedRTT);
  }

  /** Returns how many bytes should be in flight on a lasting link at most, so that no kernel's buffer becomes the queue. */
  maxInFlight(): number {
    const { rate, minRTT } = this;
    if (this.probing) return Math.max(PROBE_IN_FLIGHT, Math.floor((rate.value * minRTT) / 2));
    return Math.max(MIN_IN_FLIGHT, Math.floor(rate.value * Math.max(minRTT * (rate.settled ? 1.5 : 3), MIN_FLIGHT_TIME)));
  }
}

/** Returns how long bytes may take at half the given rate; 0: it was not measured. */
export function uploadTime(bytes: number, rate: number): number {
  return (2 * Math.max(0, bytes - FREE_UPLOAD)) / (rate || UNKNOWN_UPLINK);
}
