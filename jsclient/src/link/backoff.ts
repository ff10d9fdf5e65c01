/** Waits grow from the second on, with full jitter, up to a limit. In milliseconds. */
const LEAST = 100;
const MOST = 5_000;
const MOST_IDLE = 30_000;

/** Backoff says how long to wait before something is tried again. */
export class Backoff {
  readonly #growth: number;
  readonly #soon: number;
  #times = 0;

  /** The first wait is a random one up to soon; later ones grow by a factor. */
  constructor(growth: number, soon: number) {
    this.#growth = growth;
    this.#soon = soon;
  }

  /** The next wait. atOnce: the first is none. idle: nobody waits for it, so that later ones may be longer. */
  next(atOnce = false, idle = false): number {
    const n = this.#times++;
    const most = n > 0 ? Math.min(idle ? MOST_IDLE : MOST, LEAST * this.#growth ** (n - 1)) : atOnce ? 0 : this.#soon;
    return Math.random() * most;
  }

  reset(): void {
    this.#times = 0;
  }
}

/** Backoff after failures. */
export function newRetry(): Backoff {
  return new Backoff(1.6, 250);
}
