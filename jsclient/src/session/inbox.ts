import { type Frame, FRAME_COST } from "../wire/batch.js";
import { MAX_AHEAD_BYTES, MAX_AHEAD_FRAMES } from "./limits.js";

/** Inbox takes frames in order, each once (D1). */
export class Inbox {
  /** The ack: every frame up to it was taken. */
  taken = 0;
  /** Cost of the frames received since the last ack was sent. */
  owed = 0;
  readonly #ahead: Map<number, Frame> = new Map();
  #aheadBytes = 0;
  #dropped = 0;

  /** Something was dropped and has not come again: ask for it. */
  get lacks(): boolean {
    return this.taken < this.#dropped;
  }

  /** Takes a frame in and gives every frame that is now next in order. */
  *accept(frame: Frame): Iterable<Frame> {
    this.owed += sizeOf(frame) + FRAME_COST;
    if (frame.seq !== this.taken + 1) {
      this.#keep(frame);
      return;
    }
    let next: Frame | undefined = frame;
    while (next) {
      this.taken++;
      yield next;
      next = this.#release(this.taken + 1);
    }
  }

  /** Keeps a frame that is ahead of order; drops a duplicate, and what there is no room for. */
  #keep(frame: Frame): void {
    if (frame.seq <= this.taken || this.#ahead.has(frame.seq)) return;
    if (this.#ahead.size >= MAX_AHEAD_FRAMES || this.#aheadBytes + sizeOf(frame) > MAX_AHEAD_BYTES) {
      this.#dropped = Math.max(this.#dropped, frame.seq);
      return;
    }
    this.#ahead.set(frame.seq, frame);
    this.#aheadBytes += sizeOf(frame);
  }

  #release(seq: number): Frame | undefined {
    const frame = this.#ahead.get(seq);
    if (!frame) return undefined;
    this.#ahead.delete(seq);
    this.#aheadBytes -= sizeOf(frame);
    return frame;
  }
}

function sizeOf(frame: Frame): number {
  return frame.data?.length ?? 0;
}
