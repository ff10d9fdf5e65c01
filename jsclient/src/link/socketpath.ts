import type { Estimator } from "../session/estimator.js";
import { MEMORY, MIN_FLIGHT } from "../session/limits.js";
import type { Outbox } from "../session/outbox.js";
import { BATCH_MOST } from "./limits.js";

/** SocketPath is what a session's WebSockets have learnt of the path, one after the other. */
export class SocketPath {
  /** Bytes per millisecond, the best of late; 0: not measured yet. */
  rate = 0;
  /** Most bytes of a batch: halved when one breaks. */
  batch: number = BATCH_MOST;
  /** WebSockets in doubt since the last pong. */
  doubts = 0;
  readonly #path: Estimator;
  #rateAt = 0;

  constructor(path: Estimator) {
    this.#path = path;
  }

  /** Takes how many bytes were acked in how long, in milliseconds. */
  delivered(now: number, bytes: number, elapsed: number): void {
    this.#path.rtt(now, elapsed);
    if (elapsed <= 0) return;
    const rate = bytes / elapsed;
    if (rate < this.rate && now - this.#rateAt <= MEMORY) return;
    this.rate = rate;
    this.#rateAt = now;
  }

  /** Most bytes that should be in flight, so that no kernel's buffer becomes the queue. */
  bound(): number {
    return Math.max(MIN_FLIGHT, Math.floor(2 * this.rate * this.#path.least));
  }
}

/** Cost of the frames last sent on link x and not acked. */
export function flying({ sent }: Outbox, x: number): number {
  return sent.reduce((n, f) => (f.on.x === x && !f.lost ? n + f.cost : n), 0);
}
