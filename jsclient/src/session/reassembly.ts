import { bridgeEnd } from "./errors.js";
import type { Stream } from "./stream.js";
import { RESOURCE_EXHAUSTED, TIMEOUT } from "./limits.js";

interface Waiting {
  stream: Stream;
  length: number;
  ready: () => void;
  timer: ReturnType<typeof setTimeout>;
}

/**
 * Reassembly is a session's budget for messages larger than their stream's
 * window that are being put together: first come, first served (D4).
 */
export class Reassembly {
  readonly #size: number;
  #used = 0;
  #waiting: Waiting[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  /** Calls ready once there is room for length bytes; ends the RPC when there is none in time. */
  reserve(stream: Stream, length: number, ready: () => void): void {
    const timer = setTimeout(() => {
      const message = `no room for ${length} bytes within ${TIMEOUT} ms`;
      stream.giveUp(bridgeEnd(RESOURCE_EXHAUSTED, "limit", message));
    }, TIMEOUT);
    this.#waiting.push({ stream, length, ready, timer });
    this.#serve();
  }

  /** Gives n bytes back. */
  give(n: number): void {
    if (n === 0) return;
    this.#used -= n;
    this.#serve();
  }

  /** Takes back the wish of a stream that is over. */
  withdraw(stream: Stream): void {
    const mine = this.#waiting.find((w) => w.stream === stream);
    if (!mine) return;
    clearTimeout(mine.timer);
    this.#waiting = this.#waiting.filter((w) => w !== mine);
    this.#serve();
  }

  #serve(): void {
    for (let w = this.#waiting[0]; w; w = this.#waiting[0]) {
      if (this.#used > 0 && this.#used + w.length > this.#size) return;
      clearTimeout(w.timer);
      this.#waiting.shift();
      this.#used += w.length;
      w.ready();
    }
  }
}
