import type { Network } from "./network.js";
import { CLEAN, HOLD_LEAST, LONGER, SHORTER, SIMILAR } from "./limits.js";

/** Hold learns how long a poll may be held on this network before something on the way cuts it. */
export class Hold {
  readonly #most: number;
  readonly #network: Network;
  #lastCut = 0;
  #clean = 0;

  constructor(most: number, network: Network) {
    this.#most = most;
    this.#network = network;
  }

  /** A poll failed at this age. */
  cut(age: number): void {
    this.#clean = 0;
    const similar = this.#lastCut > 0 && age < SIMILAR * this.#lastCut && this.#lastCut < SIMILAR * age;
    this.#lastCut = similar ? 0 : age;
    if (similar && age >= HOLD_LEAST) this.#network.holdMs = Math.round(Math.min(this.#network.holdMs, Math.max(HOLD_LEAST, SHORTER * age)));
  }

  /** A poll was answered. */
  answered(): void {
    if (++this.#clean < CLEAN) return;
    this.#clean = 0;
    this.#network.holdMs = Math.round(Math.min(this.#most, LONGER * this.#network.holdMs));
  }
}
