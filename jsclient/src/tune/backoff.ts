/** How long a channel waits before it tries again what failed, in milliseconds; each wait is a random one up to that. */
export interface BackoffOptions {
  /** The second wait; each is 1.6 times longer. The first is up to 250 ms, or none. Default: 100. */
  leastMs?: number | undefined;
  /** The longest wait while an RPC is open. Default: 5,000. */
  mostMs?: number | undefined;
  /** The longest wait while none is, and after three failures at once in a row. Default: 30,000. */
  idleMs?: number | undefined;
}

/** Backoff spaces out attempts after failures, with full jitter. */
export class Backoff {
  readonly #growth: number;
  readonly #firstMs: number;
  readonly #options: BackoffOptions;
  #failures = 0;

  /** The first wait is up to firstMs; later ones grow by a factor. */
  constructor(growth: number, firstMs: number, options: BackoffOptions = {}) {
    this.#growth = growth;
    this.#firstMs = firstMs;
    this.#options = options;
  }

  /** Returns the next wait, in milliseconds. atOnce: the first is none. idle: nobody waits for it, so that later ones may be longer. */
  next(atOnce = false, idle = false): number {
    const n = this.#failures++;
    const { leastMs = 100, mostMs = 5_000, idleMs = 30_000 } = this.#options;
    const max = n > 0 ? Math.min(idle ? idleMs : mostMs, leastMs * this.#growth ** (n - 1)) : atOnce ? 0 : this.#firstMs;
    return Math.random() * max;
  }

  /** Forgets the failures. */
  reset(): void {
    this.#failures = 0;
  }
}

/** Returns the Backoff for links that failed. */
export function newRetry(options?: BackoffOptions): Backoff {
  return new Backoff(1.6, 250, options);
}
