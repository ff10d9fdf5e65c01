import { TIMEOUT } from "./limits.js";

interface Wish {
  length: number;
  ready: () => void;
}

/**
 * Reassembly is a session's budget for messages larger than their stream's
 * window that are being put together: first come, first served (D4).
 */
export class Reassembly {
  readonly #size: number;
  #used = 0;
  #waiting: Wish[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  /**
   * Calls ready once there is room for length bytes, or late when there is none
   * in time. Returns what gives the room back, or takes the wish back.
   */
  reserve(length: number, ready: () => void, late: () => void): () => void {
    const timer = setTimeout(late, TIMEOUT);
    const wish = {
      length,
      ready: () => {
        clearTimeout(timer);
        this.#used += length;
        ready();
      },
    };
    this.#waiting.push(wish);
    this.#serve();
    return () => {
      clearTimeout(timer);
      if (!this.#waiting.includes(wish)) this.#used -= wish.length;
      wish.length = 0; // given back once
      this.#waiting = this.#waiting.filter((w) => w !== wish);
      this.#serve();
    };
  }

  #serve(): void {
    while (this.#waiting[0] && (this.#used === 0 || this.#used + this.#waiting[0].length <= this.#size)) this.#waiting.shift()!.ready();
  }
}
