import {
  type Batch,
  type Close,
  type Frame,
  FRAME_COST,
  MAX_FRAGMENT,
  TYPE_CANCEL,
  TYPE_CLOSE,
  TYPE_MESSAGE,
  TYPE_OPEN,
  TYPE_WINDOW,
} from "../wire/batch.js";
import type { Stream } from "./stream.js";
import { FRAME_OVERHEAD, MAX_FRAMES_PER_BATCH, SMALLEST_CUT } from "./limits.js";

/** Which link a frame went with. */
export interface Carriage {
  x: number;
  ws: boolean;
}

/** A frame that has no number yet. */
export type Unsent = Partial<Frame> & { type: number };

/** A frame that was sent and not acked. */
interface SentFrame {
  frame: Frame;
  cost: number;
  /** The link that it was last sent on. */
  on: Carriage;
  /** When, on the session's clock. */
  at: number;
  /** Outbox.delivered at that time. */
  tag: number;
  /** To be sent again. */
  lost: boolean;
  /** Sent once only: fit for measuring. */
  once: boolean;
}

/** A message on its way out, cut into fragments as it is sent. */
export interface OutMessage {
  bytes: Uint8Array;
  /** Bytes that went into fragments. */
  cut: number;
  started: boolean;
}

/** Outbox is a session's only send queue. It keeps each frame until acked (D2). */
export class Outbox {
  /** Most bytes sent and not acked. */
  window: number = 1 << 20;
  /** The highest seq that was acked. */
  acked = 0;
  /** Cost of all that was ever acked. */
  delivered = 0;
  /** Streams whose CANCEL is unsent. */
  readonly cancels: number[] = [];
  /** Streams whose WINDOW is unsent. */
  readonly grants: Stream[] = [];
  /** Streams with something to send, in turn. */
  readonly turn: Stream[] = [];
  /** The code of the unsent CLOSE, if there is one. */
  readonly closing: number[] = [];

  /** What was sent and not acked, in order. */
  readonly sent: SentFrame[] = [];

  /** Called before a stream's OPEN is first sent, to number the stream. */
  readonly #number: (stream: Stream, open: Unsent) => void;
  /** What fill puts frames into, for which link and when, and how much room batch and link still have. */
  #batch: Frame[] = [];
  #on: Carriage = { x: 0, ws: false };
  #now = 0;
  #max = 0;
  #room = 0;
  #flying = 0;
  #lost = 0;

  constructor(number: (stream: Stream, open: Unsent) => void) {
    this.#number = number;
  }

  /** The highest seq that was sent. */
  get lastSeq(): number {
    return this.acked + this.sent.length;
  }

