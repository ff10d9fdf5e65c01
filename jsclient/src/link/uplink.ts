import { DOUBTS, PLAIN_FLOOR, UP_LEAST, UP_MOST, UPLINK_QUICK, WAIT_LEAST, WAIT_MOST } from "./limits.js";
import type { Network } from "./network.js";

/**
 * Uplink learns how long the bodies may be that this network lets up. Refused
 * counts what was said to be too long, or broke without a status and is longer
 * than what got through; any other failure only in a row, and only where
 * exchanges without frames get through.
 */
export class Uplink {
  readonly #network: Network;
  #most = UP_MOST;
  /** The longest that got through. */
  #passed = 0;
  /** The length that was refused; 0: none was. */
  #ceiling = 0;
  /** Bodies that have to get through before the ceiling is tried, and that did. */
  #wait = 0;
  #clean = 0;
  /** Failures in a row that may be due to the length, one more once an exchange without frames got through; and the shortest. */
  #doubts = 0;
  #doubted = 0;

  constructor(network: Network) {
    this.#network = network;
  }

  /** Most bytes of a body. */
  get size(): number {
    return this.#network.upBytes;
  }

  /** Notes that a body of n bytes was acked after so long. */
  took(n: number, millis: number): void {
    this.#passed = Math.max(this.#passed, n);
    if (n >= this.#doubted) this.#doubts = 0;
    if (n <= this.size / 2 || millis >= UPLINK_QUICK) return;
    if (this.#trying()) {
      if (n <= 0.75 * this.size) return;
      this.#ceiling = 0;
    } else if (this.#ceiling > 0) {
      if (++this.#clean < this.#wait) return;
      this.#clean = 0;
    }
    this.#network.upBytes = Math.min(2 * this.size, this.#most);
  }

  /** Bodies may be as long as one that was refused. */
  #trying(): boolean {
    return this.#ceiling > 0 && this.size >= this.#ceiling;
  }

  /** Notes that n bytes were too many. */
  refused(n: number): void {
    this.#doubts = 0;
    const half = Math.max(n >> 1, UP_LEAST);
    if (half >= this.size) return;
    this.#wait = this.#trying() ? Math.min(2 * this.#wait, WAIT_MOST) : WAIT_LEAST;
    if (n <= this.#passed) this.#passed = 0; // on another network
    this.#network.upBytes = half;
    this.#ceiling = 2 * half;
    this.#clean = 0;
  }

  /** Notes that n bytes had no answer at all. */
  broke(n: number): void {
    if (n > this.#passed && (n > PLAIN_FLOOR || this.#trying())) this.refused(n);
    else this.doubt(n);
  }

  /** Notes that n bytes failed in a way that says nothing of their length. */
  doubt(n: number): void {
    if (n <= UP_LEAST) return;
    if (this.#doubts > DOUBTS) return this.refused(n);
    this.#doubted = this.#doubts > 0 ? Math.min(this.#doubted, n) : n;
    if (!this.wantsProof) this.#doubts++;
  }

  /** The next exchange is to go without frames: if that gets through and they again do not, they are too long. */
  get wantsProof(): boolean {
    return this.#doubts === DOUBTS;
  }

  /** The outcome of that exchange. */
  proof(ok: boolean): void {
    this.#doubts = ok ? DOUBTS + 1 : 0;
  }

  /** Notes that n bytes were too many for the bridge, which takes limit; 0: it did not say. */
  over(n: number, limit: number): void {
    if (limit <= 0 || n <= limit) return this.refused(n);
    this.#doubts = 0;
    this.#most = this.#network.upBytes = Math.max(UP_LEAST, limit);
  }
}
