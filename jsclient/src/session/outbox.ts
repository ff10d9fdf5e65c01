import {
  type Batch,
  type Close,
  type Frame,
  FRAME_COST,
  MAX_FRAGMENT,
  type Metadatum,
  TYPE_CANCEL,
  TYPE_CLOSE,
  TYPE_MESSAGE,
  TYPE_OPEN,
  TYPE_WINDOW,
} from "../wire/batch.js";
import { Queue } from "./queue.js";
import type { Stream } from "./stream.js";
import { FRAME_OVERHEAD, MAX_FRAMES_PER_BATCH, SMALLEST_CUT } from "./limits.js";

/** Which link a frame went with. */
export interface Carriage {
  x: number;
  ws: boolean;
}

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

/** What a link can take. */
export interface Allowance {
  /** Bytes of frames in the batch. */
  max: number;
  /** Cost that the link may still have in flight. */
  room: number;
}

/** Outbox is a session's only send queue. It keeps each frame until acked (D2). */
export class Outbox {
  /** Most bytes sent and not acked. */
  window: number = 1 << 20;
  /** Cost of all that was ever acked. */
  delivered = 0;
  /** Streams whose CANCEL is unsent. */
  readonly cancels: number[] = [];
  /** Streams whose WINDOW is unsent. */
  readonly grants: Stream[] = [];
  /** Streams with something to send, in turn. */
  readonly turn: Queue<Stream> = new Queue();
  /** The unsent CLOSE. */
  closing: Close | undefined;

  /** Called before a stream's OPEN is first sent, to number the stream. */
  readonly #number: (stream: Stream, open: Frame) => void;
  readonly #sent: Queue<SentFrame> = new Queue();
  #acked = 0;
  #flying = 0;
  #lost = 0;
  #socketX = 0;
  #socketFlying = 0;

  constructor(number: (stream: Stream, open: Frame) => void) {
    this.#number = number;
  }

  /** The highest seq that was sent. */
  get lastSeq(): number {
    return this.#acked + this.#sent.length;
  }

  get acked(): number {
    return this.#acked;
  }

  /** When the oldest unacked frame was last sent; Infinity: there is none. */
  get oldest(): number {
    return this.#sent.at(0)?.at ?? Infinity;
  }

  /** Tells whether a link would find something to send. */
  get sendable(): boolean {
    if (this.#lost > 0 || this.cancels.length > 0 || this.grants.length > 0) return true;
    return (this.turn.length > 0 || this.closing !== undefined) && this.#flying < this.window;
  }

  /** Cost of the frames last sent on WebSocket x and not acked. */
  flyingOn(x: number): number {
    return x === this.#socketX ? this.#socketFlying : 0;
  }

  /** Counts a frame in (1) or out (-1) of what flies on the WebSocket. */
  #count(f: SentFrame, sign: number): void {
    if (!f.on.ws || f.lost) return;
    if (f.on.x > this.#socketX) {
      this.#socketX = f.on.x;
      this.#socketFlying = 0;
    }
    if (f.on.x === this.#socketX) this.#socketFlying += sign * f.cost;
  }

  /**
   * Drops the frames up to seq, which the peer has taken. Returns false if that
   * many were never sent (D1). measured is called for frames fit for measuring.
   */
  ack(seq: number, measured: (sentAt: number, deliveredSince: number) => void): boolean {
    if (seq > this.lastSeq) return false;
    while (this.#acked < seq) {
      const f = this.#sent.shift()!;
      this.#acked++;
      this.#flying -= f.cost;
      this.delivered += f.cost;
      this.#count(f, -1);
      if (f.lost) this.#lost--;
      if (f.once && f.on.ws) measured(f.at, this.delivered - f.tag);
    }
    return true;
  }

  /** Makes every unacked frame be sent again whose last carriage is gone. */
  markLost(gone: (on: Carriage, at: number) => boolean): void {
    for (let i = 0; i < this.#sent.length; i++) {
      const f = this.#sent.at(i)!;
      if (f.lost || !gone(f.on, f.at)) continue;
      this.#count(f, -1);
      f.lost = true;
      this.#lost++;
    }
  }

  /**
   * Puts into the batch what is to be sent, in the order of rule W5: lost
   * frames, CANCEL, WINDOW, then streams in turn, and CLOSE last.
   */
  fill(batch: Batch, on: Carriage, now: number, allowance: Allowance): void {
    const f = new Filler(batch, on, now, allowance);
    void (this.#again(f) && this.#cancels(f) && this.#grants(f) && this.#streams(f) && this.#close(f));
  }

  /** Those that the peer must take next need no room: what fills the link cannot be acked before them. */
  #again(f: Filler): boolean {
    let gap = true;
    for (let i = 0; this.#lost > 0 && i < this.#sent.length; i++) {
      const s = this.#sent.at(i)!;
      gap &&= s.lost;
      if (!s.lost) continue;
      if (!f.fits(s.cost) && !(gap && f.holds(s.cost))) return false;
      s.lost = s.once = false;
      this.#lost--;
      f.put(s, this.delivered);
      this.#count(s, 1);
    }
    return true;
  }

  #cancels(f: Filler): boolean {
    while (this.cancels.length > 0) {
      if (!f.fits(FRAME_COST)) return false;
      this.#put(f, { seq: 0, stream: this.cancels.shift()!, type: TYPE_CANCEL });
    }
    return true;
  }

