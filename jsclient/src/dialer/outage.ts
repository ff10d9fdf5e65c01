/** Outage is what a session without a link that works knows of its tries. Times are in milliseconds since 1970. */
export interface Outage {
  /** When the first link failed. */
  readonly since: number;
  /** Number of the try that is to come or under way: 1 for the first since then. */
  readonly attempt: number;
  /** When that one is made; not after now: it is under way. */
  readonly nextTryAt: number;
}

/** Tries counts how often a link was tried since none works. */
export class Tries {
  /** Since when none works, on the session's clock; undefined: one does, or none has failed yet. */
  #since: number | undefined;
  #attempt = 0;
  #nextTryAt = 0;

  /** Notes that a link has failed; the next try is made after so many milliseconds. What fails with others, before the next try is made, is one try. */
  failed(now: number, nextTryIn: number): void {
    this.#since ??= now;
    if (now >= this.#nextTryAt) this.#attempt++;
    this.#nextTryAt = now + nextTryIn;
  }

  /** Notes that a link works. */
  answered(): void {
    this.#since = undefined;
    this.#attempt = this.#nextTryAt = 0;
  }

  /** Returns what is known, in times of the wall clock; undefined: a link works, or none has failed yet. */
  outage(now: number, nextTryIn: number): Outage | undefined {
    if (this.#since === undefined) return undefined;
    const wall = Date.now();
    return { since: wall - (now - this.#since), attempt: this.#attempt, nextTryAt: wall + nextTryIn };
  }
}
