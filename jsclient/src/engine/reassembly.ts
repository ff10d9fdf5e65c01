/** Bounds the wait for room, in milliseconds (D4). */
const ROOM_TIMEOUT = 10_000;

/** A message that waits for room. */
interface Waiter {
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
  #waiting: Waiter[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  /**
   * Calls ready once there is room for length bytes, or timedOut when there is
   * none in time. Returns what gives the room back, or ends the wait for it.
   */
  reserve(length: number, ready: () => void, timedOut: () => void): () => void {
    const timer = setTimeout(timedOut, ROOM_TIMEOUT);
    const waiter = {
      length,
      ready: () => {
        clearTimeout(timer);
        this.#used += length;
        ready();
      },
    };
    this.#waiting.push(waiter);
    this.#serve();
    return () => {
      clearTimeout(timer);
      if (!this.#waiting.includes(waiter)) this.#used -= waiter.length;
      waiter.length = 0; // given back once
      this.#waiting = this.#waiting.filter((w) => w !== waiter);
      this.#serve();
    };
  }

  #serve(): void {
    while (this.#waiting[0] && (this.#used === 0 || this.#used + this.#waiting[0].length <= this.#size)) this.#waiting.shift()!.ready();
  }
}
