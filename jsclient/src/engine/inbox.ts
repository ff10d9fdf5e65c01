import { type Frame, FRAME_COST } from "../wire/batch.js";

/** Most that is kept ahead of order, in frames and in bytes: all but one of the bodies that may be in flight (D1). */
const MAX_AHEAD_FRAMES = 7 << 10;
const MAX_AHEAD_BYTES = 7 << 20;

/** Inbox puts frames in order and drops what comes twice (D1). */
export class Inbox {
  /** The ack: every frame up to it was taken. */
  taken = 0;
  /** Cost of the frames received since the last ack was sent. */
  ackPending = 0;
  /** When that was, on the session's clock. */
  ackedAt = 0;
  readonly #ahead: Map<number, Frame> = new Map();
  #aheadBytes = 0;
  /** The highest seq that was dropped for lack of room. */
  #dropped = 0;

  /** Reports whether something was dropped and has not come again. */
  get hasGap(): boolean {
    return this.taken < this.#dropped;
  }

  /** Takes a frame in and yields every frame that is now next in order. */
  *accept(frame: Frame): Iterable<Frame> {
    this.ackPending += sizeOf(frame) + FRAME_COST;
    this.#keep(frame);
    for (let next = this.#next(); next; next = this.#next()) yield next;
  }

  /** Keeps a frame until those before it were taken; drops a duplicate, and what is ahead of order and has no room. */
  #keep(frame: Frame): void {
    if (frame.seq <= this.taken || this.#ahead.has(frame.seq)) return;
    const full = this.#ahead.size >= MAX_AHEAD_FRAMES || this.#aheadBytes + sizeOf(frame) > MAX_AHEAD_BYTES;
    if (full && frame.seq > this.taken + 1) {
      this.#dropped = Math.max(this.#dropped, frame.seq);
      return;
    }
    this.#ahead.set(frame.seq, frame);
    this.#aheadBytes += sizeOf(frame);
  }

  #next(): Frame | undefined {
    const frame = this.#ahead.get(this.taken + 1);
    if (!frame) return undefined;
    this.#ahead.delete(++this.taken);
    this.#aheadBytes -= sizeOf(frame);
    return frame;
  }
}

function sizeOf(frame: Frame): number {
  return frame.data?.length ?? 0;
}
