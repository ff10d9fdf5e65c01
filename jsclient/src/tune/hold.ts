import { MIN_HOLD, type Network } from "./network.js";

/** Two cuts within this factor of each other are at a similar age. */
const SIMILAR = 1.3;
export const SHORTER = 0.7;
const LONGER = 1.2;
/** Polls in a row that were held to their end before a longer hold is tried. */
const KEPT_BEFORE_LONGER = 20;

/** Hold learns how long a poll may be held on this network before something on the way cuts it. */
export class Hold {
  readonly #network: Network;
  readonly #maxMs: number;
  /** The age of the cut before, in milliseconds; 0: none. */
  #lastCut = 0;
  /** Polls in a row that were held to their end. */
  #kept = 0;

  constructor(network: Network, maxMs: number) {
    this.#network = network;
    this.#maxMs = maxMs;
  }

  /** Notes that a poll was cut at this age, in milliseconds. Two at a similar age shorten the hold. */
  cut(age: number): void {
    this.#kept = 0;
    const similar = this.#lastCut > 0 && age < SIMILAR * this.#lastCut && this.#lastCut < SIMILAR * age;
    this.#lastCut = similar ? 0 : age;
    if (similar && age >= MIN_HOLD) this.#network.holdMs = Math.round(Math.min(this.#network.holdMs, Math.max(MIN_HOLD, SHORTER * age)));
  }

  /** Notes that a poll was answered at its hold's end. */
  kept(): void {
    if (++this.#kept < KEPT_BEFORE_LONGER) return;
    this.#kept = 0;
    this.#network.holdMs = Math.round(Math.min(this.#maxMs, LONGER * this.#network.holdMs));
  }
}