  /** Tells whether a link would find something to send. */
  get sendable(): boolean {
    if (this.#lost > 0 || this.cancels.length > 0 || this.grants.length > 0) return true;
    return (this.turn.length > 0 || this.closing.length > 0) && this.#flying < this.window;
  }

  /**
   * Drops the frames up to seq, which the peer has taken. Returns false if that
   * many were never sent (D1). measured is called for frames fit for measuring.
   */
  ack(seq: number, measured: (sentAt: number, deliveredSince: number) => void): boolean {
    if (seq > this.lastSeq) return false;
    for (; this.acked < seq; this.acked++) {
      const f = this.sent.shift()!;
      this.#flying -= f.cost;
      this.delivered += f.cost;
      if (f.lost) this.#lost--;
      if (f.once && f.on.ws) measured(f.at, this.delivered - f.tag);
    }
    return true;
  }

  /** Makes every unacked frame be sent again whose last carriage is gone. */
  markLost(gone: (on: Carriage, at: number) => boolean): void {
    for (const f of this.sent) {
      if (f.lost || !gone(f.on, f.at)) continue;
      f.lost = true;
      this.#lost++;
    }
  }

  /**
   * Puts into the batch what is to be sent, in the order of rule W5: lost
   * frames, CANCEL, WINDOW, then streams in turn, and CLOSE last. max: bytes of
   * frames in the batch; room: cost that the link may still have in flight.
   */
  fill(batch: Batch, on: Carriage, now: number, max: number, room: number): void {
    this.#batch = batch.frames;
    this.#on = on;
    this.#now = now;
    this.#max = max;
    this.#room = room;
    void (
      this.#again() &&
      this.#each(this.cancels, (stream) => ({ stream, type: TYPE_CANCEL })) &&
      this.#each(this.grants, ({ id, incoming }) => ({ stream: id, type: TYPE_WINDOW, limit: incoming.granted() })) &&
      this.#streams() &&
      this.#each(this.closing, (code) => ({ type: TYPE_CLOSE, close: { code } as Close }))
    );
    this.#batch = []; // which is not this one's to keep
  }

  /** Those that the peer must take next need no room: what fills the link cannot be acked before them. */
  #again(): boolean {
    let gap = true;
    for (let i = 0; this.#lost > 0; i++) {
      const s = this.sent[i]!;
      gap &&= s.lost;
      if (!s.lost) continue;
      if (!this.#fits(s.cost) && !(gap && this.#holds(s.cost))) return false;
      s.lost = s.once = false;
      this.#lost--;
      this.#carry(s);
    }
    return true;
  }

  /** Sends a frame for each element of a list, and takes that out. */
  #each<T>(list: T[], frame: (element: T) => Unsent): boolean {
    while (list.length > 0) {
      if (!this.#fits(FRAME_COST)) return false;
      this.#put(frame(list.shift()!));
    }
    return true;
  }

  /** Serves the streams in turn, one frame each. */
  #streams(): boolean {
    while (this.turn[0]) {
      const stream = this.turn[0];
      if (stream.outgoing.hasCredit()) {
        if (!this.#one(stream)) return false;
        this.turn.push(stream);
      } else {
        stream.outgoing.inTurn = false;
      }
      this.turn.shift();
    }
    return true;
  }

  /** Sends one frame of a stream; false if batch, link or session's window has no room for it. */
  #one(stream: Stream): boolean {
    const { outgoing } = stream;
    const item = outgoing.queue[0]!;
    if (!("type" in item)) return this.#fragment(stream, item);
    const cost = costOf(item);
    if ((this.#flying > 0 && this.#flying + cost > this.window) || !this.#fits(cost)) return false; // D2; one is always allowed
    outgoing.queue.shift();
    if (item.type === TYPE_OPEN) this.#number(stream, item);
    item.stream = stream.id;
    this.#put(item);
    return true;
  }

  /** Cuts the next fragment off a message and sends it. */
  #fragment(stream: Stream, message: OutMessage): boolean {
    const { bytes, cut, started } = message;
    const wanted = Math.min(bytes.length - cut, MAX_FRAGMENT, stream.outgoing.credit());
    const room = this.#flying === 0 && this.#empty ? Infinity : Math.min(this.#room, this.window - this.#flying) - FRAME_COST;
    const free = Math.min(room, this.#empty ? Math.max(this.#max, SMALLEST_CUT) : this.#max - FRAME_OVERHEAD);
    if (free < Math.min(wanted, SMALLEST_CUT) || this.#full) return false;
    const n = Math.min(wanted, free);
    stream.outgoing.cutOff(message, n);
    this.#put({ stream: stream.id, type: TYPE_MESSAGE, data: bytes.subarray(cut, cut + n), ...(!started && { length: bytes.length }) });
    return true;
  }

  /** Sends a new frame, which gets its seq now (W5). */
  #put(unsent: Unsent): void {
    const frame: Frame = { stream: 0, ...unsent, seq: this.lastSeq + 1 };
    const cost = costOf(frame);
    this.#flying += cost;
    const sent: SentFrame = { frame, cost, on: this.#on, at: 0, tag: 0, lost: false, once: true };
    this.sent.push(sent);
    this.#carry(sent);
  }

  get #empty(): boolean {
    return this.#batch.length === 0;
  }

  get #full(): boolean {
    return this.#batch.length >= MAX_FRAMES_PER_BATCH;
  }

  /** A link that has any room takes one frame, however large. */
  #fits(cost: number): boolean {
    return this.#empty ? this.#room > 0 : cost <= this.#room && this.#holds(cost);
  }

  /** Tells whether the batch itself has room. */
  #holds(cost: number): boolean {
    return this.#empty || (!this.#full && cost + FRAME_OVERHEAD <= this.#max);
  }

  #carry(sent: SentFrame): void {
    sent.on = this.#on;
    sent.at = this.#now;
    sent.tag = this.delivered;
    this.#room -= sent.cost;
    this.#max -= sent.cost + FRAME_OVERHEAD;
    this.#batch.push(sent.frame);
  }
}

/** What a frame counts in windows (D2). */
function costOf({ open, data }: Unsent): number {
  let cost = FRAME_COST + (open?.method ?? data ?? "").length;
  for (const { key, value } of open?.metadata ?? []) cost += FRAME_COST + key.length + value.length;
  return cost;
}
