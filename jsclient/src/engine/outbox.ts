import {
  type Close,
  type Frame,
  FRAME_COST,
  MAX_FRAGMENT,
  metadataSize,
  TYPE_CANCEL,
  TYPE_CLOSE,
  TYPE_MESSAGE,
  TYPE_OPEN,
  TYPE_WINDOW,
} from "../wire/batch.js";
import { MIN_UP } from "../tune/network.js";
import type { LinkID } from "./link.js";
import type { Stream } from "./stream.js";

const MAX_FRAMES_PER_BATCH = 1024;
/** The fewest bytes worth cutting off a longer message to fill a batch; and for one of its own, which is short on every network. */
const SMALLEST_CUT = 1 << 10;
const SMALLEST_PIECE = 512;
/** The most bytes cut off once a longer part was lost, before longer batches have got through: a part of a message is never cut anew once it has its number. */
const FIRST_PIECE = 4 << 10;
/** Bounds what a frame's encoding adds to its payload, in bytes. */
const FRAME_OVERHEAD = 48;

/** A frame that has no number yet. */
export type Unsent = Partial<Frame> & { type: number };

/** A frame that was sent and not acked. */
interface SentFrame {
  frame: Frame;
  cost: number;
  /** The link that it was last sent on. */
  on: LinkID;
  /** When, on the session's clock. */
  at: number;
  /** What had been acked last at that time. */
  then: Delivery;
  /** To be sent again. */
  lost: boolean;
  /** Sent once: fit for measuring. */
  once: boolean;
  /** Length of the batch whose last frame it was; 0: it was not the last. */
  ends: number;
  /** How often it was sent again, alone in a batch longer than any should be. */
  vain: number;
}

/** What was acked last: the cost of all that ever was, when it was acked, and when the last of it had been sent. */
interface Delivery {
  readonly sum: number;
  readonly at: number;
  readonly sentAt: number;
}

/** What got through on the latest lasting link on which something did. */
export interface Through {
  number: number;
  /** Cost of the frames that were acked. */
  acked: number;
  /** Length of the longest batch that was. */
  passed: number;
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
  /** Most bytes sent and not acked, now. */
  window: number = 1 << 20;
  /** The highest seq that was acked. */
  acked = 0;
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
  #latest: Delivery = { sum: 0, at: 0, sentAt: 0 };
  /** Cost of what was sent and not acked. */
  #inFlight = 0;
  /** How many frames are marked lost. */
  #lost = 0;
  /** What fill has put into the batch, for which link and when, and how much room batch and link still have. */
  #frames: Frame[] = [];
  #last: SentFrame | undefined;
  #through: Through = { number: 0, acked: 0, passed: 0 };
  /** Length of the longest batch that got through on links of each shape, since a long part of a message was lost there; Infinity: none was. */
  readonly #passed: Record<LinkID["kind"], number> = { oneShot: Infinity, lasting: Infinity };
  #on: LinkID = { number: 0, kind: "oneShot" };
  #now = 0;
  #max = 0;
  #room = 0;

  constructor(number: (stream: Stream, open: Unsent) => void) {
    this.#number = number;
  }

  /** The highest seq that was sent. */
  get lastSeq(): number {
    return this.acked + this.sent.length;
  }

