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

/** Bounds a bunch, as Linux does: a rate that is believed a little too low is none. */
const LONGEST_BUNCH = 100;

/**
 * Bunch is by how much what was acked ran ahead of the rate, at most of late: BBR's
 * estimate of ack aggregation (bbr_update_ack_aggregation of Linux). Acks come in
 * bunches where an end, or what is between, is busy for longer than a round trip takes.
 */
export class Bunch {
  /** In bytes. */
  size = 0;
  #at = 0;
  /** When what is counted began, the bytes acked since, and how many of these were in the body that came then: it took its own time before. */
  #start = 0;
  #count = 0;
  #first = 0;

  /** Notes that n bytes were acked on a path of that rate, or came as a whole body. */
  acked(now: number, n: number, rate: number, body = false): void {
    if (this.#count <= rate * (now - this.#start) || now - this.#start > LONGEST_BUNCH) [this.#start, this.#count, this.#first] = [now, 0, body ? n : 0];
    this.#count += n;
    const size = Math.max(this.#count - this.#first - rate * (now - this.#start), 0);
    if (size < this.size && now - this.#at <= RATE_WINDOW) return;
    this.size = size;
    this.#at = now;
  }
}

/** Path estimates a path's round-trip time and rate, with the filters of BBR. */
export class Path {
  /** Smoothed round-trip time; 0 before the first sample. */
  smoothedRTT = 0;
  /** The least round-trip time of the last RATE_WINDOW; 0 before the first sample. */
  minRTT = 0;
  /** By acked frames of a lasting link. */
  readonly rate: MaxRate = new MaxRate();
  readonly #bunch = new Bunch();
  #minRTTAt = 0;
  /** When less was sent so that minRTT can be measured (BBR's PROBE_RTT); 0: it is not. */
  #probeStart = 0;
  /** The first sample since; Infinity: none yet. */
  #probed = Infinity;

  /** Little is sent so that minRTT can be measured. */
  get probing(): boolean {
    return this.#probeStart > 0;
  }

  /** Takes a measured round-trip time. */
  rtt(now: number, sample: number): void {
    sample = Math.max(sample, 0.001);
    this.smoothedRTT += (sample - this.smoothedRTT) / (this.smoothedRTT === 0 ? 1 : 4);
    const probed = this.probing && now - sample >= this.#probeStart;
    if (probed && this.#probed === Infinity && sample > this.minRTT) this.#probed = sample; // it may have waited for the other of two in flight
    else if (this.minRTT === 0 || sample <= this.minRTT || probed) {
      this.minRTT = Math.min(sample, this.#probed);
      this.#minRTTAt = now;
      this.#probeStart = 0;
      this.#probed = Infinity;
    } else if (!this.probing && now - this.#minRTTAt > RATE_WINDOW) this.#probeStart = now;
  }

  /** Notes that an exchange with a body of n bytes is over: a sample taken beside a long one would not tell the least round-trip time. */
  bodyPassed(now: number, n: number): void {
    if (this.probing && n > PROBE_BODY) [this.#probeStart, this.#probed] = [now, Infinity];
  }

  /** Takes the round-trip time of a frame of n bytes that was acked, and how many bytes were delivered in what time since it was sent. */
  sample(now: number, rtt: number, n: number, delivered: number, took: number): void {
    this.rtt(now, rtt);
    if (took > 0) this.rate.sample(now, now - rtt, delivered / took);
    this.#bunch.acked(now, n, this.rate.value);
  }

  /** Returns the longer of floor and n round-trip times: a slow network must not be taken for a dead one. */
  atLeast(floor: number, n: number): number {
    return Math.max(floor, n * this.smoothedRTT);
  }

  /** Returns how many bytes should be in flight on a lasting link at most, so that no kernel's buffer becomes the queue. */
  maxInFlight(): number {
    const { rate, minRTT } = this;
    if (this.probing) return Math.max(PROBE_IN_FLIGHT, Math.floor((rate.value * minRTT) / 2));
    const bunched = rate.value * minRTT + this.#bunch.size;
    return Math.max(MIN_IN_FLIGHT, Math.floor(Math.max(rate.value * Math.max(minRTT * (rate.settled ? 1.5 : 3), MIN_FLIGHT_TIME), rate.settled ? bunched : 1.5 * bunched)));
  }
}

/** Returns how long bytes may take at half the given rate; 0: it was not measured. */
export function uploadTime(bytes: number, rate: number): number {
  return (2 * Math.max(0, bytes - FREE_UPLOAD)) / (rate || UNKNOWN_UPLINK);
}
