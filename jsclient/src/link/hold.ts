/** Times in milliseconds. */
const LEAST = 5_000;
/** The least that a bridge is taken at its word for. */
const LEAST_STATED = 1_000;
/** Two cuts within this factor of each other are at a similar age. */
const SIMILAR = 1.3;
const SHORTER = 0.7;
const LONGER = 1.2;
const CLEAN = 20;

/** Hold learns how long a poll may be held on this network before something on the way cuts it. */
export class Hold {
  readonly #most: number;
  #now: number;
  #lastCut = 0;
  #clean = 0;

  constructor(most: number) {
    this.#most = this.#now = most;
  }

  /** How long the next poll may be held. */
  get now(): number {
    return this.#now;
  }

  /** Takes the shorter of its own and the bridge's longest hold. */
  limit(most: number): void {
    this.#now = Math.min(this.#now, Math.max(most, LEAST_STATED));
  }

  /** A poll failed at this age. */
  cut(age: number): void {
    this.#clean = 0;
    const similar = this.#lastCut > 0 && age < SIMILAR * this.#lastCut && this.#lastCut < SIMILAR * age;
    this.#lastCut = similar ? 0 : age;
    if (similar && age >= LEAST) this.#now = Math.min(this.#now, Math.max(LEAST, SHORTER * age));
  }

  /** A poll was answered. */
  answered(): void {
    if (++this.#clean < CLEAN) return;
    this.#clean = 0;
    this.#now = Math.min(this.#most, LONGER * this.#now);
  }
}