  /** Reports whether a link would find something to send. */
  get sendable(): boolean {
    if (this.#lost > 0 || this.cancels.length > 0 || this.grants.length > 0) return true;
    return (this.turn.length > 0 || this.closing.length > 0) && this.#inFlight < this.window;
  }

  /** Reports whether something is to be sent that waits for nothing else to go with it. */
  get urgent(): boolean {
    return this.#lost + this.cancels.length + this.closing.length > 0;
  }

  /** How many bytes of messages wait for their turn. */
  get unsent(): number {
    return this.turn.reduce((n, { sendSide }) => n + sendSide.bytes, 0);
  }

  /**
   * Drops the frames up to seq, which the peer has taken. Returns false if fewer
   * were sent (D1). measured is called for frames fit for measuring, with what was
   * delivered since, and in what time: that of its acks or of its sending, whichever
   * is longer, because acks that come in bunches say nothing of the path's rate.
   */
  ack(seq: number, now: number, measured: (sentAt: number, cost: number, delivered: number, took: number) => void): boolean {
    if (seq > this.lastSeq) return false;
    for (; this.acked < seq; this.acked++) {
      const f = this.sent.shift()!;
      this.#inFlight -= f.cost;
      this.#latest = { sum: this.#latest.sum + f.cost, at: now, sentAt: f.at };
      this.#passed[f.on.kind] = Math.max(this.#passed[f.on.kind], f.ends);
      if (f.lost) this.#lost--;
      else if (f.on.kind === "lasting") this.#gotThrough(f);
      if (f.once && f.on.kind === "lasting") measured(f.at, f.cost, this.#latest.sum - f.then.sum, Math.max(now - f.then.at, f.at - f.then.sentAt));
    }
    return true;
  }

  /** Returns what was acked of the frames that were last sent on a lasting link. */
  throughOn(number: number): Through {
    return this.#through.number === number ? this.#through : { number, acked: 0, passed: 0 };
  }

  #gotThrough({ on, cost, ends }: SentFrame): void {
    if (on.number > this.#through.number) this.#through = { number: on.number, acked: 0, passed: 0 };
    if (on.number < this.#through.number) return;
    this.#through.acked += cost;
    this.#through.passed = Math.max(this.#through.passed, ends);
  }

  /** Notes the length of the batch that fill was called for, and how long it should be at most. */
  sentIn(length: number, limit: number): void {
    const last = this.#last!;
    last.ends = length;
    if (this.#frames.length === 1 && !last.once && length > limit) last.vain++;
  }

  /** Returns the length of the shortest batch on a link, of which nothing is acked, that is longer than so many bytes; 0: there is none. */
  shortestOn(number: number, longerThan: number): number {
    const lengths = this.sent.filter((f) => f.on.number === number && f.ends > longerThan).map((f) => f.ends);
    return lengths.length > 0 ? Math.min(...lengths) : 0;
  }

  /** Returns the cost of the frames that were last sent on a link and are not acked. */
  inFlightOn(number: number): number {
    return this.sent.reduce((n, f) => (f.on.number === number && !f.lost ? n + f.cost : n), 0);
  }

  /** Has every unacked frame sent again whose last link is gone. */
  markLost(gone: (on: LinkID, at: number) => boolean): void {
    for (const f of this.sent) {
      if (f.lost || !gone(f.on, f.at)) continue;
      f.lost = true;
      this.#lost++;
    }
  }

  /** Puts a CANCEL in the place of an unacked frame that does not get through, so that the peer can go on behind it. Returns the frame; undefined if it was acked, or is too short to be the cause. */
  replace(seq: number): Frame | undefined {
    const s = this.sent[seq - this.acked - 1];
    if (!s || s.cost <= MIN_UP) return undefined;
    const { frame } = s;
    this.#inFlight -= s.cost - FRAME_COST;
    s.cost = FRAME_COST;
    s.frame = { seq, stream: frame.stream, type: TYPE_CANCEL };
    return frame;
  }

  /**
   * Returns the frames to be sent in a batch, in the order of rule W5: lost
   * frames, CANCEL, WINDOW, then streams in turn, and CLOSE last. They count as
   * sent. max: bytes of frames in the batch; room: cost that the link may still
   * have in flight.
   */
  fill(on: LinkID, now: number, max: number, room: number): Frame[] {
    const frames: Frame[] = (this.#frames = []);
    this.#on = on;
    this.#now = now;
    this.#max = max;
    this.#room = room;
    void (
      this.#again() &&
      this.#each(this.cancels, (stream) => ({ stream, type: TYPE_CANCEL })) &&
      this.#each(this.grants, ({ id, recvSide }) => ({ stream: id, type: TYPE_WINDOW, limit: recvSide.granted() })) &&
      this.#streams() &&
      this.#each(this.closing, (code) => ({ type: TYPE_CLOSE, close: { code } as Close }))
    );
    return frames;
  }

  /** Sends lost frames again. Those that the peer must take next need no room: what fills the link cannot be acked before them. */
  #again(): boolean {
    let gap = true;
    for (let i = 0; this.#lost > 0; i++) {
      const s = this.sent[i]!;
      gap &&= s.lost;
      if (!s.lost) continue;
      if (!this.#fits(s.cost) && !(gap && this.#holds(s.cost))) return false;
      if ((s.frame.data?.length ?? 0) > FIRST_PIECE) this.#passed[this.#on.kind] = 0; // those to come may be too long
      s.lost = s.once = false;
      this.#lost--;
      this.#append(s);
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
      if (stream.sendSide.hasCredit()) {
        if (!this.#one(stream)) return false;
        this.turn.push(stream);
      } else {
        stream.sendSide.inTurn = false;
      }
      this.turn.shift();
    }
    return true;
  }

  /** Sends one frame of a stream; false if batch, link or session's window has no room for it. */
  #one(stream: Stream): boolean {
    const { sendSide } = stream;
    const item = sendSide.queue[0]!;
    if (!("type" in item)) return this.#fragment(stream, item);
    const cost = costOf(item);
    if ((this.#inFlight > 0 && this.#inFlight + cost > this.window) || !this.#fits(cost)) return false; // D2; one is always allowed
    sendSide.queue.shift();
    if (item.type === TYPE_OPEN) this.#number(stream, item);
    item.stream = stream.id;
    this.#put(item);
    return true;
  }

  /** Cuts the next fragment off a message and sends it. */
  #fragment(stream: Stream, message: OutMessage): boolean {
    const { bytes, cut, started } = message;
    const longest = Math.max(FIRST_PIECE, this.#passed[this.#on.kind] - 4 * FRAME_OVERHEAD);
    const wanted = Math.min(bytes.length - cut, longest, MAX_FRAGMENT, stream.sendSide.credit());
    const room = this.#inFlight === 0 && this.#empty ? Infinity : Math.min(this.#room, this.window - this.#inFlight) - FRAME_COST;
    const least = this.#empty ? SMALLEST_PIECE : SMALLEST_CUT;
    const free = Math.min(room, Math.max(this.#max - FRAME_OVERHEAD, this.#empty ? least : 0));
    if (free < Math.min(wanted, least) || this.#full) return false;
    const n = Math.min(wanted, free);
    stream.sendSide.cutOff(message, n);
    this.#put({ stream: stream.id, type: TYPE_MESSAGE, data: bytes.subarray(cut, cut + n), ...(!started && { length: bytes.length }) });
    return true;
  }

  /** Sends a new frame, which gets its seq now (W5). */
  #put(unsent: Unsent): void {
    const frame: Frame = { stream: 0, ...unsent, seq: this.lastSeq + 1 };
    const cost = costOf(frame);
    if (this.#inFlight === 0) this.#latest = { sum: this.#latest.sum, at: this.#now, sentAt: this.#now }; // what was delivered before took no time of this
    this.#inFlight += cost;
    const sent: SentFrame = { frame, cost, on: this.#on, at: 0, then: this.#latest, lost: false, once: true, ends: 0, vain: 0 };
    this.sent.push(sent);
    this.#append(sent);
  }

  get #empty(): boolean {
    return this.#frames.length === 0;
  }

  get #full(): boolean {
    return this.#frames.length >= MAX_FRAMES_PER_BATCH;
  }

  /** Reports whether batch and link have room. A link that has any takes one frame, however large. */
  #fits(cost: number): boolean {
    return this.#empty ? this.#room > 0 : cost <= this.#room && this.#holds(cost);
  }

  /** Reports whether the batch itself has room. */
  #holds(cost: number): boolean {
    return this.#empty || (!this.#full && cost + FRAME_OVERHEAD <= this.#max);
  }

  #append(sent: SentFrame): void {
    sent.on = this.#on;
    sent.at = this.#now;
    sent.then = this.#latest;
    sent.ends = 0;
    this.#last = sent;
    this.#room -= sent.cost;
    this.#max -= sent.cost + FRAME_OVERHEAD;
    this.#frames.push(sent.frame);
  }
}

/** Returns what a frame counts in windows (D2). */
function costOf({ open, data }: Unsent): number {
  return FRAME_COST + (open?.method ?? data ?? "").length + metadataSize(open?.metadata ?? []);
}
