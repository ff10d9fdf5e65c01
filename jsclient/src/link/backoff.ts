/** Waits in milliseconds: the first retry comes at once or soon, then they grow with full jitter. */
const SOON = 250;
const LEAST = 100;
const GROWTH = 1.6;
const MOST = 5_000;
const MOST_IDLE = 30_000;

/** Backoff says how long to wait before a failed link is tried again. */
export class Backoff {
  #failures = 0;

  /** Called after each failure. atOnce: the link had worked for a while. idle: nobody waits for it. */
  next(atOnce: boolean, idle: boolean): number {
    const n = this.#failures++;
    if (n === 0) return atOnce ? 0 : Math.random() * SOON;
    return Math.random() * Math.min(idle ? MOST_IDLE : MOST, LEAST * GROWTH ** n);
  }

  reset(): void {
    this.#failures = 0;
  }
}

/** Empties says how long to wait after exchanges that were answered early and brought nothing (L7). */
export class Empties {
  #row = 0;

  next(): number {
    const n = this.#row++;
    return n === 0 ? 0 : Math.random() * Math.min(MOST, LEAST * 2 ** (n - 1));
  }

  reset(): void {
    this.#row = 0;
  }
}