  #grants(f: Filler): boolean {
    while (this.grants.length > 0) {
      if (!f.fits(FRAME_COST)) return false;
      const stream = this.grants.shift()!;
      this.#put(f, { seq: 0, stream: stream.id, type: TYPE_WINDOW, limit: stream.incoming.granted() });
    }
    return true;
  }

  /** Serves the streams in turn, one frame each. */
  #streams(f: Filler): boolean {
    for (let stream = this.turn.at(0); stream; stream = this.turn.at(0)) {
      if (!stream.outgoing.hasCredit()) {
        this.turn.shift();
        stream.outgoing.inTurn = false;
        continue;
      }
      if (!this.#one(f, stream)) return false;
      this.turn.shift();
      this.turn.push(stream);
    }
    return true;
  }

  /** Sends one frame of a stream; false if batch, link or session's window has no room for it. */
  #one(f: Filler, stream: Stream): boolean {
    const item = stream.outgoing.queue.at(0)!;
    if (!("type" in item)) return this.#fragment(f, stream, item);
    const cost = payloadOf(item) + FRAME_COST;
    if (!this.#affordable(cost) || !f.fits(cost)) return false;
    stream.outgoing.queue.shift();
    if (item.type === TYPE_OPEN) this.#number(stream, item);
    item.stream = stream.id;
    this.#put(f, item);
    return true;
  }

  /** Cuts the next fragment off a message and sends it. */
  #fragment(f: Filler, stream: Stream, message: OutMessage): boolean {
    const wanted = Math.min(message.bytes.length - message.cut, MAX_FRAGMENT, stream.outgoing.credit());
    const room = this.#flying === 0 && f.empty ? Infinity : Math.min(f.room, this.window - this.#flying) - FRAME_COST;
    const free = Math.min(room, f.empty ? Math.max(f.max, SMALLEST_CUT) : f.max - FRAME_OVERHEAD);
    if (free < 0 || f.full || (free < wanted && free < SMALLEST_CUT)) return false;
    const n = Math.min(wanted, free);
    const frame: Frame = { seq: 0, stream: stream.id, type: TYPE_MESSAGE, data: message.bytes.subarray(message.cut, message.cut + n) };
    if (!message.started) frame.length = message.bytes.length;
    stream.outgoing.cutOff(message, n);
    this.#put(f, frame);
    return true;
  }

  #close(f: Filler): boolean {
    if (!this.closing || !f.fits(FRAME_COST)) return false;
    this.#put(f, { seq: 0, stream: 0, type: TYPE_CLOSE, close: this.closing });
    this.closing = undefined;
    return true;
  }

  /** Tells whether the session's window allows a frame (D2). One is always allowed when nothing is in flight. */
  #affordable(cost: number): boolean {
    return this.#flying === 0 || this.#flying + cost <= this.window;
  }

  /** Sends a new frame, which gets its seq now (W5). */
  #put(f: Filler, frame: Frame): void {
    frame.seq = this.lastSeq + 1;
    const cost = payloadOf(frame) + FRAME_COST;
    this.#flying += cost;
    const sent: SentFrame = { frame, cost, on: f.on, at: f.now, tag: this.delivered, lost: false, once: true };
    this.#sent.push(sent);
    f.put(sent, this.delivered);
    this.#count(sent, 1);
  }
}

/** Filler counts what goes into one batch for one link. */
class Filler {
  readonly on: Carriage;
  readonly now: number;
  max: number;
  room: number;
  readonly #batch: Batch;

  constructor(batch: Batch, on: Carriage, now: number, allowance: Allowance) {
    this.#batch = batch;
    this.on = on;
    this.now = now;
    this.max = allowance.max;
    this.room = allowance.room;
  }

  get empty(): boolean {
    return this.#batch.frames.length === 0;
  }

  get full(): boolean {
    return this.#batch.frames.length >= MAX_FRAMES_PER_BATCH;
  }

  /** A link that has any room takes one frame, however large. */
  fits(cost: number): boolean {
    return this.empty ? this.room > 0 : cost <= this.room && this.holds(cost);
  }

  /** Tells whether the batch itself has room. */
  holds(cost: number): boolean {
    return this.empty || (!this.full && cost + FRAME_OVERHEAD <= this.max);
  }

  put(sent: SentFrame, delivered: number): void {
    sent.on = this.on;
    sent.at = this.now;
    sent.tag = delivered;
    this.room -= sent.cost;
    this.max -= sent.cost + FRAME_OVERHEAD;
    this.#batch.frames.push(sent.frame);
  }
}

/** What a frame counts beside FRAME_COST (D2). */
function payloadOf(frame: Frame): number {
  if (frame.open) return frame.open.method.length + metadataSize(frame.open.metadata);
  return frame.data?.length ?? 0;
}

function metadataSize(metadata: Metadatum[]): number {
  return metadata.reduce((n, m) => n + m.key.length + m.value.length + FRAME_COST, 0);
}
